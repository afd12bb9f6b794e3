"""Run an installation for tests as real processes: database, web servers, pollers, endpoints."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import requests
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings
from lxml.html import fromstring

from projects.services import create_project
from seqpulse.devserver.processes import Children
from tests.databases import connected_to, own_database
from tests.system_tools import ROOT, output_of

T = TypeVar("T")
READY_TIMEOUT_S = 180.0
CALL_TIMEOUT_S = 70.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port that refuses connections. It is bound, so that no other process can listen on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def wait_for(look: Callable[[], T | None], what: str, timeout_s: float = READY_TIMEOUT_S) -> T:
    """Return the first true value of `look()`; fail with `what` after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.05)


# With the short interval of tests, a sample expires after three seconds (deployments/plan.py): a busy machine may pause
# for longer. This does not delay the analysis, which becomes due with the last sample.
LATE_EXPIRY = """
CREATE FUNCTION late_expiry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.expires_at := NEW.expires_at + interval '1 minute';
    IF NEW.job_type = 'analysis' THEN NEW.scheduled_at := NEW.scheduled_at + interval '1 minute'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER late_expiry BEFORE INSERT ON scheduled_jobs FOR EACH ROW EXECUTE FUNCTION late_expiry()
"""
NORMAL_EXPIRY = "DROP TRIGGER late_expiry ON scheduled_jobs; DROP FUNCTION late_expiry()"

# What production does not start without.
KEYS = {"SECRET_KEY": "x" * 60 + "aB3$", "SEQPULSE_ENCRYPTION_KEYS": Fernet.generate_key().decode()}

# The variable by which coverage measures the processes that tests start.
COVERAGE = "COVERAGE_PROCESS_CONFIG"


def environment(**values: str) -> dict[str, str]:
    """Return the environment without variables that configure SeqPulse, and with `values`."""
    ours = {
        "DEBUG",
        "ALLOWED_HOSTS",
        "SECRET_KEY",
        "DATABASE_URL",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "PORT",
        "WEB_CONCURRENCY",
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith(("SEQPULSE_", "DJANGO_"))
    }
    return {**inherited, **values}


