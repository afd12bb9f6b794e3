"""While the database cannot write, everything that only reads works, and everything else answers 503."""

import logging
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.db import InternalError, connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.tests.factories import make_user
from common import database_state
from common.database_state import DatabaseState, note_refusal, state_of
from dashboard.tests.pages import shows
from projects.models import ApiKey
from scheduler.health import health
from scheduler.models import ScheduledJob
from scheduler.tests.factories import make_job, make_poller
from scheduler.tests.kinds import plain_connection
from security.limits import Rate
from seqpulse import limits
from seqpulse.devserver import embedded
from seqpulse.observability import exposition
from seqpulse.observability.healthcheck import poller_is_well
from tests.access_table import LINES
from tests.access_world import clients_for, fields_of, make_place, said, url_of
from tests.databases import server_url

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "not-the-usual-1"


@contextmanager
def read_only() -> Iterator[None]:
    """Have the connection of this process refuse writes, like a standby or a provider's switch."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        connection.rollback()
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")


@pytest.fixture(autouse=True)
def limits_on(settings: Any) -> Iterator[None]:
    settings.SEQPULSE_RATE_LIMITS = True
    settings.SEQPULSE_RATES = {name: Rate(10_000, 60) for name in settings.SEQPULSE_RATES}
    settings.SEQPULSE_METRICS_TOKEN = "watch-me"
    cache.clear()
    limits.local_counters.counts.clear()
    logging.disable(logging.CRITICAL)
    forget_states()
    yield
    forget_states()
    logging.disable(logging.NOTSET)


def forget_states() -> None:
    """Forget what this process knows of the state of the database."""
    database_state._full_at = None
    health.forget()


def state_of_health(client: Client) -> tuple[int, str, str, set[str]]:
    """Return code and status, the most important problem, and the checks whose result is unknown."""
    health.forget()
    answer = client.get("/health", headers={"Authorization": "Bearer watch-me"})
    body = answer.json()
    unknown = {name for name, status in body["checks"].items() if status == "unknown"}
    return answer.status_code, body["status"], body["state"], unknown


def test_every_address_is_read_as_usual_and_no_form_pretends_to_have_stored_something() -> None:
    place, foreign = make_place("own"), make_place("foreign")
    clients = clients_for(place, foreign)
    # Every use would be recorded.
    User.objects.update(last_login=None)
    UserSession.objects.update(last_seen_at=timezone.now() - timedelta(days=1))
    ApiKey.objects.update(last_used_at=None)
    wrong = []
    with read_only():
        # What /ds-metrics reports it would have to share first: no numbers are better than old ones.
        for line in (line for line in LINES if line.name != "ds-metrics"):
            url, fields = url_of(line.name, place), fields_of(line.name, place)
            for caller in ("key",) if line.is_api else ("operator", "anonymous"):
                client = clients[caller]
                cookies: Any = client.cookies.copy()
                extra = {"content_type": "application/json"} if line.is_api else {}
                answer: Any = client.get(url) if line.method == "GET" else client.post(url, fields, **extra)
                client.cookies = cookies
                refused = answer.status_code == 503 and "Retry-After" in answer
                expected = said(answer) == line.answers[caller] if line.method == "GET" else refused
                if not expected:
                    wrong.append(f"{line} ({caller}): {said(answer)} instead of {line.answers[caller]}")
    assert wrong == [], "\n".join(wrong)
    assert not ScheduledJob.objects.exclude(job_type="fan_out").exists()


def test_nobody_can_try_passwords_and_signing_in_says_why_it_does_not_work(client: Client) -> None:
    make_user(username="ada", password=PASSWORD)
    client.raise_request_exception = False
    with read_only():
        shows(client.get("/accounts/login/"), "Sign in")
        pages = [
            client.post("/accounts/login/", {"login": "ada", "password": password}) for password in (PASSWORD, "wrong")
        ]
    assert pages[0].content == pages[1].content
    shows(pages[0], "nobody can sign in", status=503)
    assert client.post("/accounts/login/", {"login": "ada", "password": PASSWORD}).status_code == 302


def test_limits_hold_though_they_cannot_be_counted_in_the_database(client: Client, settings: Any) -> None:
    settings.SEQPULSE_RATES["dashboard"] = Rate(3, 60)
    with read_only():
        statuses = [client.get("/accounts/login/").status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert Client(REMOTE_ADDR="192.0.2.9").get("/accounts/login/").status_code == 200


STANDSTILL = {"pollers", "queue", "jobs"}


def test_health_names_what_keeps_it_from_writing_and_blames_no_poller(client: Client) -> None:
    make_poller(age_s=3600)
    make_job(late_s=90)
    with read_only():
        assert state_of_health(client) == (200, "degraded", "database_read_only", STANDSTILL)
        assert client.get("/health/live").status_code == 200
        exposition.database.forget()
        metrics = client.get("/metrics", headers={"Authorization": "Bearer watch-me"}).content
        assert b"seqpulse_database_up 1.0\n" in metrics
        assert b"seqpulse_database_writable 0.0\n" in metrics
    exposition.database.forget()
    assert state_of_health(client)[2] == "pollers_gone"


def test_a_container_runtime_restarts_no_poller_that_only_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would lose what it has measured."""
    make_poller(age_s=3600, host=socket.gethostname())
    url = server_url(connection.settings_dict["NAME"])
    monkeypatch.setenv("DATABASE_URL", url)
    assert not poller_is_well()
    options = urlencode({"options": "-c default_transaction_read_only=on"}, quote_via=quote)
    monkeypatch.setenv("DATABASE_URL", f"{url}{'&' if '?' in url else '?'}{options}")
    assert poller_is_well()


def test_health_names_a_full_disk_when_a_write_was_refused(client: Client) -> None:
    """tests/crash/test_outages.py has a disk that is full; here a request of this process finds it so."""
    make_poller()
    note_refusal(DatabaseState.FULL)
    assert state_of_health(client) == (200, "degraded", "database_full", STANDSTILL)
    database_state._full_at = None
    assert state_of_health(client)[2] == "ok"


def test_health_names_a_database_that_takes_too_long_to_write(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    make_poller()
    monkeypatch.setattr("scheduler.state.HEALTH_TIMEOUT_MS", 300)
    with plain_connection() as link, link.transaction():
        link.execute("LOCK TABLE pollers IN SHARE MODE")
        assert state_of_health(client) == (200, "degraded", "database_busy", STANDSTILL)


def test_a_file_that_may_not_grow_is_a_full_disk() -> None:
    """A limit of the size of files stands for a quota: both have no code of their own."""
    directory = Path(tempfile.mkdtemp(prefix="limited-"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A segment of the write-ahead log has 16 MB.
    resource.setrlimit(resource.RLIMIT_FSIZE, (17 * 1024 * 1024, limits[1]))
    try:
        embedded.start(directory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    try:
        with psycopg.connect(embedded.url(directory), autocommit=True) as link:
            link.execute("CREATE TABLE grows (text text)")
            with pytest.raises(psycopg.Error) as caught:
                link.execute("INSERT INTO grows SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
            assert (caught.value.sqlstate, state_of(caught.value)) == ("XX000", DatabaseState.FULL)
            error = InternalError("refused")
            error.__cause__ = caught.value
            assert state_of(error) is DatabaseState.FULL
            link.execute("INSERT INTO grows VALUES ('x')")
    finally:
        embedded.stop(directory)
        shutil.rmtree(directory)
