"""The database stops, refuses connections or refuses rows."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import requests
from django.conf import settings

from seqpulse.devserver import embedded
from seqpulse.devserver.embedded_process import alive
from tests.crash.scene import (
    LONG_LEASE_S,
    assert_every_deployment_is_judged,
    count_events,
    one,
    plant,
    server_pid,
    wait_until_settled,
)
from tests.processes import Installation, environment, wait_for

pytestmark = pytest.mark.e2e

# A poller without its database retries after pauses of up to two seconds, its writer after up to five.
LINES_PER_SECOND = 4


@pytest.fixture
def own_server(server_dir: Path, tmp_path: Path) -> Iterator[Installation]:
    """Yield an installation with a PostgreSQL of its own, which can be stopped and restarted.

    It is durable as in production, unlike the one of other tests: there a crash takes back what was committed.
    """
    url = embedded.ensure_running(server_dir)
    env = environment(
        DATABASE_URL=url,
        SECRET_KEY=settings.SECRET_KEY,
        SEQPULSE_ENCRYPTION_KEYS=",".join(settings.SEQPULSE_ENCRYPTION_KEYS),
        SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8",
        SEQPULSE_DATA_DIR=str(tmp_path / "data"),
        SEQPULSE_HTTPS="off",
    )
    made = Installation(url, env, tmp_path)
    try:
        made.manage("migrate", "--verbosity", "0")
        yield made
    finally:
        made.children.stop()
        embedded.stop(server_dir)


def end_server(server_dir: Path, how: signal.Signals) -> None:
    """Stop the server: SIGINT is a fast shutdown, SIGQUIT an immediate one."""
    pid = server_pid(server_dir)
    os.kill(pid, how)
    wait_for(lambda: not alive(pid), "the server to be gone")


# The pause of the pollers counts.
@pytest.mark.exclusive
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_restart_of_postgresql_loses_nothing(own_server: Installation, server_dir: Path, how: signal.Signals) -> None:
    scene = own_server
    endpoint = scene.start_endpoint()
    site = scene.start_web()
    pollers = [scene.start_poller(f"poller-{number}", "--lease", LONG_LEASE_S) for number in range(2)]
    plant(scene, {"name": "shop", "endpoint": f"{endpoint}/slow", "deployments": 120, "within_s": 2})
    wait_for(lambda: one(scene, "SELECT count(*) > 100 FROM scheduled_jobs WHERE status = 'running'"), "jobs in flight")
    end_server(server_dir, how)
    for path in ("/health", "/deployments"):
        answer = requests.get(site + path, headers={"X-API-Key": "sp_nobody"}, timeout=30)
        assert (answer.status_code, answer.headers.get("Retry-After") is not None) == (503, True), path
    time.sleep(2)
    embedded.start(server_dir)
    wait_for(lambda: requests.get(f"{site}/health", timeout=30).status_code == 200, "the web server to recover")
    jobs = assert_every_deployment_is_judged(scene)
    assert jobs == {"completed": 600, "cancelled": 120}
    for number, poller in enumerate(pollers):
        assert poller.poll() is None
        assert 1 <= count_events(scene, f"poller-{number}", "database_away") <= 40


@contextmanager
def all_connections(url: str) -> Iterator[None]:
    """Take all connections of the server from their users."""
    with ExitStack() as stack:
        first = stack.enter_context(psycopg.connect(url, autocommit=True))
        # Repeat for clients that reconnect before we take the connection.
        for _ in range(3):
            first.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name <> 'hog' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            try:
                while True:
                    stack.enter_context(psycopg.connect(url, application_name="hog"))
            except psycopg.OperationalError:
                pass
        yield


def test_without_connections_pollers_wait_with_words_and_then_go_on(own_server: Installation) -> None:
    scene = own_server
    endpoint = scene.start_endpoint()
    poller = scene.start_poller("poller", "--lease", LONG_LEASE_S)
    plant(scene, {"name": "shop", "endpoint": f"{endpoint}/slow", "deployments": 40, "within_s": 6})
    wait_for(lambda: one(scene, "SELECT count(*) > 10 FROM scheduled_jobs WHERE status = 'running'"), "jobs in flight")
    begun = time.monotonic()
    with all_connections(scene.database_url):
        time.sleep(5)
    lines = count_events(scene, "poller", "database_away")
    assert 1 <= lines <= (time.monotonic() - begun) * LINES_PER_SECOND
    jobs = assert_every_deployment_is_judged(scene)
    assert jobs == {"completed": 200, "cancelled": 40}
    assert poller.poll() is None


REFUSING = """
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER disk_full BEFORE INSERT ON metric_samples FOR EACH ROW EXECUTE FUNCTION disk_full()
"""
MENDED = "DROP TRIGGER disk_full ON metric_samples; DROP FUNCTION disk_full()"


def test_samples_survive_a_disk_that_was_full(scene: Installation, endpoint: str) -> None:
    def asked() -> int:
        count: int = requests.get(f"{endpoint}/requests", timeout=5).json()["/good"]
        return count

    poller = scene.start_poller("poller")
    before, begun = asked(), time.monotonic()
    scene.rows(REFUSING)
    plant(scene, {"name": "shop", "endpoint": f"{endpoint}/good", "deployments": 30, "within_s": 1})
    wait_for(lambda: count_events(scene, "poller", "put_off") >= 2, "it to be refused")
    wait_for(lambda: asked() - before >= 150, "all to be measured")
    measured = asked()
    lines = count_events(scene, "poller", "put_off")
    assert lines <= (time.monotonic() - begun) * LINES_PER_SECOND
    assert "No space left on device" in scene.log("poller")
    scene.rows(MENDED)
    jobs = assert_every_deployment_is_judged(scene)
    assert jobs == {"completed": 150, "cancelled": 30}
    # No measured sample was measured a second time.
    assert asked() == measured
    assert poller.poll() is None


def test_rows_that_cannot_be_run_fail_with_words_and_the_others_go_on(scene: Installation, endpoint: str) -> None:
    plant(scene, {"name": "shop", "endpoint": f"{endpoint}/good", "deployments": 5, "within_s": 0.1})
    row = (
        "INSERT INTO scheduled_jobs (job_type, phase, sequence_index, scheduled_at, status, retry_count, last_error,"
        " error_code, job_metadata, locked_by) VALUES ('{}', '', 0, now(), 'pending', 0, '', '', '{}', '')"
    )
    broken = [("nobody_knows_me", "{}"), ("post_collect", "[1]"), ("post_collect", "null"), ("post_collect", "{}")]
    for each in [*broken, ("analysis", '"text"')]:
        scene.rows(row.format(*each))
    scene.start_poller("poller")
    wait_until_settled(scene)
    ended = scene.rows(
        "SELECT job_type, status, error_code, last_error <> '' FROM scheduled_jobs WHERE deployment_id IS NULL"
        " AND unique_key IS NULL ORDER BY id"
    )
    assert ended == [
        ("nobody_knows_me", "failed", "unknown_kind", True),
        ("post_collect", "failed", "broken_row", True),
        ("post_collect", "failed", "broken_row", True),
        ("post_collect", "failed", "no_deployment", True),
        ("analysis", "failed", "broken_row", True),
    ]
    assert one(scene, "SELECT count(*) FROM metric_samples WHERE phase = 'post'") == 25
