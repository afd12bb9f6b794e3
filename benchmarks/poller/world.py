"""Run pollers and endpoints on a PostgreSQL of their own, and insert their work by SQL."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

import psutil
import requests
import trustme

from benchmarks.site import Site, free_ports

PORTS_EACH = 8
PROJECTS = 40
INSERT_JOBS = """
INSERT INTO scheduled_jobs (job_type, phase, deployment_id, sequence_index, scheduled_at, fair_key, status,
    retry_count, last_error, error_code, job_metadata, locked_by)
SELECT wanted.*, 0, '', '', '{{}}', '' FROM ({wanted}) AS wanted
"""
ENVIRONMENTS = """
WITH environment AS (
    INSERT INTO projects_environment
        (project_id, name, metrics_endpoint, hmac_secret, created_at, baseline_interval_s, policy)
    SELECT (%(projects)s::bigint[])[1 + n %% cardinality(%(projects)s)], 'e' || n,
        (%(addresses)s::text[])[1 + n %% cardinality(%(addresses)s)] || '/' || n, %(secret)s, now(), 0, '{}'
    FROM generate_series(0, %(count)s - 1) AS n RETURNING id, project_id, name
)
INSERT INTO deployments (uuid, number, project_id, environment_id, branch, commit_sha, version, author, url, state,
    pipeline_result, started_at, finished_at, window_samples, interval_s)
SELECT gen_random_uuid(), id, project_id, id, '', '', '', '', '', %(state)s, '', now(), now(), 5, 60 FROM environment
RETURNING id, project_id
"""
COLLECTIONS = """
SELECT 'pre_collect', 'pre', d.id, n / total, now() + (%s + n * %s) * interval '1 second', d.project_id, 'pending'
FROM generate_series(0, %s - 1) AS n, (SELECT count(*) AS total FROM deployments) AS all_of_them,
    (SELECT id, project_id, row_number() OVER (ORDER BY id) - 1 AS place FROM deployments) AS d
WHERE d.place = n %% total
"""


class World(Site):
    """A site with pollers and endpoints. It ignores DATABASE_URL, since it deletes all data."""

    def __init__(self, directory: Path) -> None:
        os.environ.pop("DATABASE_URL", None)
        authority, trusted, self.certificate = trustme.CA(), directory / "authority.pem", directory / "certificate.pem"
        authority.cert_pem.write_to_path(str(trusted))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(self.certificate))
        super().__init__(directory, SSL_CERT_FILE=str(trusted), LOG_FORMAT="json", LOG_LEVEL="info")

    def postgres_cpu_s(self) -> float:
        """Return the CPU seconds of the server, except those that it spends on the queries of the benchmark."""
        directory = Path(self.one("SHOW data_directory"))
        server = psutil.Process(int((directory / "postmaster.pid").read_text().split()[0]))
        ended = server.cpu_times()
        used = float(ended.user + ended.system + ended.children_user + ended.children_system)
        for process in server.children():
            if process.pid != self.database.info.backend_pid:
                with suppress(psutil.NoSuchProcess):
                    used += sum(process.cpu_times()[:2])
        return used

    def start_pollers(
        self, count: int, *options: str, module: tuple[str, ...] = ("manage.py", "run_poller")
    ) -> list[int]:
        """Start pollers; return their process ids once they work."""
        pids = [self.start(f"poller-{number}", *module, *options).pid for number in range(count)]
        self.wait_for("SELECT count(*) = %s FROM pollers WHERE pid = ANY(%s) AND session_locked", count, pids)
        return pids

    def start_endpoint(self, delay_s: float, *, tls: bool = False) -> list[str]:
        """Start an endpoint process; return its base URLs."""
        ports = free_ports(PORTS_EACH)
        command = ["-m", "benchmarks.poller.endpoint", ",".join(map(str, ports)), str(delay_s)]
        command += [str(self.certificate)] if tls else []
        self.start_server(f"endpoint-{ports[0]}", ports[-1], *command)
        return [f"http{'s' if tls else ''}://127.0.0.1:{port}" for port in ports]

    def finish(self) -> None:
        """End pollers and endpoints, and delete all jobs, samples, deployments and projects."""
        self.stop("poller-")
        self.stop("endpoint-")
        self.clear()

    def clear(self) -> None:
        self.rows(
            "TRUNCATE scheduled_jobs, metric_samples, sample_places, deployments, projects_project, accounts_team"
            " CASCADE"
        )

    def plant_environments(self, addresses: list[str], count: int, *, state: str = "running") -> list[tuple[int, int]]:
        """Insert signing environments /0, /1, … of PROJECTS projects with one deployment each.

        Args:
            state: `running`, or `finished` if the analysis is inserted too (a sweep would plan it otherwise).

        Returns: (deployment id, project id) of each.
        """
        from projects.services import create_project  # noqa: PLC0415  (needs the settings)
        from security.encryption import encrypt  # noqa: PLC0415  (needs the settings)

        projects = [
            create_project(f"project {secrets.token_hex(4)}", environment="first", plan="free").project.pk
            for _ in range(PROJECTS)
        ]
        secret = encrypt("sphs_" + secrets.token_urlsafe(24))
        return self.rows(ENVIRONMENTS, projects=projects, addresses=addresses, secret=secret, count=count, state=state)

    def insert_jobs(self, wanted: str, *values: object) -> None:
        """Insert jobs and wake the pollers.

        Args:
            wanted: a query of kind, phase, deployment, place in the window, due time, project and status.
        """
        self.rows(INSERT_JOBS.format(wanted=wanted), *values)
        self.rows("SELECT pg_notify('seqpulse_jobs', '')")

    def plant_jobs(self, count: int, *, due_in_s: float = 1.0, per_second: float = 0) -> None:
        """Insert collections over all deployments, due together or at a rate. They never expire."""
        self.insert_jobs(COLLECTIONS, due_in_s, 1 / per_second if per_second else 0, count)
        self.rows("ANALYZE scheduled_jobs")


def arrivals(addresses: list[str]) -> dict[str, float]:
    """Return and clear the time of the last request of each path."""
    seen: dict[str, float] = requests.get(f"{addresses[0]}/arrivals", timeout=10).json()
    return seen


def peak_mb(pid: int) -> float:
    """Return the peak resident memory of the process, in MB."""
    [peak] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(peak.split()[1]) / 1024
