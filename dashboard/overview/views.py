"""The overview: state of all environments, and delivery figures."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import Team, User
from accounts.permissions import Action, teams_for
from analysis.delivery import figures_of
from dashboard.overview.parts import PERIODS, days_of
from dashboard.overview.queries import guide_of, next_steps_of, overview_of, projects_of
from dashboard.overview.standings import DEPLOYED_COUNTED, OFFERED, selection_of
from dashboard.page import current_user, page
from projects.freezing import announced_to
from projects.models import Project

# The cookie of browsers in which the next steps are hidden.
DISMISSED = "seqpulse_steps_dismissed"


@page()
def overview(request: HttpRequest, *, live: bool = False) -> HttpResponse:
    """Show environments with their last verdicts (?q=, ?health=, ?page=), and delivery figures (?days=, ?project=).

    live: only the part that updates without a reload, all but the figures.
    """
    user = current_user(request)
    projects = projects_of(user)
    found = overview_of(projects, selection_of(request.GET))
    # Until one of the user's projects has its first verdict.
    guide = None if found.has_verdict else guide_of(user)
    freezes = announced_to(Team.objects.visible_to(user))
    context: dict[str, Any] = {"overview": found, "guide": guide, "freezes": freezes}
    if live:
        return render(request, "dashboard/overview/_overview.html", context)
    asked = {name: request.GET[name] for name in ("days", "project") if request.GET.get(name)}
    chosen = chosen_project(projects, asked.get("project"))
    scope = [chosen.pk] if chosen else found.standings.projects
    # The page has figures from the first verdict on. Reading very many deployments takes longer than the rest of it.
    shows_figures = found.has_verdict and (found.standings.deployed < DEPLOYED_COUNTED or bool(asked))
    shows_steps = found.has_verdict and DISMISSED not in request.COOKIES
    context |= {
        "offered": found.standings.offered if len(found.standings.offered) <= OFFERED else [],
        "chosen": chosen,
        "next_steps": next_steps_of(user, found.rows) if shows_steps else None,
        "freezing": freezing_address(user) if found.any else "",
        "periods": PERIODS,
        "figures": figures_of(scope, days_of(asked.get("days")), timezone.now()) if shows_figures else None,
    }
    return render(request, "dashboard/overview/overview.html", context)


@page("POST")
def dismiss(request: HttpRequest) -> HttpResponse:
    """Hide what is left to set up, in this browser."""
    response = redirect("dashboard:overview")
    response.set_cookie(
        DISMISSED,
        "1",
        max_age=timedelta(days=365),
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response


def freezing_address(user: User) -> str:
    """Return where the user may freeze deployments: the page of their team, or of their teams; "" for nowhere."""
    teams = teams_for(user, Action.FREEZE)[:2]
    if len(teams) == 1:
        return reverse("dashboard:freezes", args=[teams[0].pk])
    return reverse("dashboard:teams") if teams else ""


def chosen_project(projects: QuerySet[Project], value: str | None) -> Project | None:
    """Return the project named in the URL, None for all.

    Raises: Http404, the same for unknown projects and those of other teams.
    """
    if not value:
        return None
    try:
        found = projects.filter(uuid=UUID(value)).first()
    except ValueError:
        found = None
    if found is None:
        raise Http404(_("You have no such project."))
    return found
