"""API keys and signing secrets: made, rotated, revoked, and shown once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.permissions import Action, Actions
from dashboard.forms import already_submitted
from dashboard.page import current_user, page
from dashboard.policies.queries import environment_of
from dashboard.projects.environment_settings import show
from dashboard.projects.forms import KeyForm, RotateForm, TypedNameForm
from dashboard.projects.queries import keys_of, project_of
from projects.models import ApiKey, Environment, Project
from projects.services import issue_api_key
from projects.signing import (
    SecretChanged,
    begin_signing,
    end_grace,
    end_signing,
    reissue_secret,
    rotate_secret,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A secret: its id on the page, its kind, and under which name to store it where."""

    id: str
    label: Any
    secret: str = field(repr=False)
    name: str
    where: Any


def api_key(secret: str, label: Any) -> Shown:
    """Describe a new API key."""
    return Shown("api-key", label, secret, "SEQPULSE_API_KEY", _("for your pipeline"))


def hmac_secret(secret: str) -> Shown:
    """Describe a new secret that signs requests."""
    return Shown("hmac-secret", _("HMAC secret"), secret, "SEQPULSE_HMAC_SECRET", _("for your service"))


def shown_once(
    request: HttpRequest,
    *,
    title: Any,
    project: Project,
    shown: Sequence[Shown],
    onward: tuple[str, Any],
    environment: Environment | None = None,
    note: Any = "",
) -> HttpResponse:
    """Show new secrets in the answer to the request that created them, and nowhere else.

    Messages and sessions would store the secret. Caches must not keep the page, so the calling view is `never_cache`.
    """
    context = {"title": title, "project": project, "environment": environment, "shown": shown}
    return render(request, "dashboard/projects/shown_once.html", context | {"onward": onward, "note": note})


@page("GET", "POST", of=project_of, post=Action.MANAGE_KEYS, limit="making")
def keys(request: HttpRequest, project: Project, actions: Actions) -> HttpResponse:
    """List the project's keys; on POST, create one, which only this answer shows."""
    form: Any = KeyForm()
    if request.method == "POST":
        form = KeyForm(request.POST)
        if form.is_valid() and already_submitted(request):
            message = _(
                "This key was made already and shown once. If you have not stored it, revoke it and make another."
            )
            messages.warning(request, message)
            return redirect("dashboard:project-keys", uuid=project.uuid)
        if form.is_valid():
            secret = issue_api_key(project, form.cleaned_data["name"], by=current_user(request))
            return shown_once(
                request,
                title=_("A new API key"),
                project=project,
                shown=[api_key(secret, form.cleaned_data["name"])],
                onward=(reverse("dashboard:project-keys", kwargs={"uuid": project.uuid}), _("I have stored it")),
            )
    context = {
        "project": project,
        "keys": keys_of(project),
        "form": form,
        "actions": actions,
    }
    return render(request, "dashboard/projects/keys.html", context)


@page("POST", of=project_of, action=Action.MANAGE_KEYS)
def revoke(request: HttpRequest, project: Project, actions: Actions, key_id: int) -> HttpResponse:
    """Revoke a key now. Idempotent."""
    key = get_object_or_404(ApiKey.objects.filter(project=project), pk=key_id)
    key.revoke()
    message = _("The key “%(name)s” is revoked: calls with it are refused from now on.")
    messages.success(request, message % {"name": key.name})
    return redirect("dashboard:project-keys", uuid=project.uuid)


@page("POST", of=environment_of, action=Action.MANAGE_SIGNING)
def signing(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Turn signing on or off, rotate the secret, or end the grace period; a new secret is shown once."""
    work = WORKS.get(request.POST.get("do", ""))
    if work is None:
        raise BadRequest(f"do: one of {', '.join(WORKS)}")
    try:
        return work(request, environment, actions)
    except SecretChanged:
        messages.error(request, _("The secret was changed meanwhile. Look at how it stands, then try again."))
    return back_to(environment)


def back_to(environment: Environment) -> HttpResponse:
    return redirect(reverse("dashboard:environment-settings", args=[environment.pk]) + "#signing")


def begin(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    secret = begin_signing(environment)
    note = _("Requests are signed from now on. An endpoint that checks nothing goes on answering.")
    return known(request, environment, secret, title=_("Requests are signed"), note=note)


def rotate(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    form = RotateForm(request.POST)
    if not form.is_valid():
        return show(request, environment, actions, rotate_form=form)
    grace = timedelta(hours=form.cleaned_data["grace_hours"])
    secret = rotate_secret(environment, seen=request.POST.get("seen", ""), grace=grace)
    note = _("The old secret stays valid for now, so the service can follow at its next deployment.")
    return known(request, environment, secret, title=_("A new HMAC secret"), note=note)


def reissue(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    secret = reissue_secret(environment, seen=request.POST.get("seen", ""))
    note = _("It replaces the new secret that was shown before. The old one stays valid for as long as it was.")
    return known(request, environment, secret, title=_("Another new HMAC secret"), note=note)


def finish(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    end_grace(environment, seen=request.POST.get("seen", ""))
    messages.success(request, _("The old secret is void. Only the new one is used."))
    return back_to(environment)


def end(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    form = TypedNameForm(environment.name, request.POST, prefix="end")
    if not form.is_valid():
        return show(request, environment, actions, end_form=form)
    end_signing(environment, seen=request.POST.get("seen", ""))
    messages.success(request, _("Requests are not signed any more, and the secret is forgotten."))
    return back_to(environment)


WORKS: dict[str, Callable[[HttpRequest, Environment, Actions], HttpResponse]] = {
    "begin": begin,
    "rotate": rotate,
    "reissue": reissue,
    "finish": finish,
    "end": end,
}


def known(request: HttpRequest, environment: Environment, secret: str, *, title: Any, note: Any) -> HttpResponse:
    """Render the page that shows the new secret."""
    return shown_once(
        request,
        title=title,
        project=environment.project,
        environment=environment,
        shown=[hmac_secret(secret)],
        onward=(reverse("dashboard:environment-settings", args=[environment.pk]) + "#signing", _("I have stored it")),
        note=note,
    )
