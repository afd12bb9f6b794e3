"""Helpers of the fault tests: create work, wait for its end, and check the result."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.crash.planting import plant_one
from tests.processes import Installation, wait_for

# ruff: noqa: S608  (queries are put together from these constants)
COLLECTING = "job_type IN ('pre_collect', 'post_collect')"
# Everything but recurring jobs.
WORK = "job_type IN ('pre_collect', 'post_collect', 'analysis', 'early_analysis')"
# Long enough that only the fault under test makes samples late, and that no lease runs out.
INTERVAL_S, LONG_LEASE_S = 30.0, "600"
SETTLE_TIMEOUT_S = 240.0


def plant(installation: Installation, *wanted: dict[str, Any]) -> None:
    """Create deployments under observation (tests/crash/planting.py); each: name, endpoint, deployments, within_s."""
    with installation.here(SEQPULSE_SAMPLE_INTERVAL_SECONDS=INTERVAL_S):
        for each in wanted:
            plant_one(**each)


def one(installation: Installation, query: str, *values: Any) -> Any:
    """Return the single value of a query."""
    return installation.rows(query, *values)[0][0]


def poller_names(installation: Installation) -> dict[int, str]:
    """Return the names of the pollers by process id."""
    return dict(installation.rows("SELECT pid, name FROM pollers"))


def running_jobs(installation: Installation, owner: str) -> int:
    query = "SELECT count(*) FROM scheduled_jobs WHERE status = 'running' AND locked_by = %s"
    count: int = one(installation, query, owner)
    return count


def wait_until_busy(installation: Installation, owner: str, at_least: int = 5) -> None:
    wait_for(lambda: running_jobs(installation, owner) >= at_least, f"{owner} to have work")


def wait_until_settled(installation: Installation, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
    """Wait until no collection and no analysis is open."""
    query = f"SELECT count(*) = 0 FROM scheduled_jobs WHERE {WORK} AND status IN ('pending', 'running')"
    wait_for(lambda: one(installation, query), "all work to end", timeout_s)


def assert_every_deployment_is_judged(installation: Installation) -> dict[str, int]:
    """Check that every deployment has a verdict, and each sample exists once or has a reason for missing.

    Returns: number of collections by status.
    """
    wait_until_settled(installation)
    undone = installation.rows(
        "SELECT d.id, d.state FROM deployments d LEFT JOIN deployment_verdicts v ON v.deployment_id = d.id"
        " WHERE d.state <> 'analyzed' OR v.id IS NULL"
    )
    assert undone == []
    doubled = installation.rows(
        "SELECT deployment_id, phase, sequence_index FROM metric_samples WHERE deployment_id IS NOT NULL"
        " GROUP BY 1, 2, 3 HAVING count(*) > 1"
    )
    assert doubled == []
    unexplained = installation.rows(
        "SELECT id, status FROM scheduled_jobs WHERE status NOT IN ('completed', 'cancelled')"
        f" AND {WORK} AND (error_code = '' OR last_error = '')"
    )
    assert unexplained == []
    lost = installation.rows(
        "SELECT j.id FROM scheduled_jobs j LEFT JOIN metric_samples s ON s.deployment_id = j.deployment_id"
        f" AND s.phase = j.phase AND s.sequence_index = j.sequence_index WHERE j.{COLLECTING}"
        " AND (j.status = 'completed') <> (s.id IS NOT NULL)"
    )
    assert lost == []
    return dict(installation.rows(f"SELECT status, count(*) FROM scheduled_jobs WHERE {COLLECTING} GROUP BY 1"))


def events(installation: Installation, name: str) -> list[dict[str, Any]]:
    """Return the lines of a process log."""
    return [json.loads(line) for line in installation.log(name).splitlines() if line.startswith("{")]


def count_events(installation: Installation, name: str, event: str) -> int:
    return sum(line.get("event") == event for line in events(installation, name))


@contextmanager
def took(what: str) -> Iterator[None]:
    """Print the duration of something; shown by pytest -s."""
    begun = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - begun:.1f} s")


def server_pid(data_dir: Path) -> int:
    """Return the process id of the embedded server."""
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])
