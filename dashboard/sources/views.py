"""Pages of an environment's sources: add one, change it, try it, move it, remove it."""

from collections.abc import Mapping
from typing import Any

import structlog
import tomlkit
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.permissions import Action, Actions
from dashboard.forms import already_submitted
from dashboard.page import current_user, page
from dashboard.policies.queries import environment_of
from dashboard.sources.forms import FURTHER, SourceForm
from dashboard.sources.queries import kinds, problem_of
from dashboard.sources.trying import found_at, report_on
from dashboard.sources.words import KINDS
from explain.facts import Fact
from metrics.alerting import new_token
from metrics.configuring import (
    add_source,
    change_source,
    readable,
    remove_source,
    secrets_in,
    with_kept_secrets,
    without_secrets,
)
from metrics.models import AlertToken, PushedSample, Source
from metrics.payload import METRICS
from metrics.pushed import KIND as PUSH
from metrics.source_lists import move_source
from metrics.sources import source_kind
from metrics.sources.alerts import KIND as ALERTS
from metrics.sources.base import InvalidConfig, SourceKind
from metrics.sources.prometheus_discovery import Discovery
from projects.models import Environment

logger = structlog.get_logger(__name__)
PROMETHEUS = "prometheus"
PUSHED_SHOWN = 5
SAVE, TEST, FIND, USE, ADDRESS = "save", "test", "find", "use", "address"


