"""The page of an environment: metrics over time, and deployments."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.permissions import Actions
from dashboard.environments.queries import environment_page, shortest_range
from dashboard.environments.series import RANGES, range_of
from dashboard.page import page
from dashboard.policies.queries import environment_of
from projects.freezing import announced_in
from projects.models import Environment


@page(of=environment_of)
def environment(request: HttpRequest, found: Environment, actions: Actions, *, live: bool = False) -> HttpResponse:
    """Show the five metrics over ?range=1h|6h|24h|7d|30d, by default the shortest with samples, with its deployments.

    live: only the part that updates without a reload while the last hour is shown.
    """
    given = request.GET.get("range")
    is_named = any(one.name == given for one in RANGES)
    page = environment_page(found, range_of(given) if is_named else shortest_range(found), fitted=not is_named)
    context: dict[str, Any] = {"page": page, "environment": found, "project": found.project, "ranges": RANGES}
    context |= {"actions": actions, "freezes": announced_in(found, found.project.team_id)}
    template = "_environment.html" if live else "environment.html"
    return render(request, f"dashboard/environments/{template}", context)
