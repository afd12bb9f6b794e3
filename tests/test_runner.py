"""`make run`: web server and poller in the foreground, started and stopped together."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from seqpulse.devserver import embedded
from seqpulse.devserver.runner import NO_ACCOUNT
from tests.databases import own_database
from tests.processes import (
    Program,
    children_of,
    closed_port,
    free_port,
    wait_for,
)

pytestmark = pytest.mark.e2e


class Run(Program):
    """A runner in its own process."""

    def __init__(self, directory: Path, database_url: str, **env: str) -> None:
        self.port, self.directory, self.database_url = free_port(), directory, database_url
        self.site = f"http://127.0.0.1:{self.port}"
        # Collecting static files takes seconds and has its own test.
        given = {"PORT": str(self.port), "WEB_CONCURRENCY": "1", "DATABASE_URL": database_url, "DEBUG": "on"}
        super().__init__(directory, "seqpulse.devserver", **{**given, **env})

    def wait_until_ready(self) -> dict[str, object]:
        def ready() -> dict[str, object] | None:
            assert self.process.poll() is None, self.err.read_text()
            try:
                health: dict[str, object] = requests.get(f"{self.site}/health", timeout=5).json()
            except requests.RequestException:
                return None
            # Health also counts pollers of earlier tests with a fresh heartbeat.
            return health if health["status"] == "ok" and set(self.pollers()) & set(self.left_over()) else None

        return wait_for(ready, "web server and poller")

    def pollers(self) -> list[int]:
        with psycopg.connect(self.database_url or embedded.url(self.directory), autocommit=True) as link:
            return [row[0] for row in link.execute("SELECT pid FROM pollers").fetchall()]


@pytest.fixture
def start(server_dir: Path) -> Iterator[Callable[..., Run]]:
    """Yield a function that starts runners; kill their remaining processes at the end."""
    made: list[Run] = []

    def start_one(database_url: str = "", **env: str) -> Run:
        made.append(Run(server_dir, database_url, **env))
        return made[-1]

    yield start_one
    for run in made:
        run.kill()
    embedded.stop(server_dir)


@pytest.fixture
def database_url() -> Iterator[str]:
    with own_database(migrated=True) as url:
        yield url


def test_it_serves_restarts_its_poller_and_ends_both(start: Callable[..., Run], database_url: str) -> None:
    run = start(database_url)
    run.wait_until_ready()
    [first] = run.pollers()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: set(run.pollers()) - {first}, "the next poller")
    assert requests.get(f"{run.site}/health", timeout=5).json()["status"] == "ok"

    assert run.end() == 0
    assert run.left_over() == []
    assert "The poller has ended by itself" in run.err.read_text()
    lines = [json.loads(line) for line in run.out.read_text().splitlines()]
    assert {"gunicorn.error", "scheduler.poller"} <= {line["logger"] for line in lines}
    # It unregistered: health does not count it until its heartbeat is stale.
    assert run.pollers() == [first]


def test_without_its_web_server_it_ends_with_an_error(start: Callable[..., Run], database_url: str) -> None:
    run = start(database_url)
    run.wait_until_ready()
    [master] = [pid for pid in children_of(run.process.pid) if is_gunicorn(pid)]
    os.kill(master, signal.SIGKILL)
    assert run.process.wait(30) != 0
    assert run.left_over() == []


def is_gunicorn(pid: int) -> bool:
    return b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel to tell children that their parent died")
def test_its_children_do_not_outlive_a_killed_runner(start: Callable[..., Run], database_url: str) -> None:
    run = start(database_url)
    run.wait_until_ready()
    run.process.kill()
    run.process.wait()
    wait_for(lambda: not run.left_over(), "the children to end", 30)


def test_it_stops_the_embedded_server_that_it_started(start: Callable[..., Run], server_dir: Path) -> None:
    run = start()
    wait_for(lambda: "Ready" in run.err.read_text(), "the line that says so")
    steps = [line.partition(":")[0] for line in run.err.read_text().splitlines()]
    # Of a first run, without static files.
    assert steps == ["Database", "Migrations", "Web server and poller", NO_ACCOUNT.partition(":")[0], "Ready"]
    run.wait_until_ready()
    assert embedded.is_running(server_dir)
    assert run.end() == 0
    assert not embedded.is_running(server_dir)

    embedded.start(server_dir)
    # As by Ctrl-C, and a server that was there before keeps running.
    second = start()
    second.wait_until_ready()
    assert second.end(signal.SIGINT) == 0
    assert "poller_stopped" in second.out.read_text()
    assert embedded.is_running(server_dir)


def test_a_run_that_starts_while_another_ends_finds_a_database(start: Callable[..., Run]) -> None:
    first = start()
    first.wait_until_ready()
    first.process.send_signal(signal.SIGTERM)
    second = start()
    second.wait_until_ready()
    assert first.process.wait(30) == 0
    assert second.end() == 0
    assert not second.left_over()


def test_a_taken_port_is_reported_with_a_remedy(start: Callable[..., Run], database_url: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = start(database_url, PORT=str(port))
        assert run.process.wait(30) == 1
    assert f"Port {port} of 127.0.0.1 cannot be used" in run.err.read_text()
    assert f"PORT={port + 1} make run" in run.err.read_text()
    assert run.left_over() == []


def test_wrong_variables_are_reported_before_anything_starts(start: Callable[..., Run], database_url: str) -> None:
    run = start(database_url, PORT="some", WEB_CONCURRENCY="-1", SEQPULSE_SAMPLE_INTERVAL_SECONDS="0")
    assert run.process.wait(30) == 1
    for variable in ("PORT", "WEB_CONCURRENCY", "SEQPULSE_SAMPLE_INTERVAL_SECONDS"):
        assert f"(seqpulse.E_{variable})" in run.err.read_text()
    assert run.left_over() == []
    assert "Traceback" not in run.err.read_text()


def test_an_unreachable_database_is_reported_without_a_traceback(start: Callable[..., Run]) -> None:
    with closed_port() as port:
        run = start(f"postgres://seqpulse@127.0.0.1:{port}/seqpulse")
        assert run.process.wait(30) == 1
    assert "The database does not answer" in run.err.read_text()
    assert "Traceback" not in run.err.read_text()
