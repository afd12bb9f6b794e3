"""The database stops, refuses connections, cannot be written, or goes back in time; one server suffers it all."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import requests
from django.db import DatabaseError

from accounts.tests.factories import PASSWORD, make_user
from common.database_state import cannot_write
from dashboard.tests.pages import parsed
from projects.services import create_project
from scheduler.health import look
from security.counting import PostgresCounters
from seqpulse.devserver import embedded
from tests.crash.own_server import TOKEN, OwnServer, own_server
from tests.crash.scene import LONG_LEASE_S, assert_every_deployment_is_judged, events, one, plant, took
from tests.databases import connected_to
from tests.processes import wait_for

pytestmark = pytest.mark.e2e

# A poller without its database retries after pauses of up to a second, its writer after up to five.
LINES_PER_SECOND = 4
POLLERS = ("poller-0", "poller-1")
BUSY = "SELECT count(*) > 8 FROM scheduled_jobs WHERE status = 'running'"
REFUSED = ("database_away", "put_off", "run_waits_for_database")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """Yield a server with a web server and two pollers at work, whose leases do not end."""
    with own_server(tmp_path_factory.mktemp("outages")) as made:
        made.scene.start_web()
        for name in POLLERS:
            made.scene.start_poller(name, "--lease", LONG_LEASE_S)
        yield made


@pytest.fixture(scope="module")
def endpoint(server: OwnServer) -> str:
    return server.scene.start_endpoint()


def stopped(how: signal.Signals) -> Callable[[OwnServer], AbstractContextManager[None]]:
    @contextmanager
    def during(server: OwnServer) -> Iterator[None]:
        server.end(how)
        yield
        server.start()

    return during


@contextmanager
def without_connections(server: OwnServer) -> Iterator[None]:
    """Take all connections of the server from their users."""
    with ExitStack() as stack:
        first = stack.enter_context(psycopg.connect(server.url, autocommit=True))
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name <> 'hog' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        # Repeat for clients that reconnect before we take the connection.
        ended = True
        while ended:
            ended = bool(first.execute(others).fetchall())
            try:
                while True:
                    stack.enter_context(psycopg.connect(server.url, application_name="hog"))
            except psycopg.OperationalError:
                pass
        yield


@contextmanager
def read_only(server: OwnServer) -> Iterator[None]:
    server.set(default_transaction_read_only="on")
    yield
    server.set(default_transaction_read_only="off")


@contextmanager
def full_disk(server: OwnServer) -> Iterator[None]:
    ballast = server.fill()
    try:
        yield
    finally:
        ballast.unlink()


@dataclass(frozen=True)
class Outage:
    """An outage. state: what /health names; reads: those who are signed in go on reading; keeps_claims: it undoes none
    (they do not wait for the disk), so that nothing is measured a second time.
    """

    name: str
    during: Callable[[OwnServer], AbstractContextManager[None]]
    state: str = "database_away"
    reads: bool = False
    keeps_claims: bool = True


OUTAGES = (
    Outage("fast shutdown", stopped(signal.SIGINT)),
    Outage("immediate shutdown", stopped(signal.SIGQUIT), keeps_claims=False),
    Outage("no connections", without_connections),
    Outage("read-only", read_only, "database_read_only", reads=True),
    Outage("full disk", full_disk, "database_full", reads=True),
)


def health(site: str) -> dict[str, Any]:
    answer = requests.get(f"{site}/health", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    return {"code": answer.status_code, **answer.json()}


def check_answers(server: OwnServer, outage: Outage, key: str, deployment: str, signed_in: requests.Session) -> None:
    """Check who is answered what during the outage."""
    scene, site = server.scene, server.scene.site
    wait_for(lambda: health(site)["state"] == outage.state, f"/health to say {outage.state}", 30)
    found = health(site)
    assert (found["code"], found["status"]) == ((200, "degraded") if outage.reads else (503, "down"))
    assert requests.get(f"{site}/health/live", timeout=30).status_code == 200

    def trigger() -> requests.Response:
        # Longer than what fits into pages that exist already.
        return scene.call("POST", "/deployments/trigger", key, {"env": "prod", "commit_message": PASSWORD * 20_000})

    refused = trigger()
    # The first may find room left; the disk is full all the same.
    refused = refused if refused.status_code == 503 else wait_for(lambda: refused_now(trigger()), "a refusal")
    assert refused.json()["error"]["code"] == "database_unavailable"
    assert refused.headers["Retry-After"]

    reading = 200 if outage.reads else 503
    assert signed_in.get(f"{site}/dashboard/deployments/", timeout=30).status_code == reading
    assert scene.call("GET", f"/deployments/{deployment}/verdict", key).status_code == reading
    stranger = requests.Session()
    assert stranger.get(f"{site}/accounts/login/", timeout=30).status_code == reading
    if outage.reads:
        page = scene.sign_in(stranger, "ada", PASSWORD)
        assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
        assert "nobody can sign in" in parsed(page.text).text_content()


def refused_now(answer: requests.Response) -> requests.Response | None:
    return answer if answer.status_code == 503 else None


def test_every_outage_is_waited_out_and_nothing_is_lost_or_measured_twice(server: OwnServer, endpoint: str) -> None:
    scene = server.scene
    with scene.here():
        key = create_project("ours", environment="prod", owner=make_user(username="ada", is_superuser=True)).api_key
    plant(scene, {"name": "first", "endpoint": f"{endpoint}/slow", "deployments": 1, "within_s": 0.1})
    assert_every_deployment_is_judged(scene)
    [(deployment,)] = scene.rows(
        "UPDATE deployments SET project_id = (SELECT id FROM projects_project WHERE name = 'ours') RETURNING uuid::text"
    )
    signed_in = requests.Session()
    assert scene.sign_in(signed_in, "ada", PASSWORD).url.endswith("/dashboard/")

    def measured() -> int:
        count: int = requests.get(f"{endpoint}/requests", timeout=5).json()["/slow"]
        return count

    for outage in OUTAGES:
        if outage.during is full_disk and not server.on_small_disk:
            print("full disk: left out, because mounting a small one takes root")
            continue
        before, measured_before = refusals(server), measured()
        plant(scene, {"name": outage.name, "endpoint": f"{endpoint}/slow", "deployments": 30, "within_s": 1})
        wait_for(lambda: one(scene, BUSY), "jobs in flight")
        begun = time.monotonic()
        with took(outage.name), outage.during(server):
            check_answers(server, outage, key, deployment, signed_in)
            wait_for(lambda: refusals(server)[1] > before[1], "samples to wait in a poller")  # noqa: B023  (called at once)
        lasted_s = time.monotonic() - begun
        wait_for(lambda: health(scene.site)["state"] == "ok", "/health to be well", 30)
        scene.rows("DELETE FROM scheduled_jobs USING deployments d WHERE deployment_id = d.id AND state = 'running'")
        scene.rows("DELETE FROM deployment_keys USING deployments d WHERE deployment_id = d.id AND state = 'running'")
        scene.rows("DELETE FROM deployments WHERE state = 'running'")
        jobs = assert_every_deployment_is_judged(scene)
        assert refusals(server)[0] - before[0] <= (lasted_s + 5) * LINES_PER_SECOND * len(POLLERS)
        assert set(jobs) == {"completed", "cancelled"}
        again = measured() - measured_before - 150
        assert again == 0 or (again > 0 and not outage.keeps_claims), outage.name
    for name in POLLERS:
        assert scene.children.running[name].poll() is None


def refusals(server: OwnServer) -> tuple[int, int]:
    """Return how many lines of the pollers say that the database refused something, and a sample or failure."""
    lines = [line for name in POLLERS for line in events(server.scene, name) if line.get("event") in REFUSED]
    return len(lines), sum("unwritten" in line or line["event"] == "put_off" for line in lines)


def check_standby(server: OwnServer) -> None:
    """Check that a standby is known as what it is, also by its refusal of unlogged tables."""
    with connected_to(embedded.url(server.directories[-1])):
        assert look().state == "database_read_only"
        with pytest.raises(DatabaseError) as refused:
            PostgresCounters("rate_counters", {}).incr("a")
        assert cannot_write(refused.value)


def crash_with_asynchronous_commit(server: OwnServer) -> None:
    """Lose what was committed and not yet written."""
    server.end(signal.SIGKILL)
    server.start()


def promote_the_standby(server: OwnServer) -> None:
    """Lose what the standby has not received."""
    server.end(signal.SIGKILL)
    server.lead_to(server.directories[-1])
    assert server.execute("SELECT pg_promote()")


def undone(server: OwnServer, key: str, go_back: Callable[[OwnServer], None]) -> str | None:
    """Have a database in full work go back; return a deployment that was lost, None: it was not."""
    # A synchronous commit writes all that was committed before; the jobs that run now are undone when they end.
    server.execute("SET synchronous_commit = on", "SELECT pg_logical_emit_message(true, 'test', 'flush')")
    done = "SELECT count(*) FROM scheduled_jobs WHERE status = 'completed'"
    before = one(server.scene, done)
    wait_for(lambda: one(server.scene, done) >= before + 30, "jobs to end that are then undone")
    made: str = server.scene.call("POST", "/deployments/trigger", key, {"env": "prod"}).json()["deployment_id"]
    with took(go_back.__name__):
        go_back(server)
    return None if server.scene.rows("SELECT 1 FROM deployments WHERE uuid = %s", made) else made


def test_a_database_that_goes_back_in_time_leaves_no_job_stuck_and_nothing_doubled(
    server: OwnServer, endpoint: str
) -> None:
    scene = server.scene
    with scene.here():
        key = create_project("theirs", environment="prod").api_key
    server.set(synchronous_commit="off", wal_writer_delay="10s", wal_writer_flush_after="1GB")
    for go_back in (crash_with_asynchronous_commit, promote_the_standby):
        # Work has to last until a standby is made.
        within_s = 10 if go_back is promote_the_standby else 5
        shop = {"name": go_back.__name__, "endpoint": f"{endpoint}/slow", "deployments": 40, "within_s": within_s}
        plant(scene, shop)
        wait_for(lambda: one(scene, BUSY), "jobs in flight")
        if go_back is promote_the_standby:
            server.make_lagging_standby()
            check_standby(server)
        lost = wait_for(lambda: undone(server, key, go_back), "it to go back")  # noqa: B023  (called at once)
        up = one(scene, "SELECT now()")
        stuck = "SELECT count(*) = 0 FROM scheduled_jobs WHERE status = 'running' AND started_at < %s"
        wait_for(lambda: one(scene, stuck, up), "what was undone to be handed back", 3)  # noqa: B023  (called at once)
        wait_for(lambda: health(scene.site)["status"] == "ok", "/health to be well", 30)
        finished = scene.call("POST", "/deployments/finish", key, {"deployment_id": lost, "result": "success"})
        assert finished.json()["status"] == "not_found"
        # Those that survived a crash were triggered, but not finished.
        scene.rows("DELETE FROM scheduled_jobs USING deployments d WHERE deployment_id = d.id AND state = 'running'")
        scene.rows("DELETE FROM deployments WHERE state IN ('running', 'superseded')")
        jobs = assert_every_deployment_is_judged(scene)
        assert set(jobs) == {"completed", "cancelled"}
    assert any(line.get("event") == "unknown_claim_released" for name in POLLERS for line in events(scene, name))
