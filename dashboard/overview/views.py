"""The overview: state of all environments, and delivery figures."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from dashboard.overview.delivery import figures_of
from dashboard.overview.parts import PERIODS, days_of
from dashboard.overview.queries import guide_of, overview_of, projects_of
from dashboard.page import current_user, page
from projects.models import Project


@page()
def overview(request: HttpRequest, *, live: bool = False) -> HttpResponse:
    """Show environments with their last verdicts, and delivery figures (?days=7|30|90, ?project=id).

    live: only the part that updates without a reload, all but the figures.
    """
    projects = projects_of(current_user(request))
    found = overview_of(projects)
    # Until one of the user's projects has its first verdict.
    guide = None if found.has_verdict else guide_of(current_user(request))
    context: dict[str, Any] = {"overview": found, "guide": guide}
    if live:
        return render(request, "dashboard/overview/_overview.html", context)
    chosen = chosen_project(projects, request.GET.get("project"))
    scope = [project.pk for project in ([chosen] if chosen else projects)]
    context |= {
        "projects": projects,
        "chosen": chosen,
        "periods": PERIODS,
        "figures": figures_of(scope, days_of(request.GET.get("days")), timezone.now()) if projects else None,
    }
    return render(request, "dashboard/overview/overview.html", context)


def chosen_project(projects: list[Project], value: str | None) -> Project | None:
    """Return the project named in the URL, None for all.

    Raises: Http404, the same for unknown projects and those of other teams.
    """
    if not value:
        return None
    found = next((project for project in projects if str(project.uuid) == value), None)
    if found is None:
        raise Http404(_("You have no such project."))
    return found
