"""Views of the secret that signs requests to an environment's endpoint."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.permissions import Action, Actions
from dashboard.page import page
from dashboard.policies.queries import environment_of
from dashboard.projects.environment_settings import show
from dashboard.projects.forms import RotateForm, TypedNameForm
from dashboard.projects.secrets import Shown, shown_once
from projects.models import Environment
from projects.signing import (
    SecretChanged,
    begin_signing,
    end_grace,
    end_signing,
    reissue_secret,
    rotate_secret,
)


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
        shown=[Shown("hmac-secret", _("HMAC secret"), secret, "SEQPULSE_HMAC_SECRET", _("for your service"))],
        onward=(reverse("dashboard:environment-settings", args=[environment.pk]) + "#signing", _("I have stored it")),
        note=note,
    )
