"""Health endpoints: content, access and cost."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.tests.factories import make_user
from common.cached import Cached
from scheduler import health as scheduler_health
from scheduler import state
from scheduler.models import Poller
from scheduler.tests.factories import make_job, make_poller
from scheduler.tests.kinds import plain_connection
from seqpulse.observability import health
from seqpulse.observability.access import SESSIONS_PER_PERIOD
from tests.concurrency import in_background

# Has the form of a session key, but is none.
INVENTED = "a" * 32
TOKEN = {"Authorization": "Bearer watch-me"}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "SEQPULSE_METRICS_TOKEN", "watch-me")
    cache.clear()
    for cached in (scheduler_health.health, health.database):
        cached.forget()
    yield
    for cached in (scheduler_health.health, health.database):
        cached.forget()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the database unavailable."""

    def refuse(*args: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "ensure_connection", refuse)
    monkeypatch.setattr(connection, "cursor", refuse)
    monkeypatch.setattr(connection, "close", lambda: None)


def ask(client: Client, path: str = "/health", **headers: str) -> tuple[int, dict[str, Any]]:
    answer = client.get(path, headers=headers or TOKEN)
    return answer.status_code, answer.json()


def test_with_a_poller_and_no_arrears_all_is_well(client: Client) -> None:
    make_poller()
    make_job(late_s=-60)
    code, body = ask(client)
    assert (code, body["status"], body["reasons"]) == (200, "ok", [])
    assert set(body["checks"]) == {"database", "migrations", "pollers", "clock", "queue", "jobs"}
    assert set(body["checks"].values()) == {"ok"}
    assert body["state"] == "ok"


def test_a_silent_poller_is_reported(client: Client) -> None:
    make_poller(age_s=31)
    code, body = ask(client)
    assert (code, body["status"], body["checks"]["pollers"]) == (200, "degraded", "degraded")
    gone = "All pollers are gone: start one with manage.py run_poller."
    assert (body["state"], body["reasons"]) == ("pollers_gone", [gone])
    code, body = ask(client, "/health/scheduler")
    [poller] = body["pollers"]
    assert (poller["status"], poller["stale_after_s"], poller["running_jobs"]) == ("stale", 30, 0)
    assert poller["heartbeat_age_s"] == pytest.approx(31, abs=2)


def test_a_poller_that_is_connected_and_silent_is_frozen_whether_others_work_or_not(client: Client) -> None:
    make_poller(name="one", age_s=45)
    with plain_connection() as link:
        link.execute("SELECT pg_advisory_lock(hashtextextended('one', 0))")
        _, body = ask(client)
        assert (body["status"], body["state"]) == ("degraded", "pollers_frozen")
        assert "one (45 s)" in body["reasons"][0]
        make_poller(name="other")
        scheduler_health.health.forget()
        _, body = ask(client, "/health/scheduler")
        assert body["state"] == "pollers_frozen"
        assert [poller["status"] for poller in body["pollers"]] == ["ok", "frozen"]
    scheduler_health.health.forget()
    assert ask(client)[1]["state"] == "ok"


@pytest.mark.parametrize(("off_s", "state"), [(3.0, "clock_off"), (-3.0, "clock_off"), (1.0, "ok"), (-1.0, "ok")])
def test_clocks_that_are_more_than_two_seconds_off_are_reported(
    client: Client, monkeypatch: pytest.MonkeyPatch, off_s: float, state: str
) -> None:
    make_poller(name="a", clock_ahead_s=off_s)
    _, body = ask(client)
    assert body["state"] == state
    assert ("poller a" in str(body["reasons"])) == (state != "ok")
    Poller.objects.update(clock_ahead_s=None)
    scheduler_health.health.forget()
    now = time.time
    monkeypatch.setattr("scheduler.state.time.time", lambda: now() + off_s)
    _, body = ask(client)
    assert body["state"] == state
    assert body["clock_ahead_s"] == pytest.approx(off_s, abs=0.5)
    assert ("this web server" in str(body["reasons"])) == (state != "ok")


