"""Run SeqPulse for the benchmark: a PostgreSQL of its own, pollers and endpoints as processes, jobs inserted by SQL."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.poller.certificate import make_certificate
from seqpulse.devserver import embedded
from seqpulse.devserver.processes import Children

ROOT = Path(__file__).resolve().parent.parent.parent
PORTS_EACH = 8
PROJECTS = 40
PATIENCE_S = 120.0


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class World:
    """Processes and database of the benchmark; `close()` stops them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = embedded.ensure_running(directory / "server")
        self.children = Children()
        self.certificate, self.key = make_certificate(directory)
        os.environ.update(
            DATABASE_URL=self.url,
            SECRET_KEY=secrets.token_urlsafe(50),
            SEQPULSE_ENCRYPTION_KEYS=secrets.token_urlsafe(32)[:43] + "=",
            SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8",
            SEQPULSE_DATA_DIR=str(directory / "data"),
            SEQPULSE_HTTPS="off",
            DJANGO_SETTINGS_MODULE="seqpulse.settings",
            SSL_CERT_FILE=str(self.certificate),
            LOG_FORMAT="json",
            LOG_LEVEL="info",
        )
        self.manage("migrate", "--verbosity", "0")
        self.database = psycopg.connect(self.url, autocommit=True)

    def close(self) -> None:
        self.children.stop()
        self.database.close()
        embedded.stop(self.directory / "server")

    def manage(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=True)

    # Processes

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        return self.children.start(name, command, env=os.environ, cwd=ROOT, log_dir=self.directory)

    def stop(self, *names: str) -> None:
        for name in names:
            process = self.children.running.pop(name)
            process.terminate()
            process.wait(30)

    def start_pollers(
        self, count: int, *options: str, module: tuple[str, ...] = ("manage.py", "run_poller")
    ) -> list[int]:
        """Start pollers; return their process ids once they work."""
        names = [f"poller-{number}" for number in range(count)]
        pids = [self.start(name, sys.executable, *module, *options).pid for name in names]
        self.wait_for("SELECT count(*) = %s FROM pollers WHERE pid = ANY(%s) AND session_locked", count, pids)
        return pids

    def stop_pollers(self) -> None:
        self.stop(*[name for name in self.children.running if name.startswith("poller-")])

    def start_endpoint(self, delay_s: float, *, tls: bool = False) -> list[str]:
        """Start an endpoint process; return its base URLs."""
        ports = free_ports(PORTS_EACH)
        secure = (str(self.certificate), str(self.key)) if tls else ()
        name = f"endpoint-{ports[0]}"
        self.start(
            name, sys.executable, "-m", "benchmarks.poller.endpoint", ",".join(map(str, ports)), str(delay_s), *secure
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", ports[-1]), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        return [f"http{'s' if tls else ''}://127.0.0.1:{port}" for port in ports]

    def stop_endpoints(self) -> None:
        self.stop(*[name for name in self.children.running if name.startswith("endpoint-")])

    # The database

    def one(self, query: str, *values: Any) -> Any:
        row = self.database.execute(query.encode(), values).fetchone()
        return row[0] if row else None

    def wait_for(self, query: str, *values: Any, patience_s: float = PATIENCE_S) -> None:
        """Wait until the query returns true.

        Raises: TimeoutError.
        """
        deadline = time.monotonic() + patience_s
        while not self.one(query, *values):
            if time.monotonic() > deadline:
                raise TimeoutError(query)
            time.sleep(0.05)

    def clear(self) -> None:
        """Delete all jobs, samples, deployments and projects."""
        self.database.execute(
            "TRUNCATE scheduled_jobs, metric_samples, sample_places, deployments, projects_project, accounts_team"
            " CASCADE"
        )

    def plant_environments(
        self, addresses: list[str], count: int, *, state: str = "running"
    ) -> list[tuple[int, int, int]]:
        """Insert signing environments /0, /1, … of PROJECTS projects with one deployment each.

        Args:
            state: `running`, or `finished` if the analysis is inserted too (a sweep would plan it otherwise).

        Returns: (deployment id, project id, environment id) of each.
        """
        from projects.services import create_project  # noqa: PLC0415  (needs the settings)
        from security.encryption import encrypt  # noqa: PLC0415

        projects = [create_project(f"project {number}", environment="first").project for number in range(PROJECTS)]
        secret = encrypt("sphs_" + secrets.token_urlsafe(24))
        planted: list[tuple[int, int, int]] = self.database.execute(
            b"WITH environment AS (INSERT INTO projects_environment"
            b" (project_id, name, metrics_endpoint, hmac_secret, created_at, baseline_interval_s, policy)"
            b" SELECT (%(projects)s::bigint[])[1 + n %% %(projects_count)s], 'e' || n,"
            b"  (%(addresses)s::text[])[1 + n %% %(addresses_count)s] || '/' || n, %(secret)s, now(), 0, '{}'"
            b" FROM generate_series(0, %(count)s - 1) AS n RETURNING id, project_id, name)"
            b" INSERT INTO deployments (uuid, number, project_id, environment_id, branch, commit_sha, version, author,"
            b"  url, state, pipeline_result, started_at, finished_at, window_samples, interval_s)"
            b" SELECT gen_random_uuid(), id, project_id, id, '', '', '', '', '', %(state)s, '', now(), now(),"
            b"  5, 60 FROM environment RETURNING id, project_id, environment_id",
            {
                "projects": [project.pk for project in projects],
                "projects_count": len(projects),
                "addresses": addresses,
                "addresses_count": len(addresses),
                "secret": secret,
                "count": count,
                "state": state,
            },
        ).fetchall()
        return planted

    def plant_jobs(
        self, count: int, *, due_in_s: float = 1.0, per_second: float = 0, job_type: str = "pre_collect"
    ) -> None:
        """Insert collections over all deployments, due together or at a rate. They never expire."""
        self.database.execute(
            b"INSERT INTO scheduled_jobs (job_type, phase, deployment_id, sequence_index, scheduled_at, status,"
            b"  retry_count, last_error, error_code, job_metadata, locked_by, fair_key)"
            b" SELECT %s, 'pre', d.id, n / total, now() + (%s + n * %s) * interval '1 second', 'pending', 0, '', '',"
            b"  '{}', '', d.project_id"
            b" FROM generate_series(0, %s - 1) AS n, (SELECT count(*) AS total FROM deployments) AS all_of_them,"
            b"  (SELECT id, project_id, row_number() OVER (ORDER BY id) - 1 AS place FROM deployments) AS d"
            b" WHERE d.place = n %% total",
            [job_type, due_in_s, 1 / per_second if per_second else 0, count],
        )
        self.database.execute("ANALYZE scheduled_jobs")
        self.database.execute("SELECT pg_notify('seqpulse_jobs', '')")

    def plant_windows(self, *, due_in_s: float = 1.0) -> None:
        """Insert five POST collections per deployment, due together, and its analysis."""
        self.database.execute(
            b"INSERT INTO scheduled_jobs (job_type, phase, deployment_id, sequence_index, scheduled_at, status,"
            b"  retry_count, last_error, error_code, job_metadata, locked_by, fair_key)"
            b" SELECT kind, phase, d.id, n, now() + (%s + later) * interval '1 second', 'pending', 0, '', '', '{}', '',"
            b"  project_id"
            b" FROM (SELECT 'post_collect' AS kind, 'post' AS phase, n, 0 AS later FROM generate_series(1, 5) AS n"
            b"  UNION ALL SELECT 'analysis', '', 0, 600) AS j, deployments d ORDER BY n, d.id",
            [due_in_s],
        )
        self.database.execute("ANALYZE scheduled_jobs")
        self.database.execute("SELECT pg_notify('seqpulse_jobs', '')")


def arrivals(addresses: list[str]) -> dict[str, float]:
    """Return and clear the time of the last request of each path."""
    with urllib.request.urlopen(f"{addresses[0]}/arrivals", timeout=10) as answer:  # noqa: S310  (our own endpoint)
        seen: dict[str, float] = json.load(answer)
        return seen


def memory_mb(pid: int) -> float:
    """Return the peak resident memory of the process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_s(pid: int) -> float:
    """Return the CPU seconds used by the process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` (0..1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
