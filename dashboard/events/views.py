"""Events of live pages: streams that say when to ask for the live part again, and nothing more.

?since=seconds says when the page was made (Unix time): what has changed since is sent at once. Where the server cannot
hold answers, or has no place for this page, the answer is 204, after which a browser does not ask again.
"""

import time
from collections.abc import Callable
from math import isfinite
from uuid import UUID

from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from accounts.models import User
from common.holding import Stream, hold
from dashboard.page import current_user, page
from dashboard.policies.queries import visible_environment
from deployments import changes
from deployments.models import Deployment

# The clocks of the hosts may differ by so much.
CLOCKS_DIFFER_S = 2.0


TopicsOf = Callable[[User], list[str]]


@page()
def teams(request: HttpRequest) -> HttpResponse:
    """Send an event after each change of a deployment of the user's teams. The first steps follow other things: that
    page polls.
    """
    return stream(request, topics_of_teams)


@page()
def deployment(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Send an event after each change of the deployment."""

    def topics_of(user: User) -> list[str]:
        return [changes.deployment(get_object_or_404(Deployment.objects.visible_to(user).only("pk"), uuid=uuid).pk)]

    return stream(request, topics_of)


@page()
def environment(request: HttpRequest, environment_id: int) -> HttpResponse:
    """Send an event after each sample of the environment, and each change of its deployments."""
    return stream(request, lambda user: [changes.environment(visible_environment(user, environment_id).pk)])


@page()
def status(request: HttpRequest) -> HttpResponse:
    """Send an event after each change of the health of SeqPulse. What staff see always changes: their page polls."""
    return stream(request, lambda _user: [changes.HEALTH])


def stream(request: HttpRequest, topics_of: TopicsOf) -> HttpResponse:
    """Hold the answer for events of these topics. topics_of: raises Http404 where the user may not see the page."""
    user, session_key = current_user(request), request.session.session_key
    topics = topics_of(user)
    if request.method == "GET":

        def may_go_on() -> bool:
            return sees(session_key, topics_of, topics)

        hold(request, Stream(tuple(topics), f"user:{user.pk}", missed_s(request.GET.get("since", "")), may_go_on))
    return HttpResponse(status=204)


def sees(session_key: str | None, topics_of: TopicsOf, topics: list[str]) -> bool:
    """Return whether the session still has a user who may see all of these topics."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = get_user(request)
    try:
        return isinstance(user, User) and set(topics) <= set(topics_of(user))
    except Http404:
        return False


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
