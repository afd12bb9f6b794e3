"""Events of live pages: streams that say when to ask for the live part again, and nothing more.

?since=seconds says when the page was made (Unix time): what has changed since is sent at once. Where the server cannot
hold answers, or has no place for this page, the answer is 204, after which a browser does not ask again.
"""

import time
from math import isfinite
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from accounts.models import User
from common.holding import Stream, hold
from dashboard.page import current_user, page
from dashboard.policies.queries import visible_environment
from deployments import changes
from deployments.models import Deployment

# The clocks of the hosts may differ by so much.
CLOCKS_DIFFER_S = 2.0


@page()
def teams(request: HttpRequest) -> HttpResponse:
    """Send an event after each change of a deployment of the user's teams. The first steps follow other things: that
    page polls.
    """
    return stream(request, topics_of_teams(current_user(request)))


@page()
def deployment(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Send an event after each change of the deployment."""
    found = get_object_or_404(Deployment.objects.visible_to(current_user(request)).only("pk"), uuid=uuid)
    return stream(request, [changes.deployment(found.pk)])


@page()
def environment(request: HttpRequest, environment_id: int) -> HttpResponse:
    """Send an event after each sample of the environment, and each change of its deployments."""
    return stream(request, [changes.environment(visible_environment(current_user(request), environment_id).pk)])


@page()
def status(request: HttpRequest) -> HttpResponse:
    """Send an event after each change of the health of SeqPulse. What staff see always changes: their page polls."""
    return stream(request, [changes.HEALTH])


def stream(request: HttpRequest, topics: list[str]) -> HttpResponse:
    if request.method == "GET":
        owner = f"user:{current_user(request).pk}"
        hold(request, Stream(tuple(topics), owner, missed_s(request.GET.get("since", ""))))
    return HttpResponse(status=204)


def topics_of_teams(user: User) -> list[str]:
    if user.is_superuser:
        return [changes.EVERYTHING]
    return [changes.team(team_id) for team_id in user.memberships.values_list("team_id", flat=True)]


def missed_s(since: str) -> float:
    """Return how many seconds of changes the page has missed."""
    try:
        seconds = time.time() - float(since) + CLOCKS_DIFFER_S
    except ValueError:
        return CLOCKS_DIFFER_S
    return max(CLOCKS_DIFFER_S, seconds) if isfinite(seconds) else CLOCKS_DIFFER_S
