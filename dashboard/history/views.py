"""Pages of the history import: a list of tags or commits, what the policy would have said of each, and one of them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from django import forms
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from accounts.permissions import Action, Actions
from analysis import backfill
from analysis.charts import Before, Chart, draw, span_of
from analysis.deployment_list import GIT, MOST, NoList, read_list
from analysis.models import Hint, PastDeployment, VerdictName
from common.validation import localized
from dashboard.deployments.detail import by_gravity, gravest, legend_of
from dashboard.labels import status_by_name
from dashboard.page import current_user, page
from dashboard.policies.queries import environment_of, readable
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.models import MetricSample
from metrics.payload import METRICS
from metrics.sources import RANGED_KINDS
from projects.models import Environment
from scheduler.queue import database_now

logger = structlog.get_logger(__name__)

PAGE_SIZE = 50
LONGEST_LIST = 200_000
ERRORS_SHOWN = 10
UNSURE, FAILED = "unsure", "failed"
FILTERS: dict[str, Mapping[str, Any]] = {
    **{name: {"judged_at__isnull": False, "verdict": name} for name in VerdictName.values},
    UNSURE: {"judged_at__isnull": False, "conclusive": False},
    FAILED: {"judged_at__isnull": True, "problem__isnull": False},
}


class ListForm(forms.Form):
    """A list, and how long its deployments took."""

    deployments = forms.CharField(
        label=gettext_lazy("One per line: name, commit and time"),
        max_length=LONGEST_LIST,
        widget=forms.Textarea({"rows": 8, "class": "code", "spellcheck": "false"}),
    )
    takes = forms.FloatField(
        label=gettext_lazy("Minutes from that time until the new version serves"),
        min_value=0,
        max_value=backfill.LONGEST_TAKES.total_seconds() / 60,
        initial=backfill.USUALLY_TAKES.total_seconds() / 60,
        help_text=gettext_lazy("A tag is made before its pipeline runs. What comes before counts as before."),
    )

    def refuse(self, error: NoList) -> None:
        """Name the wrong lines."""
        for number, fact in list(error.problems.items())[:ERRORS_SHOWN]:
            values = {"number": number, "problem": localized(fact)}
            self.add_error("deployments", _("Line %(number)s: %(problem)s.") % values)
        more = len(error.problems) - ERRORS_SHOWN
        if more > 0:
            words = ngettext("And %(n)s more line.", "And %(n)s more lines.", more)
            self.add_error("deployments", words % {"n": more})


@page("GET", "POST", of=environment_of, post=Action.CHANGE_ENVIRONMENT, limit="judging")
def history(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Show what was imported; on POST, import a list, judge again, end or delete."""
    form = ListForm()
    if request.method == "POST":
        do = request.POST.get("do")
        if do == "import":
            form = ListForm(request.POST)
            if form.is_valid() and add(request, environment, form):
                return redirect("dashboard:history", environment_id=environment.pk)
        elif do in DO:
            DO[do](environment)
            logger.info("backfill", do=do, environment=environment.pk, user=current_user(request).pk)
            return redirect("dashboard:history", environment_id=environment.pk)
        else:
            raise BadRequest("do: import, again, stop or clear")
    return render(request, "dashboard/history/history.html", context_of(request, environment, actions) | {"form": form})


