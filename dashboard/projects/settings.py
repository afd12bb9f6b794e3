"""A project's settings: name, window, plan, environments, archive and deletion."""

from typing import Any

from django.conf import settings as configured
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from accounts.permissions import Action, Actions
from dashboard.forms import Refusals, changes
from dashboard.page import current_user, page
from dashboard.projects.forms import EnvironmentForm, PlanForm, ProjectForm, TypedNameForm
from dashboard.projects.queries import COUNTED_UP_TO, PER_PAGE, content_of, environments_of, project_of
from metrics.deletion import archive as archive_project
from metrics.deletion import delete_project
from metrics.deletion import unarchive as unarchive_project
from projects.admin_actions import change_plan
from projects.models import Project
from projects.services import add_environment, change_project


@page("GET", "POST", of=project_of, post=Action.CHANGE_PROJECT)
def settings(request: HttpRequest, project: Project, actions: Actions) -> HttpResponse:
    """Show the project's settings; on POST, save them."""
    if request.method != "POST":
        return show(request, project, actions)
    shown = project.name
    form = ProjectForm(project, request.POST)
    if form.is_valid():
        with Refusals(request, form):
            change_project(project, **changes(form))
            messages.success(request, _("The settings are saved."))
            return redirect("dashboard:project-settings", uuid=project.uuid)
    # The page keeps showing the stored name.
    project.name = shown
    return show(request, project, actions, form=form)


@page("POST", of=project_of, action=Action.CHANGE_PLAN)
def plan(request: HttpRequest, project: Project, actions: Actions) -> HttpResponse:
    """Change the project's plan, where there are plans."""
    if not configured.SEQPULSE_PLANS:
        raise Http404
    form = PlanForm(request.POST)
    if not form.is_valid():
        return show(request, project, actions, plan_form=form)
    change_plan([project], form.cleaned_data["plan"], by=current_user(request).get_username())
    messages.success(request, _("The plan is changed."))
    return redirect("dashboard:project-settings", uuid=project.uuid)


@page("POST", of=project_of, action=Action.CHANGE_ENVIRONMENT, limit="making")
def add(request: HttpRequest, project: Project, actions: Actions) -> HttpResponse:
    """Add an environment and redirect to its settings."""
    form = EnvironmentForm(request.POST)
    if form.is_valid():
        with Refusals(request, form):
            made = add_environment(project, form.cleaned_data["environment"], endpoint=form.cleaned_data["endpoint"])
            messages.success(request, _("The environment is there. Test its metrics endpoint here."))
            return redirect("dashboard:environment-settings", environment_id=made.pk)
    return show(request, project, actions, environment_form=form)


@page("POST", of=project_of, action=Action.ARCHIVE_PROJECT)
def archive(request: HttpRequest, project: Project, actions: Actions) -> HttpResponse:
    """Archive the project: measuring ends. Idempotent."""
    archive_project(project)
    messages.success(request, _("The project is archived: nothing new is measured, what was stays readable."))
    return redirect("dashboard:project-settings", uuid=project.uuid)


@page("POST", of=project_of, action=Action.ARCHIVE_PROJECT)
def unarchive(request: HttpRequest, project: Project, actions: Actions) -> HttpResponse:
    """Restore the project from the archive: measuring starts again. Idempotent."""
    unarchive_project(project)
    messages.success(request, _("The project is measured again. Its baseline begins within some minutes."))
    return redirect("dashboard:project-settings", uuid=project.uuid)


@page("GET", "POST", of=project_of, action=Action.DELETE_PROJECT)
def delete(request: HttpRequest, project: Project, actions: Actions) -> HttpResponse:
    """Show what would be deleted; on POST with the project's name, delete it."""
    form = TypedNameForm(project.name, request.POST if request.method == "POST" else None)
    if form.is_valid():
        delete_project(project)
        message = _(
            "The project “%(name)s” is deleted. Its keys are no longer valid; its measurements are being removed "
            "in the background."
        )
        messages.success(request, message % {"name": project.name})
        return redirect("dashboard:projects")
    content = content_of([environment.pk for environment in environments_of(project)])
    context = {"project": project, "form": form, "content": content, "counted_up_to": COUNTED_UP_TO}
    return render(request, "dashboard/projects/project_delete.html", context)


def show(request: HttpRequest, project: Project, actions: Actions, **forms: Any) -> HttpResponse:
    """Render the page. forms: submitted forms with their errors."""
    context = {
        "project": project,
        "environments": list(environments_of(project)[: PER_PAGE + 1]),
        "shown": PER_PAGE,
        "form": ProjectForm(project),
        "plan_form": PlanForm(initial={"plan": project.plan}) if configured.SEQPULSE_PLANS else None,
        "environment_form": EnvironmentForm(),
        "actions": actions,
    }
    return render(request, "dashboard/projects/project_settings.html", context | forms)
