"""The page of an environment: metrics over time, and deployments."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from dashboard.environments.queries import environment_page
from dashboard.environments.series import RANGES, range_of
from dashboard.page import current_user, page
from dashboard.policies.queries import visible_environment
from projects.freezing import frozen


@page()
def environment(request: HttpRequest, environment_id: int, *, live: bool = False) -> HttpResponse:
    """Show the five metrics over ?range=1h|6h|24h|7d|30d, with the deployments of that time.

    live: only the part that updates without a reload while the last hour is shown.
    """
    found = visible_environment(current_user(request), environment_id)
    page = environment_page(found, range_of(request.GET.get("range")))
    context: dict[str, Any] = {"page": page, "environment": found, "project": found.project, "ranges": RANGES}
    context["frozen"] = frozen(found, found.project.team_id)
    template = "_environment.html" if live else "environment.html"
    return render(request, f"dashboard/environments/{template}", context)