@page("GET", of=environment_of, action=Action.CHANGE_ENVIRONMENT)
def choose(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Show the kinds of sources, with what each needs and gives."""
    return render(request, "dashboard/sources/choose.html", _about(environment) | {"kinds": kinds()})


@page("GET", "POST", of=environment_of, action=Action.CHANGE_ENVIRONMENT, limit="probe")
def new(request: HttpRequest, environment: Environment, actions: Actions, source_kind_name: str) -> HttpResponse:
    """Show the form of a new source of this kind; on POST, test or add it."""
    kind = source_kind(source_kind_name)
    if kind is None:
        raise Http404
    return _answer(request, environment, kind, None)


@page("GET", "POST", of=environment_of, action=Action.CHANGE_ENVIRONMENT, limit="probe")
def source(request: HttpRequest, environment: Environment, actions: Actions, source_id: int) -> HttpResponse:
    """Show the form of a source; on POST, test or change it."""
    row = get_object_or_404(Source.objects.select_related("environment"), pk=source_id, environment=environment)
    kind = source_kind(row.kind)
    if kind is None:
        raise Http404
    return _answer(request, environment, kind, row)


@page("POST", of=environment_of, action=Action.CHANGE_ENVIRONMENT)
def arrange(request: HttpRequest, environment: Environment, actions: Actions, source_id: int) -> HttpResponse:
    """Move a source up or down, or remove it."""
    row = get_object_or_404(Source.objects.select_related("environment"), pk=source_id, environment=environment)
    do = request.POST.get("do")
    try:
        if do in ("up", "down"):
            move_source(row, -1 if do == "up" else 1)
        elif do == "remove":
            remove_source(row)
            _note(request, "source removed", row)
            messages.success(request, _("The source is removed. What it measured stays."))
        else:
            raise BadRequest("do: up, down or remove")
    except Source.DoesNotExist:
        raise Http404 from None
    return _to_list(environment)


def _answer(request: HttpRequest, environment: Environment, kind: SourceKind[Any], row: Source | None) -> HttpResponse:
    opened = {} if row is None else readable(row)
    stored = opened or {}
    about: dict[str, Any] = {"shown": without_secrets(kind, stored), "stored": secrets_in(kind, stored)}
    context: dict[str, Any] = {}
    if request.method != "POST":
        form = SourceForm(kind, **about)
    else:
        form = SourceForm(kind, request.POST, **about)
        do = request.POST.get("do", SAVE)
        if form.is_valid():
            try:
                if do == SAVE:
                    return _save(request, environment, form, row=row)
                data = with_kept_secrets(kind, row, form.config)
                if do == ADDRESS and kind.name == ALERTS and row is not None:
                    if already_submitted(request):
                        return redirect("dashboard:source", environment_id=environment.pk, source_id=row.pk)
                    context["secret"] = request.build_absolute_uri(f"/alerts/{new_token(row)}")
                    _note(request, "alert address made", row)
                elif do == TEST:
                    context["report"] = report_on(environment, kind, data)
                elif kind.name == PROMETHEUS and (do == FIND or do.startswith(USE)):
                    found = found_at(environment, kind, data)
                    context["found"] = found
                    expressions = chosen(found, do.partition(":")[2]) if do != FIND else None
                    if expressions:
                        form = SourceForm(kind, _filled(request, found, expressions), **about)
                        form.is_valid()
                else:
                    raise BadRequest("do: save, test, find, use or address")
            except InvalidConfig as error:
                form.refuse(error)
    context |= _about(environment) | {
        "kind": kind,
        "words": KINDS.get(kind.name),
        "form": form,
        "source": row,
        "problem": Fact("unreadable_secret") if opened is None else problem_of(row) if row else None,
        "finds": kind.name == PROMETHEUS,
        "pushed": latest_pushed(environment) if kind.name == PUSH and row is not None else None,
        "takes_alerts": kind.name == ALERTS and row is not None,
        "has_address": kind.name == ALERTS and row is not None and AlertToken.objects.filter(source=row).exists(),
        "call": f"{request.scheme}://{request.get_host()}/samples",
    }
    return render(request, "dashboard/sources/source.html", context)


def latest_pushed(environment: Environment) -> list[tuple[PushedSample, list[tuple[str, float]]]]:
    """Return the samples that came last, each with the metrics that it knows."""
    rows = PushedSample.objects.filter(environment=environment).order_by("-at")[:PUSHED_SHOWN]
    return [
        (
            row,
            [(name, value) for name in METRICS if (value := getattr(row, name)) is not None]
            + [*(row.custom or {}).items()],
        )
        for row in rows
    ]


def _save(request: HttpRequest, environment: Environment, form: SourceForm, *, row: Source | None) -> HttpResponse:
    """Add the source or change it. Raises InvalidConfig."""
    try:
        if row is None:
            row = add_source(environment, form.kind.name, form.config)
            _note(request, "source added", row)
            if row.kind == ALERTS:
                messages.success(request, _("The source is added. Make its address, and send alerts there."))
                return redirect("dashboard:source", environment_id=environment.pk, source_id=row.pk)
            messages.success(request, _("The source is added: it is asked with the next sample."))
        else:
            change_source(row, form.config)
            messages.success(request, _("The source is changed: it is asked so with the next sample."))
            _note(request, "source changed", row)
    except (Source.DoesNotExist, Environment.DoesNotExist):
        raise Http404 from None
    return _to_list(environment)


def chosen(found: Discovery, place: str) -> Mapping[str, str] | None:
    """Return the expressions of a service among what was found. place: as its button says."""
    services = {f"{one.template} {service.selector}": service for one in found.suggestions for service in one.services}
    service = services.get(place)
    return service.expressions if service else None


def _filled(request: HttpRequest, found: Discovery, expressions: Mapping[str, str]) -> QueryDict:
    """Return the form as it was sent, with these expressions."""
    data = request.POST.copy()
    data[FURTHER] = tomlkit.dumps({"expressions": dict(expressions)})
    if found.scrape_interval_s and not data.get("scrape_interval_s"):
        data["scrape_interval_s"] = f"{found.scrape_interval_s:g}"
    return data


def _about(environment: Environment) -> dict[str, Any]:
    return {"environment": environment, "project": environment.project, "below_settings": True}


def _to_list(environment: Environment) -> HttpResponse:
    return redirect(f"{reverse('dashboard:environment-settings', args=[environment.pk])}#sources")


def _note(request: HttpRequest, what: str, row: Source) -> None:
    logger.info(what, source=row.pk, kind=row.kind, environment=row.environment_id, user=current_user(request).pk)
