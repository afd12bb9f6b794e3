"""Every page that people see: each address (tests/access_world.py), and what stands there only after something was done.

A new page needs nothing here. What it shows only in certain states (errors in a form, messages, mails) goes to STATES.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import reverse
from django.utils import timezone

from analysis.services import give_feedback
from dashboard.tests import scenes
from dashboard.tests.pages import address, exclude, moment, page_of, send
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from projects.invitations import invite
from projects.models import Environment, ExcludedWindow, Role, User
from projects.services import set_policy
from projects.tests.factories import PASSWORD, make_membership, make_project, make_team, make_user
from scheduler.models import JobStatus, Poller
from seqpulse import errors
from seqpulse.limits import too_many
from security.limits import Usage
from tests.access_world import FIXED, IDS, Place, addresses, client_of, form_of, make_place


# The documentation of the API, which is in English as the API itself is.
NOT_OURS = {"docs"}


@dataclass(frozen=True)
class World:
    """A team with much to show; `boss` owns it and runs SeqPulse, `viewer` may only look, `visitor` is not signed in."""

    place: Place
    language: str
    boss: Client
    viewer: Client
    visitor: Client


def speaking(client: Client, language: str) -> Client:
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = language
    return client


def make_world(language: str) -> World:
    """Whoever looks asks for pages in this language."""
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
    scenes.half_observed(scenes.make_environment(project=project, name="staging"))
    scenes.poorly_observed(scenes.make_environment(project=project, name="qa"))
    make_deployment(environment=environment)
    make_project(team=place.team, name="emptiness")
    now = timezone.now()
    Poller.objects.create(name="poller-1", host="host-1", pid=1, started_at=now, heartbeat_at=now)
    gone = now - timedelta(hours=1)
    Poller.objects.create(name="poller-2", host="host-2", pid=2, started_at=gone, heartbeat_at=gone)
    scenes.collection(deployment, 9, scheduled_at=now - timedelta(minutes=9), last_error="HTTP 503 of it")
    viewer = make_membership(team=place.team, user=make_user(username="barbara"), role=Role.VIEWER).user
    return World(
        replace(place, deployment=deployment),
        language=language,
        boss=speaking(client_of(boss), language),
        viewer=speaking(client_of(viewer), language),
        visitor=speaking(Client(raise_request_exception=False), language),
    )


def as_person(world: World, user: User) -> Client:
    return speaking(client_of(user), world.language)


def stranger(world: World) -> Client:
    return speaking(Client(raise_request_exception=False), world.language)


def looked_at(world: World) -> Iterator[tuple[str, HttpResponse]]:
    """(what was asked for and by whom, the answer) of every address; a form is sent empty, and as it is accepted."""
    for name, found in sorted(addresses().items()):
        # What tests/access_world.py does not know yet, tests/test_access.py asks for.
        if name in NOT_OURS or not all(found.id_of(each) in IDS or each in FIXED for each in found.parameters):
            continue
        url = found.url(found.values(world.place))
        for who in ("visitor", "viewer", "boss"):
            yield f"GET {name} ({who})", undone(getattr(world, who), url)
        yield f"POST {name}, empty", undone(world.boss, url, {})
        yield f"POST {name}", undone(world.boss, url, form_of(name, world.place))


def undone(client: Client, url: str, data: Any = None) -> HttpResponse:
    """The answer, redirects followed, so that messages are seen; its effects are undone."""
    with transaction.atomic():
        cookies = client.cookies.copy()
        answer: Any = client.get(url) if data is None else client.post(url, data, follow=True)
        client.cookies = cookies
        transaction.set_rollback(True)
    return answer  # type: ignore[no-any-return]


# --- what stands there only at times --------------------------------------------------------------------------------

Shown = Callable[[World], Iterator[HttpResponse]]
STATES: dict[str, Shown] = {}


def state(shown: Shown) -> Shown:
    STATES[shown.__name__] = shown
    return shown


@state
def error_pages(world: World) -> Iterator[HttpResponse]:
    request = RequestFactory().get("/dashboard/")
    request.user = request._cached_user = world.place.member.user
    for status in (400, 403, 404, 500, 503):
        yield errors.error_page(request, status)
        yield errors.error_page(RequestFactory().get("/dashboard/"), status)
    yield too_many(request, Usage(5, 6, int(time.time()) + 30))
    yield speaking(Client(enforce_csrf_checks=True), world.language).post("/accounts/login/", {"login": "ada"})


PAGES_WITHOUT_ID = ("overview", "deployments", "hints", "projects", "project-new", "teams", "settings", "sessions", "status")


@state
def people_without_anything(world: World) -> Iterator[HttpResponse]:
    newcomer = as_person(world, make_user(username="newcomer"))
    for name in PAGES_WITHOUT_ID:
        yield newcomer.get(reverse(f"dashboard:{name}"))
    lonely = make_team(name="Lovelace")
    make_membership(team=lonely, user=make_user(username="lonely"), role=Role.OWNER)
    lonely_client = as_person(world, lonely.memberships.get().user)
    empty = make_project(team=lonely, name="empty")
    for url in ("/dashboard/", "/dashboard/deployments/", f"/dashboard/teams/{lonely.pk}/"):
        yield lonely_client.get(url)
    yield lonely_client.get(reverse("dashboard:project", args=[empty.uuid]))
    environment = scenes.make_environment(project=empty, name="bare")
    yield lonely_client.get(page_of(environment))
    yield lonely_client.get("/dashboard/deployments/")


@state
def deployments_in_every_state(world: World) -> Iterator[HttpResponse]:
    project = world.place.project

    def place(name: str) -> Environment:
        return scenes.make_environment(project=project, name=name)

    made = [
        scenes.judged(place("a1")),
        scenes.judged(place("a2"), **scenes.SLOWER),
        scenes.with_history(place("a3"), **scenes.BROKEN),
        scenes.called_out_early(place("a4")),
        scenes.end_window(scenes.called_out_early(place("a5"))),
        scenes.half_observed(place("a6")),
        scenes.poorly_observed(place("a7")),
        *(make_deployment(environment=place(f"b{number}"), state=each) for number, each in enumerate(State)),
    ]
    for deployment in made:
        for client in (world.boss, world.viewer):
            yield client.get(address(deployment))
        for page in ("compare", "replay", "rerun"):
            yield world.boss.get(f"{address(deployment)}{page}/")
    yield world.boss.get("/dashboard/deployments/")
    yield world.boss.get("/dashboard/")
    yield world.boss.get("/dashboard/deployments/", {"q": "nothing-like-it", "since": "yesterday", "cursor": "x"})


@state
def marks(world: World) -> Iterator[HttpResponse]:
    url = f"{address(world.place.deployment)}feedback/"
    for data in ({}, {"mark": "wrong"}, {"feedback-mark": "wrong", "feedback-should_have_been": "ok"}):
        yield world.boss.post(url, data, follow=True)
    yield world.boss.post(url, {"feedback-mark": "right", "feedback-reason": "x" * 9000}, follow=True)


@state
def analyses_again(world: World) -> Iterator[HttpResponse]:
    for page in ("rerun", "replay"):
        url = f"{address(world.place.deployment)}{page}/"
        yield world.boss.get(url)
        yield world.boss.post(url, {"token": "old", "kind": "adaptive", "sensitivity": "low"}, follow=True)
        yield world.boss.post(url, {"kind": "fixed", "fixed.latency_p95.limit": "-1"}, follow=True)


@state
def policies(world: World) -> Iterator[HttpResponse]:
    boss, place = world.boss, world.place.environment
    yield send(boss, place, sensitivity="", limits__latency_p95="much", warmup_samples="1000")
    yield send(boss, place, **{f"left_out__{name}": "on" for name in ("requests_per_sec", "latency_p95", "error_rate")})
    everything = ("requests_per_sec", "latency_p95", "error_rate", "cpu_usage", "memory_usage")
    yield send(boss, place, **{f"left_out__{name}": "on" for name in everything})
    yield send(boss, place, do="replay", limits__latency_p95="200")
    yield send(boss, place, kind="fixed", fixed__latency_p95__limit="0", fixed__error_rate__limit="101")
    yield send(boss, place, kind="fixed")
    yield boss.get(page_of(place))
    yield send(boss, place, seen="0")
    yield exclude(boss, place)
    yield exclude(boss, place, starts_at=moment(hours=1), ends_at=moment(hours=2))
    yield exclude(boss, place, starts_at="x", ends_at=moment(hours=-99), reason="x" * 999)
    for reason in ("load test", ""):
        yield exclude(boss, place, starts_at=moment(hours=3), ends_at=moment(hours=2), reason=reason)
        yield boss.get(page_of(place))
    window = ExcludedWindow.objects.filter(environment=place).first()
    assert window is not None
    yield boss.post(reverse("dashboard:include-window", args=[place.pk, window.pk]), follow=True)


@state
def teams(world: World) -> Iterator[HttpResponse]:
    boss, team = world.boss, world.place.team
    page = f"/dashboard/teams/{team.pk}/"
    for name in ("", "x" * 500, "Hopper"):
        yield boss.post("/dashboard/teams/", {"name": name}, follow=True)
        yield boss.post(f"{page}rename/", {"name": name}, follow=True)
    for email in ("", "no", "grace@example.com", "margaret@example.com", "margaret@example.com"):
        data = {"invite-email": email, "invite-role": "viewer" if email else "grace"}
        yield boss.post(f"{page}invitations/", data, follow=True)
    with override_settings(EMAIL_BACKEND="dashboard.tests.test_team_pages.Refusing"):
        yield boss.post(f"{page}invitations/", {"invite-email": "g@example.com", "invite-role": "viewer"}, follow=True)
    invitations = f"{page}invitations/{world.place.invitation.pk}"
    yield boss.post(f"{invitations}/resend/", follow=True)
    yield boss.post(f"{page}members/{world.place.member.pk}/role/", {"role": "admin"}, follow=True)
    yield boss.post(f"{page}members/{world.place.member.pk}/role/", {"role": "grace"}, follow=True)
    owner = team.memberships.get(role=Role.OWNER)
    yield boss.post(f"{page}members/{owner.pk}/role/", {"role": "viewer"}, follow=True)
    yield boss.post(f"{page}members/{owner.pk}/remove/", follow=True)
    yield boss.post(f"{page}leave/", follow=True)
    yield boss.post(f"{page}delete/", {"typed": "no"}, follow=True)
    yield boss.post(f"{invitations}/revoke/", follow=True)
    yield boss.post(f"{invitations}/revoke/", follow=True)
    yield boss.post(f"{page}members/{world.place.member.pk}/remove/", follow=True)
    made = make_team(name="Hopper")
    make_membership(team=made, user=owner.user, role=Role.OWNER)
    yield boss.post(f"/dashboard/teams/{made.pk}/delete/", {"typed": "Hopper"}, follow=True)


@state
def invitations(world: World) -> Iterator[HttpResponse]:
    owner = world.place.team.memberships.get(role=Role.OWNER).user
    guest = make_user(username="guest", email="guest@example.com")
    made = invite(world.place.team, guest.email, Role.MEMBER, by=owner)
    page = f"/dashboard/invitations/{made.token}/"
    yield world.visitor.get(page, follow=True)
    yield world.boss.get(page, follow=True)
    client = as_person(world, guest)
    yield client.get(page, follow=True)
    yield client.post(page, follow=True)
    yield client.get(page, follow=True)
    yield client.get("/dashboard/invitations/spi_nothing/", follow=True)


@state
def signing_in(world: World) -> Iterator[HttpResponse]:
    client = stranger(world)
    yield client.get("/accounts/login/?next=/dashboard/teams/")
    yield client.post("/accounts/login/", {"login": "", "password": ""})
    yield client.post("/accounts/login/", {"login": "ada", "password": "wrong"})
    yield client.post("/accounts/password/reset/", {"email": "no"})
    yield client.post("/accounts/password/reset/", {"email": "ada@example.com"}, follow=True)
    yield client.post("/accounts/password/reset/", {"email": "nobody@example.com"}, follow=True)
    make_user(username="leaving")
    yield client.post("/accounts/login/", {"login": "leaving", "password": PASSWORD}, follow=True)
    yield client.get("/accounts/logout/")
    yield client.post("/accounts/logout/", follow=True)


@state
def our_pages_of_the_admin(world: World) -> Iterator[HttpResponse]:
    world.place.deployment.jobs.filter(status=JobStatus.PENDING).update(last_error="")
    yield world.boss.get(reverse("admin:jobs-and-pollers"))
    url = reverse("admin:projects_environment_changelist")
    yield world.boss.post(url, {"action": "issue_secret", "_selected_action": [world.place.environment.pk]})
