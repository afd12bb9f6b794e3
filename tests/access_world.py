"""Create two teams with every object that URLs refer to, and clients of every role."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve, reverse
from django.utils import timezone

from accounts.invitations import invite
from accounts.models import Invitation, Membership, Role, Team
from accounts.tests.factories import make_membership, make_team, make_user
from analysis.tests.factories import make_hint, make_past, make_verdict
from dashboard.tests.pages import moment
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from events.models import Event
from metrics.configuring import add_source
from notifications.models import Channel, Delivery
from notifications.recipients import token_of
from notifications.tests.factories import make_channel
from projects.models import Environment, ExcludedWindow, Freeze, Project
from projects.public_links import make_link
from projects.tests.factories import make_api_key, make_environment, make_project
from tests.access_table import LINES, LOGIN, ROLES, Line


@dataclass(frozen=True)
class Place:
    """Objects of one team, and two moments that have passed.

    window, invitation and member exist to be changed; links: tokens of public links by kind.
    """

    team: Team
    project: Project
    environment: Environment
    deployment: Deployment
    window: ExcludedWindow
    channel: Channel
    delivery: Delivery
    freeze: Freeze
    links: Mapping[str, str]
    invitation: Invitation
    token: str
    member: Membership
    key: str
    revoked_key: str
    security_key: Authenticator
    session: UserSession
    earlier: str
    later: str


# Values of URL parameters by name; `uuid` by the path segment before it.
IDS: Mapping[str, Callable[[Place], Any]] = {
    "projects/uuid": lambda place: place.project.uuid,
    "channels/uuid": lambda place: place.channel.uuid,
    "slack/uuid": lambda place: place.channel.uuid,
    "delivery_id": lambda place: place.delivery.pk,
    "freeze_id": lambda place: place.freeze.pk,
    "deployments/uuid": lambda place: place.deployment.uuid,
    "environment_id": lambda place: place.environment.pk,
    "source_id": lambda place: place.environment.sources.latest("pk").pk,
    "past_id": lambda place: place.environment.past_deployments.latest("pk").pk,
    "window_id": lambda place: place.window.pk,
    "team_id": lambda place: place.team.pk,
    "membership_id": lambda place: place.member.pk,
    "invitation_id": lambda place: place.invitation.pk,
    "feeds/token": lambda place: place.links["feed"],
    "badges/token": lambda place: place.links["badge"],
    "public/token": lambda place: place.links["page"],
    "link_id": lambda place: place.project.public_links.latest("pk").pk,
    "mail/token": lambda place: token_of(place.team.pk, "0" * 64),
    "alerts/token": lambda place: "spal_unknown",
    "token": lambda place: place.token,
    "key_id": lambda place: place.environment.project.api_keys.usable().latest("pk").pk,
    # Belongs to a user, not to a team: none of the callers has it.
    "session_id": lambda place: place.session.pk,
    "pk": lambda place: place.security_key.pk,
}
UNKNOWN: Mapping[type, Any] = {int: 2_000_000_000, UUID: UUID(int=7), str: "spi_unknown"}
# What a `uuid` may be of.
PLACES = ("projects", "channels", "deployments", "slack")
# Parameters that are not ids of an object.
FIXED = {"name": "prod", "source_kind_name": "check", "kind": "webhook", "uidb36": "1", "key": "set-password"}


@dataclass(frozen=True)
class Address:
    """A URL: its name with namespaces, its route, and the names of its parameters."""

    name: str
    route: str
    pattern: URLPattern

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"<(?:\w+:)?(\w+)>", self.route)

    def id_of(self, parameter: str) -> str:
        """Return the key in IDS."""
        first = self.route.partition("/")[0]
        if f"{first}/{parameter}" in IDS:
            return f"{first}/{parameter}"
        if parameter != "uuid":
            return parameter
        return f"{next(place for place in PLACES if f'{place}/' in self.route)}/uuid"

    def values(self, place: Place) -> dict[str, Any]:
        return {name: FIXED.get(name) or IDS[self.id_of(name)](place) for name in self.parameters}

    def ids(self) -> list[str]:
        """Return the parameters that are ids of objects."""
        return [name for name in self.parameters if name != "token" and name not in FIXED]

    def url(self, values: dict[str, Any]) -> str:
        return reverse(self.name, kwargs=values) if self.pattern.name else f"/{self.route}"


def every_pattern(
    patterns: list[Any], route: str = "", spaces: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, URLPattern]]:
    """Yield (namespaces and name, route, pattern) of every URL except those of Django admin."""
    for pattern in patterns:
        whole = route + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if pattern.namespace != "admin":
                inner = (*spaces, pattern.namespace) if pattern.namespace else spaces
                yield from every_pattern(pattern.url_patterns, whole, inner)
        else:
            yield ":".join((*spaces, pattern.name or "")), whole, pattern


@cache
def addresses() -> dict[str, Address]:
    """Return all URLs by name, those without a name by route. Leaves out named pages without their trailing slash."""
    found = list(every_pattern(get_resolver().url_patterns))
    named = {name: Address(name, route, pattern) for name, route, pattern in found if pattern.name}
    same = {(address.route, address.pattern.callback) for address in named.values()}
    others = [(route, pattern) for _, route, pattern in found if not pattern.name]
    left = {route: Address(route, route, pattern) for route, pattern in others}
    return named | {
        route: address for route, address in left.items() if (f"{route}/", address.pattern.callback) not in same
    }


@dataclass(frozen=True)
class World:
    own: Place
    foreign: Place
    clients: Mapping[str, Client]


def make_place(name: str) -> Place:
    team = make_team(name=name)
    owner = make_membership(team=team, role=Role.OWNER, user=make_user(username=f"{name}-owner"))
    project = make_project(team=team, name=name)
    environment = make_environment(project=project, name="prod", metrics_endpoint="https://shop.example.com/m")
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_verdict(deployment)
    make_hint(deployment)
    now = timezone.now()
    window = ExcludedWindow.objects.create(environment=environment, starts_at=now, ends_at=now + timedelta(hours=1))
    channel = make_channel(team=team)
    add_source(environment, "check", {"base_url": "https://shop.example", "steps": [{"url": "/"}]})
    make_past(environment)
    event = Event.objects.create(kind="key_made", severity="info", team_id=team.pk, fanned_out_at=now)
    delivery = Delivery.objects.create(event=event, channel=channel, state="failed", due_at=now, expires_at=now)
    freeze = Freeze.objects.create(team=team, environment=environment, reason="x", lifted_at=now)
    shown = {"title": name, "environments": [environment.pk]}
    links = {kind: make_link(project, {"kind": kind, **shown}, by=None) for kind in ("feed", "badge", "page")}
    invited = invite(team, f"{name}@example.com", Role.MEMBER, by=owner.user)
    revoked, secret = make_api_key(project=project)
    revoked.revoke()
    member = make_membership(team=team, user=make_user(username=f"{name}-changed"))
    return Place(
        team=team,
        project=project,
        environment=environment,
        deployment=deployment,
        window=window,
        channel=channel,
        delivery=delivery,
        freeze=freeze,
        links=links,
        invitation=invited.invitation,
        token=invited.token,
        member=member,
        key=make_api_key(project=project)[1],
        revoked_key=secret,
        security_key=Authenticator.objects.create(
            user=member.user, type=Authenticator.Type.WEBAUTHN, data={"name": "k"}
        ),
        session=UserSession.objects.create(user=member.user, ip="192.0.2.1", user_agent="", session_key=f"{name}-key"),
        earlier=moment(hours=2),
        later=moment(hours=1),
    )


@contextmanager
def passing_world() -> Iterator[World]:
    """Create the world for as long as it is needed."""
    with transaction.atomic():
        own, foreign = make_place("own"), make_place("foreign")
        # Some thousand calls would log two lines each.
        logging.disable(logging.CRITICAL)
        yield World(own, foreign, clients_for(own, foreign))
        logging.disable(logging.NOTSET)
        transaction.set_rollback(True)


def admin_addresses() -> Iterator[tuple[str, str]]:
    """Yield (name, URL) of every page of the admin and of every registered model, including additional pages.

    URLs of a row have the id of a missing row: callers without permission must not learn that either.
    """
    resolver = next(found for found in get_resolver().url_patterns if getattr(found, "namespace", "") == "admin")
    for _spaces, _route, pattern in every_pattern(resolver.url_patterns):
        if pattern.name is None:
            continue
        values = dict.fromkeys(pattern.pattern.regex.groupindex, "1")
        values |= {"app_label": "projects"} if "app_label" in values else {}
        if "url" in values or "content_type_id" in values:
            continue
        url = reverse(f"admin:{pattern.name}", kwargs=values)
        # A URL of ours that precedes the admin's is in the table.
        if resolve(url).namespace == "admin":
            yield f"admin:{pattern.name}", url


def client_of(user: Any) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    # A recent password sign-in: account pages would ask for the password otherwise.
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time()}]
    session.save()
    return client


def clients_for(own: Place, foreign: Place) -> dict[str, Client]:
    """Return a client for each caller."""
    people = {role: make_membership(team=own.team, role=role, user=make_user(username=role)).user for role in ROLES}
    people["foreign"] = foreign.team.memberships.get(role=Role.OWNER).user
    people["operator"] = make_user(username="operator", is_superuser=True, is_staff=True)
    secrets = {"key": own.key, "otherkey": foreign.key, "deadkey": own.revoked_key}
    return {
        "anonymous": Client(raise_request_exception=False),
        **{name: client_of(user) for name, user in people.items()},
        **{name: Client(raise_request_exception=False, headers={"X-API-Key": key}) for name, key in secrets.items()},
    }


def fields_of(name: str, place: Place) -> dict[str, str]:
    """Return the fields that a POST to this address needs."""
    fields = next((line.fields for line in LINES if line.name == name and line.method == "POST"), {})
    return {field: value.format_map(vars(place)) for field, value in fields.items()}


def url_of(name: str, place: Place) -> str:
    return addresses()[name].url(addresses()[name].values(place))


def answer_to(client: Client, line: Line, place: Place, url: str = "") -> HttpResponse:
    """Return the answer to a call of the line's address, or of another URL, with the line's fields."""
    return ask(client, line.method, url or url_of(line.name, place), fields_of(line.name, place), as_json=line.is_api)


def ask(client: Client, method: str, url: str, data: Any = None, *, as_json: bool = False) -> HttpResponse:
    """Call a URL, roll back its effects, and return the answer."""
    with transaction.atomic():
        cookies: Any = client.cookies.copy()
        extra = {"content_type": "application/json"} if as_json else {}
        if method in ("GET", "POST"):
            answer: Any = client.get(url) if method == "GET" else client.post(url, data or {}, **extra)
        else:
            answer = client.generic(method, url)
        client.cookies = cookies
        transaction.set_rollback(True)
    return answer  # type: ignore[no-any-return]


def said(answer: HttpResponse) -> str:
    """Return the status, or `login` for a redirect to the sign-in page."""
    to_login = answer.status_code == 302 and answer["Location"].startswith(f"{reverse('account_login')}?")
    return LOGIN if to_login else str(answer.status_code)