def test_trying_to_write_leaves_nothing_behind(client: Client) -> None:
    ask(client)
    assert not Poller.objects.exists()


def test_the_scheduler_page_counts_what_each_poller_runs(client: Client) -> None:
    make_poller(name="a")
    make_poller(name="b")
    later = timezone.now() + timedelta(seconds=30)
    for _ in range(3):
        make_job(status="running", locked_by="b", locked_until=later)
    _, body = ask(client, "/health/scheduler")
    assert {poller["name"]: poller["running_jobs"] for poller in body["pollers"]} == {"a": 0, "b": 3}


def test_the_scheduler_page_counts_what_waits_what_is_late_and_what_failed(client: Client) -> None:
    make_poller()
    for late_s in (-3600, -60, 3, 30):
        make_job(late_s=late_s)
    make_job(status="failed", finished_at=timezone.now())
    for hours_ago, status in ((2, "failed"), (0, "completed"), (0, "expired")):
        make_job(status=status, finished_at=timezone.now() - timedelta(hours=hours_ago))
    _, body = ask(client, "/health/scheduler")
    assert (body["pending_jobs"], body["late_jobs"], body["failed_jobs_last_hour"]) == (4, 2, 1)


@pytest.mark.parametrize(
    ("jobs", "name", "status"),
    [
        ([{"late_s": 3.0}] * 11, "queue", "degraded"),
        ([{"late_s": 3.0}] * 10, "queue", "ok"),
        ([{"late_s": 90.0}], "queue", "degraded"),
        ([{"status": "failed", "finished_at": timezone.now()}], "jobs", "ok"),
        ([{"status": "running", "locked_until": timezone.now() - timedelta(seconds=90)}], "jobs", "degraded"),
    ],
)
def test_late_jobs_degrade_and_failed_jobs_are_reported(
    client: Client, jobs: list[dict[str, Any]], name: str, status: str
) -> None:
    make_poller()
    for columns in jobs:
        make_job(**columns)
    _, body = ask(client)
    assert body["status"] == status
    assert (body["checks"][name] == "degraded") == bool(body["reasons"])
    if name == "jobs":
        assert body["checks"]["jobs"] == "degraded"


def test_a_missing_migration_is_down(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = state.known_migrations() | {("metrics", "0099_next")}
    monkeypatch.setattr(state, "known_migrations", lambda: newer)
    code, body = ask(client)
    assert (code, body["status"], body["checks"]["migrations"]) == (503, "down", "down")
    assert "metrics.0099_next" in body["reasons"][0]


@pytest.mark.parametrize("path", ["/health", "/health/scheduler", "/db-check"])
@pytest.mark.usefixtures("away")
def test_without_its_database_it_is_down_with_retry_after(client: Client, path: str) -> None:
    answer = client.get(path, headers=TOKEN)
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert answer["Retry-After"]
    assert client.get("/health/live").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/health/live", 200),
        ("/health", 503),
        ("/db-check", 503),
        ("/deployments", 503),
        ("/dashboard/deployments/", 503),
        ("/nowhere", 503),
    ],
)
@pytest.mark.usefixtures("away")
def test_without_the_database_a_session_cookie_breaks_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, code: int
) -> None:
    monkeypatch.setattr(settings, "SEQPULSE_RATE_LIMITS", True)
    client.cookies[settings.SESSION_COOKIE_NAME] = INVENTED
    client.raise_request_exception = False
    answer = client.get(path, headers={"X-API-Key": "sp_invented"})
    assert (answer.status_code, "Retry-After" in answer) == (code, code == 503)


@pytest.mark.parametrize("path", ["/health", "/health/scheduler", "/db-check"])
def test_anonymous_callers_get_only_the_status(client: Client, path: str) -> None:
    make_poller()
    assert client.get(path).json() == {"status": "ok"}
    assert ask(client, path, Authorization="Bearer wrong")[1] == {"status": "ok"}
    assert ask(client, path, Authorization="watch-me")[1] == {"status": "ok"}
    assert len(ask(client, path)[1]) > 1


