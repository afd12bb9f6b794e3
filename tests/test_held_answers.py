"""Calls and pages that wait, over HTTP: the front of the web server with the whole application behind it."""

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.tests.factories import make_user
from analysis.tests.factories import make_verdict
from dashboard.tests import scenes
from deployments import api
from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import Pipeline
from metrics.tests.factories import make_sample, of_job
from projects.models import ApiKey, Environment
from projects.services import NewProject, create_project
from scheduler.health import Health, health
from scheduler.models import ScheduledJob
from scheduler.store import JobStore
from seqpulse.front import health_watch, waiting
from tests.databases import end_connection
from tests.held import Server, streaming

pytestmark = pytest.mark.django_db(transaction=True)

PLACES = 8
CHANGED = "event: changed\ndata: 1\n"


@pytest.fixture(autouse=True)
def quick_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_watch, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(waiting, "EVENT_EVERY_S", 0.05)


@pytest.fixture
def server(quick_events: None) -> Iterator[Server]:
    with streaming(places=PLACES) as running:
        yield running


class Call:
    """A call that does not wait for its answer."""

    def __init__(self, server: Server, method: str, path: str, body: Any = None, **headers: str) -> None:
        self.link = http.client.HTTPConnection("127.0.0.1", server.front.port, timeout=20)
        self.link.request(method, path, json.dumps(body) if body else None, headers)

    def answer(self) -> tuple[int, Any, http.client.HTTPMessage]:
        response = self.link.getresponse()
        content = response.read()
        self.link.close()
        return response.status, json.loads(content) if content else None, response.headers


def verdict_call(server: Server, made: NewProject, uuid: Any, wait: float = 60) -> Call:
    return Call(server, "GET", f"/deployments/{uuid}/verdict?wait={wait:g}", **{"X-API-Key": made.api_key})


def test_calls_wait_for_the_verdict_and_are_answered_like_later_ones(
    server: Server, made: NewProject, pipeline: Pipeline
) -> None:
    first = pipeline.start()
    calls = [verdict_call(server, made, first) for _ in range(2)]
    server.wait_until_waiting(2)
    # Samples are not what they wait for.
    make_sample(Deployment.objects.get(uuid=first), phase="pre")
    second = pipeline.start(force=True)
    for call in calls:
        status, body, headers = call.answer()
        assert (status, body["gate"], body["error"]["code"]) == (409, "none", "superseded")
    call = verdict_call(server, made, second)
    server.wait_until_waiting(1)
    make_verdict(Deployment.objects.get(uuid=second), verdict="rollback_recommended")
    status, body, headers = call.answer()
    assert (status, body["gate"], "Retry-After" in headers) == (200, "fail", False)
    later = pipeline.verdict(second)
    assert body == later.json()
    assert {name.lower() for name in headers} - {"date"} == {name.lower() for name in later.headers}
    server.wait_until_waiting(0)


def test_when_the_time_is_up_the_answer_is_fresh_and_says_call_again(
    server: Server, made: NewProject, pipeline: Pipeline
) -> None:
    uuid = pipeline.start()
    call = verdict_call(server, made, uuid, wait=1)
    server.wait_until_waiting(1)
    pipeline.finish(uuid)
    status, body, headers = call.answer()
    assert (status, body["gate"], body["state"], headers["Retry-After"]) == (202, "pending", "finished", "1")


def test_a_key_that_is_revoked_while_it_waits_gets_no_verdict(
    server: Server, made: NewProject, pipeline: Pipeline
) -> None:
    uuid = pipeline.start()
    call = verdict_call(server, made, uuid, wait=0.5)
    server.wait_until_waiting(1)
    ApiKey.objects.update(revoked_at=timezone.now())
    make_verdict(Deployment.objects.get(uuid=uuid))
    status, body, _ = call.answer()
    assert (status, body["gate"], body["verdict"]) == (202, "pending", None)


