"""Run SeqPulse for a benchmark, on a temporary PostgreSQL or on that of DATABASE_URL."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from seqpulse import gunicorn_config
from seqpulse.devserver import embedded
from seqpulse.devserver.processes import Children, stop_on_signals

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60.0


class Site:
    """Database and processes of one installation; `close()` stops them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.own = "DATABASE_URL" not in os.environ
        self.url = embedded.ensure_running(directory / "server") if self.own else os.environ["DATABASE_URL"]
        self.children = Children()
        self.env = {
            **os.environ,
            "DATABASE_URL": self.url,
            "SECRET_KEY": secrets.token_urlsafe(50),
            "SEQPULSE_ENCRYPTION_KEYS": secrets.token_urlsafe(32)[:43] + "=",
            "SEQPULSE_DATA_DIR": str(directory / "data"),
            "SEQPULSE_OUTBOUND_ALLOW": "127.0.0.0/8",
            "SEQPULSE_HTTPS": "off",
        }
        self.manage("migrate", "--verbosity", "0")
        self.database = psycopg.connect(self.url, autocommit=True)

    def close(self) -> None:
        self.children.stop()
        self.database.close()
        if self.own:
            embedded.stop(self.directory / "server")

    def manage(self, *arguments: str, **env: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env={**self.env, **env}, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self.database.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def projects(self, count: int) -> list[str]:
        """Create projects with one environment each; return their API keys."""
        script = (
            "import json, os; from projects.services import create_project;"
            "print(json.dumps([create_project(f'bench {n}', environment='prod', plan='free', signed=True,"
            " endpoint='http://127.0.0.1:9/metrics').api_key for n in range(int(os.environ['COUNT']))]))"
        )
        keys: list[str] = json.loads(self.manage("shell", "--no-imports", "-c", script, COUNT=str(count)))
        return keys

    def start_web(self, **env: str) -> tuple[int, int]:
        """Start gunicorn; return port and process id."""
        return self._serve("-c", "python:seqpulse.gunicorn_config", "seqpulse.wsgi", **env)

    def start_floor(self, workers: int) -> tuple[int, int]:
        """Start the same server with the minimal application benchmarks/api/floor.py; return port and process id."""
        threads = str(gunicorn_config.threads)
        return self._serve("-k", "gthread", "--threads", threads, "-w", str(workers), "benchmarks.api.floor")

    def _serve(self, *arguments: str, **env: str) -> tuple[int, int]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = (sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", *arguments)
        env = {**self.env, "PORT": str(port), **env}
        process = self.children.start("web", command, env=env, cwd=ROOT, log_dir=self.directory)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
                return port, process.pid
            time.sleep(0.1)
        raise TimeoutError((self.directory / "web.log").read_text()[-2000:])

    def stop_web(self) -> None:
        process = self.children.running.pop("web")
        process.terminate()
        process.wait(30)


@contextmanager
def bench_site() -> Iterator[Site]:
    """Yield a site and remove it afterwards, also after SIGTERM."""
    stop_on_signals()
    with TemporaryDirectory(prefix="seqpulse-bench-") as directory:
        site = Site(Path(directory))
        try:
            yield site
        finally:
            site.close()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children, in MB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0.0
    for each in (str(pid), *children):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) / 1024
    return total


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds used by a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for each in (str(pid), *children):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table whose columns are their keys."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([shown(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        first, *others = zip(line, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))


def shown(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