def test_staff_see_the_details_and_other_users_do_not(client: Client) -> None:
    make_poller()
    client.force_login(make_user())
    assert client.get("/health").json() == {"status": "ok"}
    client.force_login(make_user(is_staff=True))
    assert client.get("/health").json()["checks"]["database"] == "ok"


@pytest.mark.parametrize("path", ["/health", "/health/scheduler", "/db-check"])
def test_invented_sessions_are_looked_up_so_often_and_not_with_every_call(client: Client, path: str) -> None:
    make_poller()
    with CaptureQueriesContext(connection) as queries:
        for number in range(SESSIONS_PER_PERIOD + 50):
            client.cookies[settings.SESSION_COOKIE_NAME] = f"{INVENTED}{number}"
            assert client.get(path).json() == {"status": "ok"}
    assert sum("django_session" in query["sql"] for query in queries) == SESSIONS_PER_PERIOD
    # From another address staff still see everything, and so does the token from this one.
    assert len(ask(client, path)[1]) > 1
    staff = Client(REMOTE_ADDR="192.0.2.7")
    staff.force_login(make_user(is_staff=True))
    assert len(staff.get(path).json()) > 1


def test_an_empty_token_opens_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SEQPULSE_METRICS_TOKEN", "")
    assert ask(client, Authorization="Bearer ")[1].keys() == {"status"}


def test_a_thousand_calls_are_one_look_at_the_database(client: Client) -> None:
    make_poller()
    client.get("/health")
    with CaptureQueriesContext(connection) as queries:
        for _ in range(1000):
            client.get("/health")
    # They take longer than the second for which an answer is cached.
    looks = sum("django_migrations" in query["sql"] for query in queries)
    # To read, and to try to write.
    assert len(queries) <= 8 * looks + 6 * looks
    assert looks < 50


def test_live_asks_no_database(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert client.get("/health/live").status_code == 200
    client.cookies[settings.SESSION_COOKIE_NAME] = INVENTED
    with django_assert_num_queries(0):
        assert {client.get("/health/live").status_code for _ in range(50)} == {200}


def test_an_answer_is_computed_once_and_again_when_it_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("common.cached.time.monotonic", lambda: clock[0])
    numbers = count(1)
    cached = Cached(lambda: next(numbers), 1.0)
    assert [cached.get(), cached.get()] == [1, 1]
    clock[0] += 1.1
    assert cached.get() == 2


def test_callers_do_not_wait_without_end_for_an_answer_that_does_not_come() -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def work() -> str:
        hangs.set()
        goes_on.wait(30)
        return "late"

    cached = Cached(work, 60, overdue=lambda: "overdue", patience_s=0.2)
    first = in_background(cached.get)
    assert hangs.wait(10)
    # The second one has lost its patience before it asks.
    assert [cached.get(), cached.get()] == ["overdue", "overdue"]
    goes_on.set()
    assert first.result(10) == cached.get() == "late"


def test_patience_is_not_measured_by_work_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("common.cached.time.monotonic", lambda: clock[0])
    cached = Cached(lambda: "fresh", 0, overdue=lambda: "overdue", patience_s=10)
    assert cached.get() == "fresh"
    clock[0] += 11
    # As another thread that is about to begin.
    with cached.lock:
        waiting = in_background(cached.get)
        time.sleep(0.05)  # until it waits for the lock
    assert waiting.result(10) == "fresh"


def test_while_an_answer_is_computed_the_last_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("common.cached.time.monotonic", lambda: clock[0])
    seen: list[int] = []

    def work() -> int:
        # Like another thread, while this one works.
        if cached.kept is not None:
            seen.append(cached.get())
        return len(seen) + 1

    cached: Cached[int] = Cached(work, 1.0)
    assert cached.get() == 1
    clock[0] += 1.1
    assert cached.get() == 2
    assert seen == [1]
