"""Request every page with much content: each URL (tests/access_world.py), and its answer to a form.

New pages are included by themselves; states that need preparation belong in tests/page_states.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.test import Client
from django.utils import timezone

from accounts.models import Role, User
from accounts.tests.factories import make_membership, make_user
from analysis.services import give_feedback
from dashboard.tests import scenes
from deployments.tests.factories import make_deployment
from projects.services import set_policy
from projects.tests.factories import make_environment, make_project
from scheduler.models import Poller
from tests.access_world import FIXED, IDS, Place, addresses, client_of, fields_of, make_place

# The documentation of the API is in English, like the API.
NOT_OURS = {"docs"}
WHO = ("visitor", "viewer", "boss")


@dataclass(frozen=True)
class World:
    """A team with much content. `boss` is owner and superuser, `viewer` may only read, `visitor` is not signed in."""

    place: Place
    language: str
    boss: Client
    viewer: Client
    visitor: Client


def speaking(client: Client, language: str) -> Client:
    client.defaults |= {"HTTP_ACCEPT_LANGUAGE": language, "HTTP_USER_AGENT": "own"}
    return client


def make_world(language: str) -> World:
    """Create the world; its clients ask for pages in this language."""
    place = make_place("own")
    environment, project = place.environment, place.project
    place.deployment.delete()
    boss = place.team.memberships.get(role=Role.OWNER).user
    boss.is_staff = boss.is_superuser = True
    boss.email = "boss@example.com"
    boss.save()
    for minutes_ago, metrics in ((2000, {}), (1500, scenes.SLOWER), (90, scenes.SLOW)):
        scenes.judged(environment, minutes_ago=minutes_ago, **metrics)
    deployment = scenes.with_baseline(environment, **scenes.BROKEN)
    give_feedback(deployment.verdict, right=False, by=boss, should_have_been="warning", reason="load balancer")
    set_policy(environment, {"kind": "adaptive", "sensitivity": "high", "shadow": True}, source="file")
    scenes.half_observed(make_environment(project=project, name="staging"))
    scenes.poorly_observed(make_environment(project=project, name="qa"))
    make_deployment(environment=environment)
    make_project(team=place.team, name="emptiness")
    make_pollers()
    late = timezone.now() - timedelta(minutes=9)
    scenes.collection(deployment, 9, scenes.BROKE, scheduled_at=late)
    viewer = make_membership(team=place.team, user=make_user(username="barbara"), role=Role.VIEWER).user
    return World(
        replace(place, deployment=deployment),
        language=language,
        boss=speaking(client_of(boss), language),
        viewer=speaking(client_of(viewer), language),
        visitor=speaking(Client(raise_request_exception=False), language),
    )


def make_pollers() -> None:
    """Create a live poller and one whose heartbeat is an hour old."""
    now = timezone.now()
    Poller.objects.create(name="poller-1", host="host-1", pid=1, started_at=now, heartbeat_at=now)
    gone = now - timedelta(hours=1)
    Poller.objects.create(name="poller-2", host="host-2", pid=2, started_at=gone, heartbeat_at=gone)


def as_person(world: World, user: User) -> Client:
    return speaking(client_of(user), world.language)


def stranger(world: World) -> Client:
    return speaking(Client(raise_request_exception=False), world.language)


def looked_at(world: World) -> Iterator[tuple[str, Any]]:
    """Yield (description, answer) of every URL. Forms are sent empty, and valid.

    Effects are rolled back before the next request.
    """
    for name, found in sorted(addresses().items()):
        # tests/test_access.py reports parameters that tests/access_world.py does not know.
        if name in NOT_OURS or not all(found.id_of(each) in IDS or each in FIXED for each in found.parameters):
            continue
        url = found.url(found.values(world.place))
        forms: tuple[dict[str, Any], ...] = ({}, fields_of(name, world.place))
        asked: list[tuple[str, str, Any]] = [(f"GET {name} ({who})", who, None) for who in WHO]
        asked += [(f"POST {name}{' empty' if not form else ''}", "boss", form) for form in forms]
        for what, who, form in asked:
            with transaction.atomic():
                yield what, answer_to(getattr(world, who), url, form)
                transaction.set_rollback(True)


def answer_to(client: Client, url: str, form: Any) -> Any:
    """Send a GET, or a POST with a form, following redirects to the page that shows its messages."""
    cookies: Any = client.cookies.copy()
    answer = client.get(url) if form is None else client.post(url, form, follow=True)
    client.cookies = cookies
    return answer