@dataclass
class Installation:
    """An installation: its database, variables and processes, whose logs are in log_dir."""

    database_url: str
    env: dict[str, str]
    log_dir: Path
    children: Children = field(default_factory=Children)
    site: str = ""

    def manage(self, *arguments: str, **env: str) -> str:
        """Run a management command; return its standard output."""
        return output_of(sys.executable, "manage.py", *arguments, env={**self.env, **env})

    @contextmanager
    def here(self, **changes: Any) -> Iterator[None]:
        """Work on the installation's database in this process, with its keys: starting another takes seconds."""
        given = {
            "SECRET_KEY": self.env["SECRET_KEY"],
            "SEQPULSE_ENCRYPTION_KEYS": self.env["SEQPULSE_ENCRYPTION_KEYS"].split(","),
            "SEQPULSE_OUTBOUND_ALLOW": self.env["SEQPULSE_OUTBOUND_ALLOW"],
        }
        with connected_to(self.database_url), override_settings(**given, **changes):
            yield

    def project(self, name: str, *options: str) -> dict[str, Any]:
        """Create a project; return what `create_project --json` prints."""
        printed = StringIO()
        with self.here():
            call_command("create_project", name, "--json", *options, stdout=printed)
        made: dict[str, Any] = json.loads(printed.getvalue())
        return made

    def projects(self, wanted: Sequence[dict[str, Any]]) -> list[str]:
        """Create projects; return their API keys. wanted: what projects.services.create_project takes."""
        with self.here():
            return [create_project(environment="prod", **each).api_key for each in wanted]

    def start(self, name: str, *command: str, **env: str) -> subprocess.Popen[bytes]:
        return self.children.start(name, command, env={**self.env, **env}, cwd=ROOT, log_dir=self.log_dir)

    def start_web(self) -> str:
        """Start gunicorn; return the base URL once it answers."""
        port = free_port()
        self.site = f"http://127.0.0.1:{port}"
        gunicorn = (sys.executable, "-m", "gunicorn", "-c", "python:seqpulse.gunicorn_config", "seqpulse.wsgi")
        web = self.start("web", *gunicorn, PORT=str(port))
        self.wait_until_answers(web, f"{self.site}/health")
        return self.site

    def workers(self) -> list[int]:
        """Return the process ids of the web server's workers."""
        return children_of(self.children.running["web"].pid)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def start_poller(self, name: str = "poller", *options: str) -> subprocess.Popen[bytes]:
        """Start a poller; return once it has registered itself."""
        poller = self.start(name, sys.executable, "manage.py", "run_poller", *options)
        wait_for(
            lambda: self.rows("SELECT 1 FROM pollers WHERE pid = %s", poller.pid) or poller.poll() is not None,
            f"{name} to be ready",
        )
        assert poller.poll() is None, self.log(name)
        return poller

    def start_endpoint(self, secret: str = "") -> str:
        """Start the metrics endpoint of tests/endpoint.py; return its base URL. secret: for its signed path."""
        port = free_port()
        endpoint = self.start(
            f"endpoint-{port}", sys.executable, "-m", "tests.endpoint", str(port), ENDPOINT_SECRET=secret
        )
        self.wait_until_answers(endpoint, f"http://127.0.0.1:{port}/good")
        return f"http://127.0.0.1:{port}"

    def wait_until_answers(self, process: subprocess.Popen[bytes], url: str) -> None:
        def answers() -> bool:
            assert process.poll() is None, "\n".join(self.log(path.stem) for path in self.log_dir.glob("*.log"))
            try:
                return requests.get(url, timeout=5).ok
            except requests.RequestException:
                return False

        wait_for(answers, url)

    def log(self, name: str) -> str:
        path = self.log_dir / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, if it has any, run on a separate connection."""
        with psycopg.connect(self.database_url, autocommit=True) as link:
            cursor = link.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def call(self, method: str, path: str, api_key: str, body: dict[str, Any] | None = None) -> requests.Response:
        """Call the API like CI."""
        return requests.request(
            method, self.site + path, json=body, headers={"X-API-Key": api_key}, timeout=CALL_TIMEOUT_S
        )

    def deploy(self, api_key: str, **facts: str) -> str:
        """Call trigger and finish; return the id of the deployment."""
        triggered = self.call("POST", "/deployments/trigger", api_key, {"env": "prod", **facts})
        assert triggered.status_code == 200, triggered.text
        deployment: str = triggered.json()["deployment_id"]
        finished = self.call("POST", "/deployments/finish", api_key, {"deployment_id": deployment, "result": "success"})
        assert finished.json()["status"] == "accepted", finished.text
        return deployment

    @contextmanager
    def late_expiry(self) -> Iterator[None]:
        """Let samples of deployments made meanwhile expire a minute later, for tests that need all of them."""
        self.rows(LATE_EXPIRY)
        try:
            yield
        finally:
            self.rows(NORMAL_EXPIRY)

    def sign_in(self, session: requests.Session, login: str, password: str) -> requests.Response:
        """Send the sign-in form like a browser."""
        address = f"{self.site}/accounts/login/"
        page = fromstring(session.get(address, timeout=30).text)
        token = page.xpath("string(//input[@name='csrfmiddlewaretoken']/@value)")
        given = {"login": login, "password": password, "csrfmiddlewaretoken": token}
        return session.post(address, given, timeout=30)

    def verdict_of(self, deployment: str, api_key: str, wait_s: float = 60) -> dict[str, Any]:
        """Return the answer of the gate; fail without a verdict in time."""
        answer = self.call("GET", f"/deployments/{deployment}/verdict?wait={wait_s:g}", api_key)
        assert answer.status_code == 200, answer.text
        verdict: dict[str, Any] = answer.json()
        return verdict


def variables_for(database_url: str, log_dir: Path) -> dict[str, str]:
    """Return the environment of an installation's processes. The sample interval is 0.4 s."""
    return environment(
        DATABASE_URL=database_url,
        SECRET_KEY=settings.SECRET_KEY,
        SEQPULSE_ENCRYPTION_KEYS=",".join(settings.SEQPULSE_ENCRYPTION_KEYS),
        SEQPULSE_SAMPLE_INTERVAL_SECONDS="0.4",
        SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8",
        SEQPULSE_SHOW_INTERNAL_ANSWERS="on",
        SEQPULSE_RATE_LIMITS="off",
        SEQPULSE_DATA_DIR=str(log_dir / "data"),
    )


@contextmanager
def live_installation(log_dir: Path, **variables: str) -> Iterator[Installation]:
    """Yield an installation with a migrated database; stop its processes afterwards."""
    with own_database(migrated=True) as url:
        made = Installation(url, {**variables_for(url, log_dir), **variables}, log_dir)
        try:
            yield made
        finally:
            made.children.stop()


class Program:
    """A module of ours that runs as a process and starts others: its output, and all of its processes."""

    def __init__(self, directory: Path, module: str, *arguments: str, **env: str) -> None:
        name = secrets.token_hex(4)
        self.mark = f"TEST_PROGRAM={name}"
        self.out, self.err = directory / f"out-{name}", directory / f"err-{name}"
        given = {"SEQPULSE_DATA_DIR": str(directory), "SEQPULSE_EMBEDDED_FAST": "1", "TEST_PROGRAM": name}
        variables = environment(**{**given, **env})
        # The demo judges real load, which coverage would change.
        variables.pop(COVERAGE, None)
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], cwd=ROOT, env=variables, stdout=out, stderr=err
            )

    def text(self) -> str:
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def kill(self) -> None:
        """Kill it and everything that it started."""
        self.process.kill()
        self.process.wait()
        for pid in self.left_over():
            os.kill(pid, signal.SIGKILL)

    def left_over(self) -> list[int]:
        """Return its live processes."""
        return processes_with(self.mark)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def processes_with(variable: str) -> list[int]:
    """Return the ids of live processes whose environment has this NAME=VALUE: a process and its descendants."""
    wanted, found = variable.encode(), []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                found.append(int(directory.name))
        except OSError:
            continue  # ended meanwhile, a zombie, or of another user
    return found
