"""Pages of projects: list, new project, project, integration."""

from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import get_script_prefix, reverse
from django.utils.translation import gettext as _

from accounts.models import Team, User
from accounts.permissions import Action, Actions, may_create_project, teams_for
from accounts.teams import first_team
from common.client_file import client_file
from common.listing import is_id
from dashboard.forms import Refusals, already_submitted
from dashboard.overview.queries import guide_of
from dashboard.page import current_user, page
from dashboard.projects.forms import NewProjectForm
from dashboard.projects.queries import (
    ARCHIVED,
    PER_PAGE,
    environments_of,
    project_list,
    project_of,
    project_page,
)
from dashboard.projects.secrets import api_key, hmac_secret, shown_once
from dashboard.projects.snippets import ENDPOINTS, PIPELINES, Values, written
from outbound.fetcher import parse_endpoint
from projects.freezing import announced_to
from projects.models import ApiKey, Project
from projects.services import NewProject, create_project_in

LONGEST_SEARCH = 100


@page()
def projects(request: HttpRequest) -> HttpResponse:
    """List the user's projects with the last status of each environment."""
    user = current_user(request)
    archived = request.GET.get("show") == ARCHIVED
    search = request.GET.get("q", "").replace("\0", "").strip()[:LONGEST_SEARCH]
    found = project_list(user, archived=archived, search=search, number=request.GET.get("page", ""))
    kept = {"show": ARCHIVED if archived else "", "q": search}
    context = {
        "list": found | {"query": "".join(f"&{urlencode({name: text})}" for name, text in kept.items() if text)},
        "shows_archived": archived,
        "search": search,
        "may_create": may_create_project(user),
        "guide": None if found["rows"] or search or archived else guide_of(user),
    }
    return render(request, "dashboard/projects/projects.html", context)


@page("GET", "POST", limit="making")
def new(request: HttpRequest) -> HttpResponse:
    """Create a project; only this answer shows its key, and its secret where requests are signed."""
    user = current_user(request)
    if not may_create_project(user):
        raise PermissionDenied("no team to make a project in")
    teams = teams_for(user, Action.CREATE_PROJECT)
    form = NewProjectForm(teams, user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        given = form.cleaned_data
        if already_submitted(request):
            return made_already(request, user, given["name"])
        with Refusals(request, form):
            with transaction.atomic():
                made = create_project_in(
                    given.get("team") or first_team(given["team_name"], user),
                    given["name"],
                    environment=given["environment"],
                    endpoint=given["endpoint"],
                    signed=given["signed"],
                    by=user,
                )
            return made_known(request, made)
    return render(request, "dashboard/projects/project_new.html", {"form": form})


def made_already(request: HttpRequest, user: User, name: str) -> HttpResponse:
    """Redirect a form that was submitted again to the keys of the project that it created."""
    teams = teams_for(user, Action.CREATE_PROJECT)
    made = Project.objects.not_deleted().filter(team__in=teams, name__iexact=name).order_by("-pk").first()
    if made is None:
        return redirect("dashboard:projects")
    message = _(
        "This form was sent before. The project is there, its key was shown once. Make another one if you need it."
    )
    messages.warning(request, message)
    return redirect("dashboard:project-keys", uuid=made.uuid)


def made_known(request: HttpRequest, made: NewProject) -> HttpResponse:
    shown = [api_key(made.api_key, _("API key"))]
    if made.hmac_secret:
        shown.append(hmac_secret(made.hmac_secret))
    integration = reverse("dashboard:integration", kwargs={"uuid": made.project.uuid})
    return shown_once(
        request,
        title=_("The project is there"),
        project=made.project,
        shown=shown,
        onward=(f"{integration}?environment={made.environment.pk}", _("Go on: connect your pipeline and your service")),
    )


@page()
def project(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show a project: its environments and how often its verdicts were right."""
    user = current_user(request)
    found = project_page(user, uuid, request.GET.get("page", ""))
    team = Team.objects.filter(pk=found.project.team_id)
    context = {
        "page": found,
        "project": found.project,
        "actions": found.project.actions_of(user),
        "freezes": announced_to(team, found.project),
    }
    return render(request, "dashboard/projects/project.html", context)


@page(of=project_of)
def integration(request: HttpRequest, found: Project, actions: Actions) -> HttpResponse:
    """Show code to paste into the pipeline and the service, filled in for one environment of the project."""
    environments = list(environments_of(found)[:PER_PAGE])
    wanted = request.GET.get("environment", "")
    chosen = next((one for one in environments if str(one.pk) == wanted), None)
    if chosen is None and len(environments) == PER_PAGE and is_id(wanted):
        chosen = environments_of(found).filter(pk=int(wanted)).first()
    chosen = chosen or (environments[0] if environments else None)
    context = {
        "project": found,
        "environments": environments,
        "chosen": chosen,
        "actions": actions,
        "newest_key": ApiKey.objects.usable().filter(project=found).order_by("-pk").first(),
    }
    if chosen is not None:
        values = Values(
            url=request.build_absolute_uri(get_script_prefix()).rstrip("/"),
            project=found.name,
            environment=chosen.name,
            path=path_of(chosen.metrics_endpoint),
            signed=chosen.signs,
        )
        context |= {
            "pipelines": [(snippet, written(snippet, values)) for snippet in PIPELINES],
            "client_url": reverse("client"),
            "client_sha256": client_file()[1],
            "endpoints": [(snippet, written(snippet, values)) for snippet in ENDPOINTS],
        }
    return render(request, "dashboard/projects/integration.html", context)


def path_of(endpoint: str) -> str:
    """Return the path of the endpoint; the usual one where there is none yet."""
    return parse_endpoint(endpoint).path if endpoint else "/ds-metrics"
