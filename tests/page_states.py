"""States that pages show only sometimes: errors in forms, messages, secrets shown once, mails.

Each function acts as the users of tests/every_page.py and yields the answers.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.core import mail
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.test import Client, RequestFactory, override_settings
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language

from accounts.invitations import invite
from accounts.models import Role
from accounts.tests.factories import PASSWORD, make_membership, make_team, make_user
from analysis.tests.factories import make_past
from dashboard.tests import endpoints, scenes
from dashboard.tests.account_forms import NEW, SIGNUP, link_in, set_up
from dashboard.tests.pages import address, exclude, moment, page_of, send
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from metrics.configuring import add_source
from metrics.sources import SOURCE_KINDS
from metrics.tests.prometheus import prometheus_with
from notifications.channels.email import Email
from notifications.describing import describe
from notifications.models import Channel, RollbackAttempt
from notifications.recipients import Recipient, ask, digest_of, token_of
from projects.models import ApiKey, Environment, ExcludedWindow, Freeze
from projects.signing import fingerprint
from projects.tests.factories import make_environment, make_project
from scheduler.models import JobStatus
from security.limits import Usage
from seqpulse import errors
from seqpulse.limits import too_many
from tests.every_page import World, as_person, speaking, stranger

Shown = Callable[[World], Iterator[Any]]
STATES: dict[str, Shown] = {}


def state(shown: Shown) -> Shown:
    STATES[shown.__name__] = shown
    return shown


@state
def rollbacks(world: World) -> Iterator[Any]:
    """A rollback that is possible, then each way in which it may stand."""
    environment, form = make_environment(project=world.place.project, name="canary"), {"mode": "ask", "minutes": 30}
    address = reverse("dashboard:environment-rollback", args=[environment.pk])
    yield world.boss.post(address, form)
    yield world.boss.post(address, {**form, "url": "http://127.0.0.1:9/hook"})
    yield world.boss.post(reverse("dashboard:environment-rollback-test", args=[environment.pk]), follow=True)
    good = scenes.judged(environment, minutes_ago=90)
    bad = scenes.with_baseline(environment, **scenes.BROKEN)
    page = reverse("dashboard:deployment", args=[bad.uuid])
    yield world.boss.get(page)
    approval = reverse("dashboard:rollback-approve", args=[bad.uuid])
    yield world.boss.post(approval, follow=True)
    yield world.boss.post(approval, follow=True)
    attempts = RollbackAttempt.objects.filter(deployment=bad)
    back = make_deployment(environment=environment, kind="rollback")
    for state, result, more in (
        ("asked", "", {}),
        ("sent", "", {"answer_status": 200, "last_good": good, "sending_at": timezone.now()}),
        ("failed", "", {"error": {"code": "rollback.refused", "params": {"status": 500}}}),
        ("unknown", "missing", {"via": "automatic"}),
        ("sent", "not_ok", {"rollback": back}),
    ):
        attempts.update(state=state, result=result, **more)
        yield world.boss.get(page)
    attempts.delete()
    yield world.boss.post(approval, follow=True)


@state
def error_pages(world: World) -> Iterator[Any]:
    request: Any = RequestFactory().get("/dashboard/")
    request.user = request._cached_user = world.place.member.user
    for status in (400, 403, 404, 405, 408, 500, 503):
        yield errors.error_page(request, status)
        yield errors.error_page(RequestFactory().get("/dashboard/"), status)
    yield too_many(request, Usage(5, 6, int(time.time()) + 30))
    yield HttpResponse(render_to_string("busy.html", {"again": "/"}))
    yield speaking(Client(enforce_csrf_checks=True), world.language).post("/accounts/login/", {"login": "ada"})


@state
def searched_overviews(world: World) -> Iterator[Any]:
    for health in ("", "ok", "observing", "none"):
        yield as_person(world, world.place.member.user).get("/dashboard/", {"q": "nowhere", "health": health})


LISTS = ("overview", "deployments", "hints", "projects", "teams", "status")
OTHERS = ("project-new", "settings", "sessions")


@state
def people_without_anything(world: World) -> Iterator[Any]:
    newcomer = as_person(world, make_user(username="newcomer"))
    for name in (*LISTS, *OTHERS):
        yield newcomer.get(reverse(f"dashboard:{name}"))
    lonely = make_team(name="Lovelace")
    make_membership(team=lonely, user=make_user(username="lonely"), role=Role.OWNER)
    lonely_client = as_person(world, lonely.memberships.get().user)
    empty = make_project(team=lonely, name="empty")
    for url in ("/dashboard/", "/dashboard/deployments/", f"/dashboard/teams/{lonely.pk}/"):
        yield lonely_client.get(url)
    yield lonely_client.get(reverse("dashboard:project", args=[empty.uuid]))
    environment = make_environment(project=empty, name="bare")
    yield lonely_client.get(page_of(environment))
    yield lonely_client.get("/dashboard/deployments/")


@state
def deployments_in_every_state(world: World) -> Iterator[Any]:
    project = world.place.project

    def place(name: str) -> Environment:
        return make_environment(project=project, name=name)

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
    yield world.boss.get("/dashboard/deployments/", {"q": "own", "since": "own", "cursor": "x"})
    yield world.boss.get("/dashboard/deployments/", {"q": "emptiness"})


@state
def marks(world: World) -> Iterator[Any]:
    url = f"{address(world.place.deployment)}feedback/"
    for data in ({}, {"mark": "wrong"}, {"feedback-mark": "wrong", "feedback-should_have_been": "ok"}):
        yield world.boss.post(url, data, follow=True)
    yield world.boss.post(url, {"feedback-mark": "right", "feedback-reason": "x" * 9000}, follow=True)


@state
def analyses_again(world: World) -> Iterator[Any]:
    for page in ("rerun", "replay"):
        url = f"{address(world.place.deployment)}{page}/"
        yield world.boss.get(url)
        yield world.boss.post(url, {"token": "old", "kind": "adaptive", "sensitivity": "low"}, follow=True)
        yield world.boss.post(url, {"kind": "fixed", "fixed.latency_p95.limit": "-1"}, follow=True)


@state
def policies(world: World) -> Iterator[Any]:
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
def teams(world: World) -> Iterator[Any]:
    boss, team = world.boss, world.place.team
    page = f"/dashboard/teams/{team.pk}/"
    for name in ("", "x" * 500, "Hopper"):
        yield boss.post("/dashboard/teams/", {"name": name}, follow=True)
        yield boss.post(f"{page}rename/", {"name": name}, follow=True)
    for email in ("", "no", "grace@example.com", "margaret@example.com", "margaret@example.com"):
        data = {"invite-email": email, "invite-role": "viewer" if email else "own"}
        yield boss.post(f"{page}invitations/", data, follow=True)
    with override_settings(EMAIL_BACKEND="dashboard.tests.account_forms.Refusing"):
        yield boss.post(f"{page}invitations/", {"invite-email": "g@example.com", "invite-role": "viewer"}, follow=True)
    invitations = f"{page}invitations/{world.place.invitation.pk}"
    yield boss.post(f"{invitations}/resend/", follow=True)
    yield boss.post(f"{page}members/{world.place.member.pk}/role/", {"role": "admin"}, follow=True)
    yield boss.post(f"{page}members/{world.place.member.pk}/role/", {"role": "own"}, follow=True)
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
def invitations(world: World) -> Iterator[Any]:
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
def notification_mails(world: World) -> Iterator[Any]:
    """Mails of channels, the question to strangers, and the page of its answer."""
    team, language = world.place.team, get_language() or "en"
    with override_settings(SEQPULSE_PUBLIC_URL="http://testserver"):
        ask(["stranger@example.com"], team, language)
    recipient = Recipient("stranger@example.com", digest_of("stranger@example.com"), "http://testserver/mail/x/")
    delivery = world.place.delivery
    delivery.channel.language = language
    message = replace(describe([delivery])[delivery.pk], link="http://testserver/")
    Email().send({"recipients": [recipient], "reference": ""}, message)
    page = f"/mail/{token_of(team.pk, recipient.digest)}/"
    yield world.visitor.get(page)
    for answer in ("agree", "stop"):
        yield world.visitor.post(page, {answer: "yes"}, follow=True)
    yield world.boss.post(
        f"/dashboard/teams/{team.pk}/channels/new/email/",
        {"name": "mail", "config-addresses": "stranger@example.com", "time_zone": "UTC"},
        follow=True,
    )
    yield world.boss.post(f"/dashboard/teams/{team.pk}/channels/new/email/", {"config-addresses": "@@"})


@state
def first_steps(world: World) -> Iterator[Any]:
    """What is left to set up: all of it, then to be notified in one of several teams."""
    Channel.objects.update(disabled_at=timezone.now())
    Deployment.objects.update(url="")
    ApiKey.objects.update(created_by=None)
    yield world.boss.get("/dashboard/")
    Deployment.objects.update(url="https://ci.example/1")
    make_team(name="own")
    yield world.boss.get("/dashboard/")
    yield world.boss.post("/dashboard/steps/dismiss/", follow=True)


@state
def freezes(world: World) -> Iterator[Any]:
    """The freeze that comes next, with and without an end, and several that are in force."""
    Freeze.objects.all().delete()
    team, now = world.place.team, timezone.now()
    later = {"team": team, "reason": "own", "starts_at": now + timedelta(days=1)}
    for end in (None, now + timedelta(days=2)):
        made = Freeze.objects.create(**later, ends_at=end)
        yield world.boss.get("/dashboard/")
        made.delete()
    for end in (None, *(now + timedelta(days=days) for days in (1, 2, 3))):
        Freeze.objects.create(team=team, reason="own", ends_at=end)
    yield world.boss.get("/dashboard/")
    yield world.boss.get(f"/dashboard/projects/{world.place.project.uuid}/")


@state
def public_links(world: World) -> Iterator[Any]:
    page = f"/dashboard/projects/{world.place.project.uuid}/links/"
    given = {"title": "own", "language": "en"}
    for kind, chosen in (
        ("badge", []),
        ("page", []),
        ("page", [world.place.environment.pk]),
        ("feed", []),
        ("badge", [world.place.environment.pk]),
    ):
        yield world.boss.post(page, {**given, "kind": kind, "environments": chosen, "sent": kind})
    yield world.boss.post(page, {**given, "kind": "feed", "sent": "feed"}, follow=True)
    with patch("dashboard.public.links.MOST_LINKS", 0):
        yield world.boss.post(page, {**given, "kind": "feed"})
    yield world.boss.post(f"{page}{world.place.project.public_links.latest('pk').pk}/revoke/", follow=True)


@state
def signing_in(world: World) -> Iterator[Any]:
    client = stranger(world)
    with override_settings(SOCIALACCOUNT_PROVIDERS={"github": {"APPS": [{"client_id": "own", "secret": "own"}]}}):
        yield client.get("/accounts/login/")
    yield client.get("/accounts/login/?next=/dashboard/teams/")
    yield client.post("/accounts/login/", {"login": "", "password": ""})
    yield client.post("/accounts/login/", {"login": "own", "password": "wrong"})
    make_user(username="leaving", email="leaving@example.com")
    for email in ("no", "leaving@example.com", "nobody@example.com"):
        yield client.post("/accounts/password/reset/", {"email": email}, follow=True)
    sent = next(sent for sent in mail.outbox if sent.to == ["leaving@example.com"])
    page = client.get(link_in(sent, "reset/key"), follow=True)
    yield page
    for password in ("short", PASSWORD):
        both = {"password1": password, "password2": password}
        yield client.post(page.request["PATH_INFO"], both, follow=True)
    yield client.post("/accounts/login/", {"login": "leaving", "password": PASSWORD}, follow=True)
    yield client.get("/accounts/logout/")
    yield client.post("/accounts/logout/", follow=True)


@state
def signing_up(world: World) -> Iterator[Any]:
    with override_settings(SEQPULSE_SIGNUP_OPEN=True):
        client = stranger(world)
        yield client.get(SIGNUP)
        yield client.get("/accounts/login/")
        yield client.post(SIGNUP, {})
        yield client.post(SIGNUP, {"email": "no", "password1": "short", "password2": "other"})
        yield client.post(SIGNUP, NEW, follow=True)
        yield client.post("/accounts/login/", {"login": NEW["email"], "password": NEW["password1"]}, follow=True)
        confirm = link_in(mail.outbox[-1], "confirm-email")
        yield client.get(confirm)
        yield client.post(confirm, follow=True)
        yield stranger(world).post(SIGNUP, NEW, follow=True)
        yield client.get(confirm)


def by_password(world: World, name: str) -> Client:
    """Sign in by the form, which account pages require."""
    client = stranger(world)
    client.post("/accounts/login/", {"login": name, "password": PASSWORD})
    return client


@state
def accounts(world: World) -> Iterator[Any]:
    user = make_user(username="holder", email="holder@example.com")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    client = by_password(world, "holder")
    page = "/accounts/email/"
    for do, email in (("add", "no"), ("add", "new@example.com"), ("send", "new@example.com")):
        yield client.post(page, {f"action_{do}": "", "email": email}, follow=True)
    yield client.post(page, {"action_primary": "", "email": "new@example.com"}, follow=True)
    yield client.post(link_in(mail.outbox[-1], "confirm-email"), follow=True)
    yield client.post(page, {"action_primary": "", "email": "new@example.com"}, follow=True)
    for email in ("new@example.com", "holder@example.com"):
        yield client.post(page, {"action_remove": "", "email": email}, follow=True)
    yield client.post("/dashboard/settings/", {"username": "", "language": "own", "time_zone": "own"})
    chosen = {"username": "holder", "language": world.language, "theme": "dark", "time_zone": "Europe/Paris"}
    yield client.post("/dashboard/settings/", chosen, follow=True)
    as_person(world, user)
    yield client.get("/dashboard/settings/sessions/")
    yield client.post("/dashboard/settings/sessions/end/", follow=True)
    with override_settings(ACCOUNT_REAUTHENTICATION_TIMEOUT=0):
        yield client.get("/accounts/2fa/totp/activate/", follow=True)
        yield client.post("/accounts/reauthenticate/", {"password": "wrong"})
    for old in ("wrong", PASSWORD):
        new = {"oldpassword": old, "password1": NEW["password1"], "password2": NEW["password1"]}
        yield client.post("/accounts/password/change/", new, follow=True)
    user.set_unusable_password()
    user.save()
    passwordless = as_person(world, user)
    yield passwordless.get("/accounts/password/set/")
    yield passwordless.post("/accounts/password/set/", {"password1": "a", "password2": "b"})


@state
def second_factors(world: World) -> Iterator[Any]:
    user = make_user(username="careful", email="careful@example.com")
    client = by_password(world, "careful")
    yield client.get("/accounts/2fa/totp/activate/")
    yield client.post("/accounts/2fa/totp/activate/", {"code": "000000"})
    set_up(client)
    yield client.get("/accounts/2fa/")
    for page in ("generate/", ""):
        yield client.get(f"/accounts/2fa/recovery-codes/{page}")
    yield client.post("/accounts/2fa/recovery-codes/generate/", follow=True)
    for page in ("totp/deactivate/", "webauthn/", "webauthn/add/", "webauthn/reauthenticate/"):
        yield client.get(f"/accounts/2fa/{page}")
    fresh = stranger(world)
    yield fresh.post("/accounts/login/", {"login": "careful", "password": PASSWORD}, follow=True)
    yield fresh.post("/accounts/2fa/authenticate/", {"code": "000000"})
    data = {"name": "own", "credential": {}}
    key = Authenticator.objects.create(user=user, type="webauthn", data=data, last_used_at=timezone.now())
    for page in ("edit", "remove"):
        yield client.get(f"/accounts/2fa/webauthn/keys/{key.pk}/{page}/")
    yield client.post(f"/accounts/2fa/webauthn/keys/{key.pk}/edit/", {"name": ""})
    with override_settings(ACCOUNT_REAUTHENTICATION_TIMEOUT=0):
        yield client.get("/accounts/2fa/totp/deactivate/", follow=True)
        yield client.get("/accounts/2fa/reauthenticate/")
    yield client.post(f"/accounts/2fa/webauthn/keys/{key.pk}/remove/", follow=True)
    yield client.post("/accounts/2fa/totp/deactivate/", follow=True)


@state
def projects(world: World) -> Iterator[Any]:
    boss, project = world.boss, world.place.project
    for name in ("", "x" * 500, "own", "Mercury"):
        data = {"name": name, "team": world.place.team.pk, "environment": name, "window_minutes": "x"}
        yield boss.post(reverse("dashboard:project-new"), data, follow=True)
        yield boss.post(reverse("dashboard:environment-new", args=[project.uuid]), {"name": name}, follow=True)
        yield boss.post(reverse("dashboard:project-keys", args=[project.uuid]), {"name": name}, follow=True)
        yield boss.post(reverse("dashboard:project-settings", args=[project.uuid]), {"name": name}, follow=True)
        yield boss.post(reverse("dashboard:project-delete", args=[project.uuid]), {"typed": "no"}, follow=True)
    for window in ("", "0", "x", "99999", "3"):
        data = {"plan": "pro" if window else "", "window_minutes": window, "retention_days": window}
        yield boss.post(reverse("dashboard:project-plan", args=[project.uuid]), data, follow=True)
    for do in ("archive", "unarchive"):
        yield boss.post(reverse(f"dashboard:project-{do}", args=[project.uuid]), follow=True)
        for page in ("project", "project-settings", "integration", "project-keys", "projects"):
            yield boss.get(reverse(f"dashboard:{page}", args=[project.uuid] if page != "projects" else []))
    yield boss.post(reverse("dashboard:project-delete", args=[project.uuid]), {"typed": project.name}, follow=True)


@state
def environments(world: World) -> Iterator[Any]:
    boss, place = world.boss, world.place.environment

    def to(what: str, **data: object) -> Any:
        place.refresh_from_db()
        url = reverse(f"dashboard:environment-{what}", args=[place.pk])
        return boss.post(url, {"seen": fingerprint(place), **data}, follow=True)

    yield to("settings", name="")
    yield to("settings", name="prod")
    for url in ("", "ftp://x/", "http://10.0.0.1/m", "http://nowhere.invalid/m", "http://127.0.0.1:9/m"):
        yield to("probe", url=url)
        yield to("endpoint", url=url)
    with override_settings(SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8"), endpoints.serving() as service:
        yield to("probe", url=service.url)
        for metric, value in (("cpu_usage", 42.0), ("memory_usage", None), ("latency_p95", 0.1), ("error_rate", 0)):
            service.metrics[metric] = value
        yield to("probe", url=service.url)
        for status, raw in ((200, b"<html>"), (200, b'{"ok": 1}'), (401, b""), (404, b""), (503, b""), (302, b"")):
            service.status, service.raw = status, raw
            yield to("probe", url=service.url)
        service.status, service.raw = 200, b""
        yield to("signing", do="begin")
        yield to("probe", url=service.url)
        service.accept("another")
        yield to("probe", url=service.url)
        yield to("endpoint", url=service.url)
    for do in ("rotate", "reissue", "finish", "end"):
        yield to("signing", do=do)
        yield to("signing", do=do, grace_hours="1", **{"end-typed": place.name})
        yield boss.get(reverse("dashboard:environment-settings", args=[place.pk]))
    Environment.objects.filter(pk=place.pk).update(endpoint_blocked_at=timezone.now(), endpoint_blocked_reason="own")
    yield boss.get(reverse("dashboard:environment-settings", args=[place.pk]))
    yield to("probe", url="https://shop.example.com/m")
    yield to("delete", typed="no")
    yield to("delete", typed=place.name)


@state
def sources_of_environments(world: World) -> Iterator[Any]:
    """Each kind of source: its empty form, what a test tells, what a Prometheus knows, a source that is there."""
    boss, place = world.boss, make_environment(project=world.place.project, name="measured")
    where = [place.pk]
    yield boss.get(reverse("dashboard:source-choose", args=where))
    for kind in SOURCE_KINDS:
        new = reverse("dashboard:source-new", args=[*where, kind.name])
        yield boss.get(new)
        yield boss.post(new, {"do": "save"})
        yield boss.post(new, {"do": "test", "url": "http://127.0.0.1:9", "headers": "none"})
    new = reverse("dashboard:source-new", args=[*where, "prometheus"])
    times = [time.time() - 60 * minute for minute in range(30)]
    known = {
        f'http_request_duration_seconds_{part}{{job="shop",status="200"{bucket}}}': {at: at // 60 for at in times}
        for part, bucket in (("count", ""), ("sum", ""), ("bucket", ',le="0.1"'), ("bucket", ',le="+Inf"'))
    }
    with (
        TemporaryDirectory() as directory,
        prometheus_with(Path(directory), known) as url,
        override_settings(SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8"),
    ):
        yield boss.post(new, {"do": "find", "url": "http://127.0.0.1:9"})
        yield boss.post(new, {"do": "find", "url": url})
        for query in ("rate(http_request_duration_seconds_count[5m])", "nothing"):
            further = f"[expressions]\nrequests_per_sec = '{query}'"
            yield boss.post(new, {"do": "test", "url": url, "further": further})
        yield boss.post(new, {"do": "save", "url": url, "further": further}, follow=True)
    yield boss.get(reverse("dashboard:source", args=[*where, place.sources.get(kind="prometheus").pk]))


@state
def history_imports(world: World) -> Iterator[Any]:
    """Past deployments of each verdict, one without data, some that wait, and lists that are none."""
    boss, environment = world.boss, make_environment(project=world.place.project, name="history")
    address = reverse("dashboard:history", args=[environment.pk])
    yield boss.get(address)
    add_source(environment, "prometheus", {"url": "https://p.example", "expressions": {"error_rate": "errors"}})
    yield boss.get(address)
    for text in ("", "own", "own\n" * 20, "own 2026-01-01T00:00:00Z"):
        yield boss.post(address, {"do": "import", "deployments": text, "takes": "x" if text else "5"})
    for name, days, latency in (("own", 3, 120.0), ("own", 2, 900.0), ("own", 1, 0.0)):
        row = make_past(environment, name=name, days_ago=days, latency=latency)
        yield boss.get(reverse("dashboard:past-deployment", args=[environment.pk, row.pk]))
    for show in ("", "ok", "unsure", "failed"):
        yield boss.get(address, {"show": show})
    yield boss.post(
        address,
        {"do": "import", "deployments": f"own {timezone.now() - timedelta(hours=2):%Y-%m-%dT%H:%MZ}", "takes": "5"},
        follow=True,
    )
    waiting = environment.past_deployments.get(judged_at=None, problem__isnull=True)
    yield boss.get(reverse("dashboard:past-deployment", args=[environment.pk, waiting.pk]))
    for do in ("stop", "again", "clear"):
        yield boss.post(address, {"do": do}, follow=True)


@state
def our_pages_of_the_admin(world: World) -> Iterator[Any]:
    boss = world.boss
    world.place.deployment.jobs.filter(status=JobStatus.PENDING).update(last_error="")
    yield boss.get(reverse("admin:jobs-and-pollers"))
    environment = world.place.environment
    acted = {"projects_environment": ("issue_secret", "turn_signing_off", "block", "unblock")}
    for model, actions in acted.items():
        for action in actions:
            data = {"action": action, "_selected_action": [environment.pk], "reason": "own"}
            yield boss.post(reverse(f"admin:{model}_changelist"), data)
