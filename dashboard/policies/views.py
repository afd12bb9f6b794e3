"""Views of an environment's policy."""

from collections.abc import Mapping
from typing import Any

import tomlkit
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.permissions import Action, Actions, require
from dashboard import labels
from dashboard.forms import Refusals, changed
from dashboard.page import current_user, page
from dashboard.policies.form import ExcludedWindowForm, PolicyForm
from dashboard.policies.queries import (
    PolicyPage,
    environment_of,
    policy_page,
    readable,
    replay_recent,
)
from projects.baselines import exclude_window, include_window, set_baseline_interval
from projects.models import Environment, PolicySource
from projects.policies import ENVIRONMENTS
from projects.policy import policy_from_dict
from projects.profiles import PROFILES
from projects.services import PolicyChanged, set_policy

SAVE, REPLAY = "save", "replay"


@page("GET", "POST", of=environment_of, limit="judging")
def policy(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Show, save or replay the policy of an environment."""
    page = policy_page(environment, actions)
    if request.method != "POST":
        return show(request, page, form_of(page, profile=PROFILES.get(request.GET.get("profile", ""))))
    do = request.POST.get("do")
    if do not in (SAVE, REPLAY):
        raise BadRequest("do: save or replay")
    require(actions, Action.CHANGE_POLICY if do == SAVE else Action.REPLAY)
    form = form_of(page, request.POST)
    if not form.is_valid():
        return show(request, page, form)
    if do == REPLAY:
        return show(request, page, form, replay=replay_recent(environment, policy_from_dict(form.policy)))
    try:
        save(environment, form, current_user(request))
    except PolicyChanged:
        page = policy_page(environment, actions)
        form.mark_changed(page.current)
        return show(request, page, form)
    messages.success(request, _("The policy is saved. It judges the deployments from now on."))
    return redirect("dashboard:policy", environment_id=environment.pk)


@page("POST", of=environment_of, action=Action.EXCLUDE_WINDOW)
def exclude(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Exclude a period from the environment's baseline."""
    form = ExcludedWindowForm(request.POST)
    if form.is_valid():
        with Refusals(request, form):
            exclude_window(environment, **form.cleaned_data, by=current_user(request))
            messages.success(request, _("The window feeds no baseline any more."))
            return redirect("dashboard:policy", environment_id=environment.pk)
    page = policy_page(environment, actions)
    return show(request, page, form_of(page), window_form=form)


@page("POST", of=environment_of, action=Action.EXCLUDE_WINDOW)
def include(request: HttpRequest, environment: Environment, actions: Actions, window_id: int) -> HttpResponse:
    """Include an excluded period again; succeeds also if it already is."""
    include_window(environment, window_id)
    messages.success(request, _("The window counts again."))
    return redirect("dashboard:policy", environment_id=environment.pk)


def form_of(page: PolicyPage, data: Any = None, *, profile: Mapping[str, Any] | None = None) -> PolicyForm:
    """Return the form of the policy in force, or of a profile to begin with, which nothing saves yet."""
    interval_s = page.environment.baseline_interval_s
    form = PolicyForm(
        profile or policy_in_force(page.environment), data, baseline_interval_s=interval_s, version=page.current
    )
    if Action.REPLAY not in page.actions:
        form.lock()
    return form


def policy_in_force(environment: Environment) -> dict[str, Any]:
    """Return the stored policy; the default if it is unreadable."""
    return environment.policy if readable(environment.policy) is not None else {}


def policy_to_toml(policy: Mapping[str, Any], environment: str) -> str:
    """Return the text of a seqpulse.toml with this policy for the environment of that name.

    `policy_from_toml` reads it back. None is left out: TOML has no such value, and it means the default.
    """
    return tomlkit.dumps({ENVIRONMENTS: {environment: _given(policy)}})


def _given(value: Any) -> Any:
    """Return JSON values without None."""
    if isinstance(value, Mapping):
        return {key: _given(inner) for key, inner in value.items() if inner is not None}
    return [_given(inner) for inner in value] if isinstance(value, list) else value


def save(environment: Environment, form: PolicyForm, by: User) -> None:
    with transaction.atomic():
        set_policy(environment, form.policy, source=PolicySource.DASHBOARD, by=by, seen=form.cleaned_data["seen"])
        # It has no versions, so `seen` does not cover it.
        if changed(form, "baseline_interval_s"):
            set_baseline_interval(environment, form.cleaned_data["baseline_interval_s"])


def show(request: HttpRequest, page: PolicyPage, form: PolicyForm, **given: Any) -> HttpResponse:
    """Render the page. given: the result of a replay, or the submitted form of a window."""
    environment = page.environment
    # For a valid form the file shows its policy, else the current one.
    shown = form.policy if form.is_bound and form.is_valid() else policy_in_force(environment)
    context = {
        "page": page,
        "environment": environment,
        "project": environment.project,
        "form": form,
        "window_form": ExcludedWindowForm(),
        "profiles": labels.PROFILES.items() if Action.CHANGE_POLICY in page.actions else (),
        "unreadable": readable(environment.policy) is None,
        "toml": policy_to_toml(shown or {"kind": "adaptive"}, environment.name),
    }
    return render(request, "dashboard/policies/policy.html", context | given)