@page("GET", of=environment_of)
def live(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Show the part that changes while verdicts come."""
    return render(request, "dashboard/history/_history.html", context_of(request, environment, actions))


DO = {"again": backfill.judge_again, "stop": backfill.stop, "clear": backfill.clear}


def add(request: HttpRequest, environment: Environment, form: ListForm) -> bool:
    """Import the list of a valid form; return whether it could be."""
    try:
        found = read_list(form.cleaned_data["deployments"], database_now())
        new = backfill.add(environment, found.listed, takes=timedelta(minutes=form.cleaned_data["takes"]))
    except NoList as error:
        form.refuse(error)
        return False
    except ExplainedError as error:
        form.add_error(None, localized(error.fact))
        return False
    words = ngettext("%(n)s deployment is new.", "%(n)s deployments are new.", new)
    messages.success(request, words % {"n": new})
    if found.too_old:
        old = ngettext("%(n)s older than 90 days is left out.", "%(n)s older than 90 days are left out.", found.too_old)
        messages.info(request, old % {"n": found.too_old})
    logger.info("backfill", do="import", environment=environment.pk, new=new, user=current_user(request).pk)
    return True


def context_of(request: HttpRequest, environment: Environment, actions: Actions) -> dict[str, Any]:
    chosen = request.GET.get("show", "")
    rows = PastDeployment.objects.filter(environment=environment, **FILTERS.get(chosen, {}))
    paginator = Paginator(rows.order_by("-deployed_at", "-pk").defer("hints", "samples"), PAGE_SIZE)
    progress = backfill.progress_of(environment)
    return {
        "environment": environment,
        "project": environment.project,
        "actions": actions,
        "progress": progress,
        "is_live": progress.waiting > 0,
        "chosen": chosen,
        "rows": [
            (row, status_by_name(row.verdict), problem_of(row)) for row in paginator.get_page(request.GET.get("page"))
        ],
        "part": paginator.get_page(request.GET.get("page")),
        "tabs": tabs(progress, chosen),
        "command": GIT,
        "most": MOST,
        "has_source": bool(RANGED_KINDS.intersection(environment.source_kinds)),
        "may_change": Action.CHANGE_ENVIRONMENT in actions,
    }


def tabs(progress: backfill.Progress, chosen: str) -> list[tuple[str, Any, int, bool]]:
    """Return the filters with how many each shows: name, label, number, whether it is chosen."""
    counts = {**progress.verdicts, UNSURE: progress.unsure, FAILED: progress.failed}
    words = {
        UNSURE: pgettext_lazy("verdicts", "Not conclusive"),
        FAILED: pgettext_lazy("deployments", "Not judged"),
    }
    found: list[tuple[str, Any, int, bool]] = [("", _("All"), progress.total, chosen not in FILTERS)]
    found += [
        (name, words.get(name) or status_by_name(name).label, number, name == chosen)
        for name, number in counts.items()
        if number
    ]
    return found


def problem_of(row: PastDeployment) -> Fact | None:
    return Fact.from_json(row.problem) if row.problem else None


@page("GET", of=environment_of)
def past(request: HttpRequest, environment: Environment, actions: Actions, past_id: int) -> HttpResponse:
    """Show one imported deployment with everything its verdict rests on."""
    row = get_object_or_404(PastDeployment, pk=past_id, environment=environment)
    judged = row.judged
    charts = charts_of(row)
    context = {
        "environment": environment,
        "project": environment.project,
        "past": row,
        "deployment": row,
        "problem": problem_of(row),
        "status": status_by_name(row.verdict),
        "judged": judged,
        "standing": judged.verdict if judged else None,
        "confidence_width": f"{(row.confidence or 0) * 100:.0f}",
        "checks": by_gravity(judged.verdict.checks) if judged else [],
        "hints": [Hint(**columns) for columns in row.hints],
        "charts": charts,
        "drawn": legend_of(charts),
    }
    return render(request, "dashboard/history/past.html", context)


def charts_of(row: PastDeployment) -> list[Chart]:
    """Return the charts of what was measured around it."""
    judged = row.judged
    if judged is None:
        return []
    samples: list[MetricSample] = []
    left_out: list[MetricSample] = []
    for one in row.samples:
        values = {name: one.get(name) for name in METRICS}
        at = datetime.fromisoformat(one["at"])
        custom = one.get("custom") or None
        sample = MetricSample(phase=one["phase"], collected_at=at, custom_metrics=custom, **values)
        (left_out if one.get("left_out") else samples).append(sample)
    policy = readable(judged.verdict.policy)
    custom_metrics = {one.name: one for one in policy.custom_metrics} if policy is not None else {}
    checks = gravest(judged.verdict.checks)
    span = span_of(row)
    earlier = Before(baseline=[one for one in samples if one.phase == "pre"], left_out=left_out)
    after = [one for one in samples if one.phase == "post"]
    drawn = [
        draw(name, after, span, checks.get(name), earlier=earlier, custom=custom_metrics.get(name))
        for name in (*METRICS, *custom_metrics)
    ]
    return [chart for chart in drawn if chart.pre or chart.post]
