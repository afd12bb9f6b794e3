"""Real processes for tests: a SeqPulse with its own database, web servers, pollers, endpoints; all of them ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import requests
from django.conf import settings

from seqpulse.devserver.processes import Children
from tests.databases import own_database

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 180.0
CALL_TIMEOUT_S = 70.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections: it is taken, so that nobody else comes to listen there meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def wait_for(look: Callable[[], T | None], what: str, timeout_s: float = READY_TIMEOUT_S) -> T:
    """What `look` returns as soon as that is true in Python's sense; fails naming `what` when the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(0.05)


# With the short interval of tests, a sample is of use for three seconds (deployments/plan.py): a busy machine may stand
# still for longer. The analysis does not wait longer by it: the last sample wakes it.
UNHURRIED = """
CREATE FUNCTION unhurried() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.expires_at := NEW.expires_at + interval '1 minute';
    IF NEW.job_type = 'analysis' THEN NEW.scheduled_at := NEW.scheduled_at + interval '1 minute'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER unhurried BEFORE INSERT ON scheduled_jobs FOR EACH ROW EXECUTE FUNCTION unhurried()
"""
HURRIED = "DROP TRIGGER unhurried ON scheduled_jobs; DROP FUNCTION unhurried()"

# By this variable coverage follows us into the processes that we start.
COVERAGE = "COVERAGE_PROCESS_CONFIG"


def environment(**values: str) -> dict[str, str]:
    """Our environment without what would configure SeqPulse, and with `values`."""
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
    """A SeqPulse: its database, its variables, its processes. Logs of the processes lie in log_dir."""

    database_url: str
    env: dict[str, str]
    log_dir: Path
    children: Children = field(default_factory=Children)
    site: str = ""

    def manage(self, *arguments: str, **env: str) -> str:
        """Runs a management command; returns what it wrote to standard output."""
        result = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def project(self, name: str, *options: str) -> dict[str, Any]:
        """A new project, as `create_project --json` prints it."""
        made: dict[str, Any] = json.loads(self.manage("create_project", name, "--json", *options))
        return made

    def projects(self, wanted: Sequence[dict[str, Any]]) -> list[str]:
        """The API keys of new projects, made in one process; wanted: what projects.services.create_project takes."""
        script = (
            "import json, os; from projects.services import create_project;"
            "made = [create_project(environment='prod', **each) for each in json.loads(os.environ['WANTED'])];"
            "print(json.dumps([each.api_key for each in made]))"
        )
        keys: list[str] = json.loads(self.manage("shell", "--no-imports", "-c", script, WANTED=json.dumps(wanted)))
        return keys

    def start(self, name: str, *command: str, **env: str) -> subprocess.Popen[bytes]:
        return self.children.start(name, command, env={**self.env, **env}, cwd=ROOT, log_dir=self.log_dir)

    def start_web(self) -> str:
        """Starts gunicorn; returns the site's address once it answers."""
        port = free_port()
        self.site = f"http://127.0.0.1:{port}"
        gunicorn = (sys.executable, "-m", "gunicorn", "-c", "python:seqpulse.gunicorn_config", "seqpulse.wsgi")
        web = self.start("web", *gunicorn, PORT=str(port))
        self.wait_until_answers(web, f"{self.site}/health")
        return self.site

    def workers(self) -> list[int]:
        """Process ids of the web server's workers."""
        web = self.children.running["web"].pid
        children = Path(f"/proc/{web}/task/{web}/children").read_text().split()
        return [int(pid) for pid in children]

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def start_poller(self, name: str = "poller", *options: str) -> subprocess.Popen[bytes]:
        """Starts a poller; returns once it has announced itself."""
        poller = self.start(name, sys.executable, "manage.py", "run_poller", *options)
        wait_for(
            lambda: self.rows("SELECT 1 FROM pollers WHERE pid = %s", poller.pid) or poller.poll() is not None,
            f"{name} to be ready",
        )
        assert poller.poll() is None, self.log(name)
        return poller

    def start_endpoint(self, secret: str = "") -> str:
        """Starts the metrics endpoint of tests/endpoint.py; returns its address. secret: of its signed path."""
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
        """What the database holds, asked on a connection of its own."""
        with psycopg.connect(self.database_url, autocommit=True) as link:
            return link.execute(query.encode(), values).fetchall()

    def call(self, method: str, path: str, api_key: str, body: dict[str, Any] | None = None) -> requests.Response:
        """A call of the API as CI makes it."""
        return requests.request(
            method, self.site + path, json=body, headers={"X-API-Key": api_key}, timeout=CALL_TIMEOUT_S
        )

    def deploy(self, api_key: str, **facts: str) -> str:
        """trigger, the first sample (or its failure), finish; returns the deployment's id."""
        triggered = self.call("POST", "/deployments/trigger", api_key, {"env": "prod", **facts})
        assert triggered.status_code == 200, triggered.text
        deployment: str = triggered.json()["deployment_id"]
        finished = self.call("POST", "/deployments/finish", api_key, {"deployment_id": deployment, "result": "success"})
        assert finished.json()["status"] == "accepted", finished.text
        return deployment

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        """Samples of what is deployed meanwhile are of use for a minute more: for tests that want all of them."""
        with psycopg.connect(self.database_url, autocommit=True) as link:
            link.execute(UNHURRIED)
            try:
                yield
            finally:
                link.execute(HURRIED)

    def verdict_of(self, deployment: str, api_key: str, wait_s: float = 60) -> dict[str, Any]:
        """The answer of the gate; fails where no verdict stands in time."""
        answer = self.call("GET", f"/deployments/{deployment}/verdict?wait={wait_s:g}", api_key)
        assert answer.status_code == 200, answer.text
        verdict: dict[str, Any] = answer.json()
        return verdict


def variables_for(database_url: str, log_dir: Path) -> dict[str, str]:
    """The environment of an installation's processes. Samples come every 0.4 s."""
    return environment(
        DATABASE_URL=database_url,
        SECRET_KEY=settings.SECRET_KEY,
        SEQPULSE_ENCRYPTION_KEYS=",".join(settings.SEQPULSE_ENCRYPTION_KEYS),
        SEQPULSE_SAMPLE_INTERVAL_SECONDS="0.4",
        SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8",
        SEQPULSE_RATE_LIMITS="off",
        SEQPULSE_DATA_DIR=str(log_dir / "data"),
    )


@contextmanager
def live_installation(log_dir: Path, **variables: str) -> Iterator[Installation]:
    """A migrated database and its variables; whatever is started in it is ended."""
    with own_database(migrated=True) as url:
        made = Installation(url, {**variables_for(url, log_dir), **variables}, log_dir)
        try:
            yield made
        finally:
            made.children.stop()


def processes_with(variable: str) -> list[int]:
    """Ids of the living processes whose environment has this NAME=VALUE: a process, and all that came of it."""
    wanted, found = variable.encode(), []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                found.append(int(directory.name))
        except OSError:
            continue  # gone meanwhile, a zombie, or somebody else's
    return found
