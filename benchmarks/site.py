"""Run SeqPulse for a benchmark, on a temporary PostgreSQL or on that of DATABASE_URL."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import django
import psutil
import psycopg
from django.core.management import call_command
from django.db import connections

from seqpulse.devserver import embedded
from seqpulse.devserver.processes import Children, stop_on_signals

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 120.0


class Site:
    """Database and processes of one installation, with Django set up for it in this process. `close()` stops them.

    Args:
        env: more environment variables of this process and its children.
    """

    def __init__(self, directory: Path, **env: str) -> None:
        self.directory = directory
        self.own = "DATABASE_URL" not in os.environ
        self.url = embedded.ensure_running(directory / "server") if self.own else os.environ["DATABASE_URL"]
        self.children = Children()
        os.environ.update(
            DATABASE_URL=self.url,
            SECRET_KEY=secrets.token_urlsafe(50),
            SEQPULSE_ENCRYPTION_KEYS=secrets.token_urlsafe(32)[:43] + "=",
            SEQPULSE_DATA_DIR=str(directory / "data"),
            SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8",
            SEQPULSE_HTTPS="off",
            DJANGO_SETTINGS_MODULE="seqpulse.settings",
        )
        os.environ.update(env)
        django.setup()
        call_command("migrate", verbosity=0)
        self.database = psycopg.connect(self.url, autocommit=True)

    def close(self) -> None:
        self.children.stop()
        self.database.close()
        connections.close_all()
        if self.own:
            embedded.stop(self.directory / "server")

    def rows(self, query: str, *values: Any, **named: Any) -> list[tuple[Any, ...]]:
        cursor = self.database.execute(query.encode(), named or values or None)
        return cursor.fetchall() if cursor.description else []

    def one(self, query: str, *values: Any) -> Any:
        """Return the first column of the first row."""
        return self.rows(query, *values)[0][0]

    def wait_for(self, query: str, *values: Any) -> None:
        """Wait until the query returns true.

        Raises: TimeoutError.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self.one(query, *values):
            if time.monotonic() > deadline:
                raise TimeoutError(query)
            time.sleep(0.05)

    def start(self, name: str, *command: str, **env: str) -> subprocess.Popen[bytes]:
        """Start Python with these arguments. Its output goes to NAME.log in the directory of the site."""
        command = (sys.executable, *command)
        return self.children.start(name, command, env={**os.environ, **env}, cwd=ROOT, log_dir=self.directory)

    def start_server(self, name: str, port: int, *command: str, **env: str) -> int:
        """Start Python as above; return its process id once it listens on the port.

        Raises: TimeoutError.
        """
        process = self.start(name, *command, **env)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
                return process.pid
            time.sleep(0.05)
        raise TimeoutError((self.directory / f"{name}.log").read_text()[-2000:])

    def start_web(self, *arguments: str, name: str = "web", **env: str) -> tuple[int, int]:
        """Start gunicorn, with SeqPulse unless arguments name another application; return port and process id."""
        [port] = free_ports()
        arguments = arguments or ("-c", "python:seqpulse.gunicorn_config", "seqpulse.wsgi")
        command = ("-m", "gunicorn", "-b", f"127.0.0.1:{port}", *arguments)
        return port, self.start_server(name, port, *command, PORT=str(port), **env)

    def stop(self, prefix: str) -> None:
        """End the processes whose names begin with `prefix`."""
        for name in [name for name in self.children.running if name.startswith(prefix)]:
            process = self.children.running.pop(name)
            process.terminate()
            process.wait(30)


S = TypeVar("S", bound=Site)


@contextmanager
def bench_site(kind: type[S], **env: str) -> Iterator[S]:
    """Yield a site and remove it afterwards, also after SIGTERM."""
    stop_on_signals()
    with TemporaryDirectory(prefix="seqpulse-bench-") as directory:
        site = kind(Path(directory), **env)
        try:
            yield site
        finally:
            site.close()


def free_ports(count: int = 1) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children()]


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children, in MB."""
    return float(sum(each.memory_info().rss for each in _family(pid))) / 2**20


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds used by a process and its children."""
    return float(sum(sum(each.cpu_times()[:2]) for each in _family(pid)))
