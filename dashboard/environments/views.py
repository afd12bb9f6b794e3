"""The page of an environment: metrics over time, and deployments."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.permissions import Actions
from dashboard.environments.queries import environment_page
from dashboard.environments.series import RANGES, range_of
from dashboard.page import page
from dashboard.policies.queries import environment_of
from projects.freezing import announced_in
from projects.models import Environment


@page(of=environment_of)
def environment(request: HttpRequest, found: Environment, actions: Actions, *, live: bool = False) -> HttpResponse:
    """Show the five metrics over ?range=1h|6h|24h|7d|30d, with the deployments of that time.

    live: only the part that updates without a reload while the last hour is shown.
    """
    page = environment_page(found, range_of(request.GET.get("range")))
    context: dict[str, Any] = {"page": page, "environment": found, "project": found.project, "ranges": RANGES}
    context |= {"actions": actions, "freezes": announced_in(found, found.project.team_id)}
    template = "_environment.html" if live else "environment.html"
    return render(request, f"dashboard/environments/{template}", context)
