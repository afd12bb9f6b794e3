"""An environment's settings: its name, its metrics endpoint with a live probe, its deletion."""

from typing import Any

from django.conf import settings as configured
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.permissions import Action, Actions
from dashboard.forms import Refusals, changes
from dashboard.page import page
from dashboard.policies.queries import environment_of, readable
from dashboard.projects.forms import (
    EndpointForm,
    EnvironmentNameForm,
    OriginsForm,
    RotateForm,
    SettleForm,
    TypedNameForm,
    UnitsForm,
)
from dashboard.projects.probing import report_on
from dashboard.projects.queries import COUNTED_UP_TO, content_of
from dashboard.sources.queries import rows_of
from metrics.deletion import delete_environment
from metrics.probing import probe as probe_endpoint
from projects.models import Environment
from projects.services import rename_environment, set_endpoint, set_origins, set_settling_time, set_units
from projects.signing import fingerprint

ACTIVATE, DEACTIVATE = "activate", "deactivate"


@page("GET", "POST", of=environment_of, post=Action.CHANGE_ENVIRONMENT)
def settings(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Show the environment's settings; on POST, rename it."""
    if request.method != "POST":
        return show(request, environment, actions)
    shown = environment.name
    form = EnvironmentNameForm(request.POST)
    if form.is_valid():
        with Refusals(request, form):
            rename_environment(environment, form.cleaned_data["name"])
            messages.success(request, _("The environment has its new name. Pipelines have to send that from now on."))
            return redirect("dashboard:environment-settings", environment_id=environment.pk)
    environment.name = shown
    return show(request, environment, actions, name_form=form)


@page("POST", of=environment_of, action=Action.CHANGE_ENVIRONMENT)
def settle(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Set the seconds between finish and the window."""
    form = SettleForm(request.POST)
    if not form.is_valid():
        return show(request, environment, actions, settle_form=form)
    set_settling_time(environment, form.cleaned_data["settle_s"])
    messages.success(request, _("The next deployments wait that long before they are measured."))
    return redirect("dashboard:environment-settings", environment_id=environment.pk)


@page("POST", of=environment_of, action=Action.CHANGE_ENVIRONMENT)
def origins(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Set the origins besides the endpoint's that calls may name."""
    form = OriginsForm(request.POST)
    if not form.is_valid():
        return show(request, environment, actions, origins_form=form)
    set_origins(environment, form.cleaned_data["origins"])
    messages.success(request, _("The origins are set."))
    return redirect("dashboard:environment-settings", environment_id=environment.pk)


@page("POST", of=environment_of, action=Action.CHANGE_ENVIRONMENT, limit="probe")
def probe(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Send a request to the URL of the form as a poller would, and show the answer."""
    form = EndpointForm(environment, request.POST)
    if not form.is_valid():
        return show(request, environment, actions, endpoint_form=form)
    report = report_on(probe_endpoint(environment, form.cleaned_data["url"]))
    return show(request, environment, actions, endpoint_form=form, report=report)


@page("POST", of=environment_of, action=Action.CHANGE_ENVIRONMENT)
def endpoint(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Set the URL of the form as the environment's endpoint, or remove the endpoint."""
    do = request.POST.get("do")
    if do not in (ACTIVATE, DEACTIVATE):
        raise BadRequest("do: activate or deactivate")
    shown, url = environment.metrics_endpoint, ""
    if do == ACTIVATE:
        form = EndpointForm(environment, request.POST)
        if not form.is_valid():
            return show(request, environment, actions, endpoint_form=form)
        url = form.cleaned_data["url"]
    if request.POST.get("seen", "") != shown or not set_endpoint(environment, url, seen=shown):
        messages.error(request, _("The endpoint was changed meanwhile. Look at it, then try again."))
    elif url:
        messages.success(request, _("The endpoint is active: deployments are measured there from now on."))
        environment.metrics_endpoint = url
    else:
        messages.success(request, _("The environment has no metrics endpoint any more, so nothing is measured there."))
    return redirect("dashboard:environment-settings", environment_id=environment.pk)


@page("POST", of=environment_of, action=Action.CHANGE_ENVIRONMENT)
def units(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Set the units of the form: those that the page was left with, or those that a test suggested."""
    form = UnitsForm(environment, request.POST)
    if not form.is_valid():
        return show(request, environment, actions, units_form=form)
    with Refusals(request, form):
        set_units(environment, **{metric: unit for metric, unit in changes(form).items() if unit})
        messages.success(request, _("The units are set: samples are converted from now on. Test the endpoint again."))
        return redirect("dashboard:environment-settings", environment_id=environment.pk)
    return show(request, environment, actions, units_form=form)


# Its history is deleted with it, which cannot be undone: hence the right to delete the project.
@page("GET", "POST", of=environment_of, action=Action.DELETE_PROJECT)
def delete(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Show what would be deleted; on POST with the environment's name, delete it."""
    form = TypedNameForm(environment.name, request.POST if request.method == "POST" else None)
    if form.is_valid():
        delete_environment(environment)
        message = _("The environment “%(name)s” is deleted. Its measurements are being removed in the background.")
        messages.success(request, message % {"name": environment.name})
        return redirect("dashboard:project-settings", uuid=environment.project.uuid)
    context = {
        "environment": environment,
        "project": environment.project,
        "form": form,
        "content": content_of([environment.pk]),
        "counted_up_to": COUNTED_UP_TO,
    }
    return render(request, "dashboard/projects/environment_delete.html", context)


def show(request: HttpRequest, environment: Environment, actions: Actions, **forms: Any) -> HttpResponse:
    """Render the page. forms: submitted forms with their errors, and the report of a probe."""
    context = {
        "environment": environment,
        "project": environment.project,
        "name_form": EnvironmentNameForm(initial={"name": environment.name}),
        "settle_form": SettleForm(initial={"settle_s": environment.settle_s}),
        "origins_form": OriginsForm(initial={"origins": "\n".join(environment.origins)}),
        "endpoint_form": EndpointForm(environment),
        "units_form": UnitsForm(environment),
        "sources": rows_of(environment),
        "rotate_form": RotateForm(),
        "end_form": TypedNameForm(environment.name, prefix="end"),
        "seen": fingerprint(environment),
        "in_grace": environment.in_grace(timezone.now()),
        "policy": readable(environment.policy),
        "plans": configured.SEQPULSE_PLANS,
        "actions": actions,
    }
    return render(request, "dashboard/projects/environment_settings.html", context | forms)