def test_a_key_that_is_revoked_while_it_waits_gets_no_sample(
    server: Server, made: NewProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_WAIT_FOR_PRE_S", 0.5)
    call = Call(server, "POST", "/deployments/trigger", {"env": "prod", "wait_for_pre": True}, **json_of(made))
    server.wait_until_waiting(1)
    ApiKey.objects.update(revoked_at=timezone.now())
    ScheduledJob.objects.filter(job_type="pre_collect").update(status="failed", last_error="HTTP 503 from x")
    status, body, _ = call.answer()
    assert (status, body["pre"]["status"]) == (200, "pending")


def test_beyond_the_share_of_its_project_a_call_is_answered_at_once(
    server: Server, made: NewProject, pipeline: Pipeline
) -> None:
    other = create_project("other", environment="prod")
    uuids = {made: pipeline.start(), other: Pipeline(other.api_key).start()}
    held = [verdict_call(server, made, uuids[made]) for _ in range(PLACES // 2)]
    server.wait_until_waiting(PLACES // 2)
    status, body, headers = verdict_call(server, made, uuids[made]).answer()
    assert (status, body["gate"]) == (202, "pending")
    assert int(headers["Retry-After"]) >= 1
    held.append(verdict_call(server, other, uuids[other]))
    server.wait_until_waiting(PLACES // 2 + 1)
    # Clients that go away free their places.
    for call in held:
        call.link.close()
    server.wait_until_waiting(0)


def test_the_server_answers_all_that_wait_before_it_ends(server: Server, made: NewProject, pipeline: Pipeline) -> None:
    uuid = pipeline.start()
    calls = [verdict_call(server, made, uuid) for _ in range(3)]
    pre = Call(server, "POST", "/deployments/trigger", {"env": "prod", "wait_for_pre": True}, **json_of(made))
    server.wait_until_waiting(4)
    server.front.should_exit = True
    assert [call.answer()[0] for call in calls] == [202] * 3
    status, body, _ = pre.answer()
    assert (status, body["status"], body["pre"]["status"]) == (200, "existing", "pending")


def json_of(made: NewProject) -> dict[str, str]:
    return {"X-API-Key": made.api_key, "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("columns", "status"), [({"status": "failed", "last_error": "HTTP 503 from x"}, "failed"), ({}, "collected")]
)
def test_a_trigger_waits_for_its_sample(server: Server, made: NewProject, columns: dict[str, Any], status: str) -> None:
    call = Call(server, "POST", "/deployments/trigger", {"env": "prod", "wait_for_pre": True}, **json_of(made))
    server.wait_until_waiting(1)
    job = next(job for job in JobStore("poller", 30).claim(10)[0] if job.job_type == "pre_collect")
    if columns:
        ScheduledJob.objects.filter(pk=job.id).update(**columns)
    else:
        JobStore("poller", 30).complete([(job, of_job(job, Environment.objects.get().pk, timezone.now()))])
    answered, body, _ = call.answer()
    assert (answered, body["status"], body["pre"]["status"]) == (200, "created", status)
    assert Deployment.objects.count() == 1


class Stream:
    """An open stream of events."""

    def __init__(self, server: Server, user: User, path: str) -> None:
        client = Client()
        client.force_login(user)
        cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
        self.link = http.client.HTTPConnection("127.0.0.1", server.front.port, timeout=20)
        self.link.request("GET", path, headers={"Cookie": cookie})
        self.response = self.link.getresponse()

    def event(self) -> str:
        """Return the lines up to the next empty one; "" at the end of the stream."""
        return "".join(
            line.decode() for line in takewhile(lambda line: line != b"\n", iter(self.response.readline, b""))
        )


def test_open_pages_get_an_event_for_what_concerns_them(server: Server) -> None:
    own, other = make_user(username="own"), make_user(username="other")
    environment, foreign = scenes.environment_of(own), scenes.environment_of(other)
    deployment, of_others = (make_deployment(environment=each, state="finished") for each in (environment, foreign))
    address = f"/dashboard/deployments/{deployment.uuid}/events/"
    streams = [
        Stream(server, own, path)
        for path in ("/dashboard/events/", f"/dashboard/environments/{environment.pk}/events/", address)
    ]
    for stream in streams:
        assert (stream.response.status, stream.response.headers["Content-Type"]) == (200, "text/event-stream")
        assert stream.response.headers["Cache-Control"].startswith("max-age=0, no-cache, no-store")
        assert stream.response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Length" not in stream.response.headers
        assert re.fullmatch(r"retry: \d+\nevent: alive\ndata: 1\n", stream.event())
    make_verdict(of_others)
    make_verdict(deployment)
    assert [stream.event() for stream in streams] == [CHANGED] * 3
    # Made long before: anything may have changed since.
    streams.append(Stream(server, own, f"{address}?since=1"))
    assert [streams[-1].event()[:6], streams[-1].event()] == ["retry:", CHANGED]
    for path in (f"/dashboard/deployments/{of_others.uuid}/events/", f"/dashboard/environments/{foreign.pk}/events/"):
        assert Stream(server, own, path).response.status == 404
    server.wait_until_waiting(4)
    # Half of the places are the user's: the browser is told not to ask again.
    assert Stream(server, own, address).response.status == 204
    server.front.should_exit = True
    for stream in streams:
        assert {*re.findall(r"event: (\w+)", stream.response.read().decode())} <= {"alive", "changed"}


def sign_out(user: User) -> None:
    Session.objects.all().delete()


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user: User) -> None:
    user.set_password("another one 77")
    user.save()


def leave_team(user: User) -> None:
    user.memberships.all().delete()


@pytest.mark.parametrize("lose", [sign_out, deactivate, change_password, leave_team])
def test_a_stream_ends_with_the_right_to_see_its_page(
    server: Server, monkeypatch: pytest.MonkeyPatch, lose: Callable[[User], None]
) -> None:
    monkeypatch.setattr(waiting, "ALLOWED_FOR_S", 0.0)
    user = make_user()
    environment = scenes.environment_of(user)
    deployment = make_deployment(environment=environment, state="finished")
    own = f"/dashboard/deployments/{deployment.uuid}/events/"
    streams = [Stream(server, user, path) for path in ("/dashboard/events/", own)]
    assert [stream.event()[:6] for stream in streams] == ["retry:"] * 2
    make_verdict(deployment)
    assert [stream.event() for stream in streams] == [CHANGED] * 2
    lose(user)
    Deployment.objects.update(state="analyzed")
    # A change from before may be told twice, once for each of the rows that it wrote.
    assert [next(event for event in iter(stream.event, None) if event != CHANGED) for stream in streams] == [""] * 2


def test_open_status_pages_are_told_of_the_health_by_one_look_for_all(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Health] = []

    def look() -> Health:
        looks.append(Health({"jobs_late": f"oldest by {len(looks)} s"} if broken else {}))
        return looks[-1]

    monkeypatch.setattr(health_watch, "health", SimpleNamespace(get=look))
    broken = False
    streams = [Stream(server, make_user(), "/dashboard/status/events/") for _ in range(3)]
    for stream in streams:
        assert stream.event().startswith("retry: ")
        assert stream.event() == CHANGED
    broken = True
    for stream in streams:
        assert stream.event() == CHANGED
        stream.link.close()
        stream.response.close()
    server.wait_until_waiting(0)
    time.sleep(0.2)
    seen = len(looks)
    time.sleep(0.2)
    assert len(looks) == seen


def test_a_look_at_the_health_over_a_lost_connection_takes_a_new_one() -> None:
    """The database is not away because a connection ended that was kept from the last look."""
    health.forget()
    assert "database_away" not in health_watch.problems()
    connection.health_check_enabled = True  # type: ignore[attr-defined]  # not in the stubs
    end_connection()
    health.forget()
    assert "database_away" not in health_watch.problems()
    health.forget()


def test_the_page_names_its_stream_only_where_the_server_has_one(server: Server) -> None:
    user = make_user()
    deployment = make_deployment(environment=scenes.environment_of(user), state="finished")
    address = f"/dashboard/deployments/{deployment.uuid}/"
    client = Client()
    client.force_login(user)
    assert "data-live-events" not in client.get(address).content.decode()
    shown = Stream(server, user, address).response.read().decode()
    assert f'data-live-events="{address}events/" data-live-since="' in shown
