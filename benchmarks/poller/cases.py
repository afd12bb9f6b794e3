"""Measure the figures, one function each."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.poller.rivals import procrastinate_rate, raw_rate
from benchmarks.poller.world import ROOT, World, arrivals, cpu_s, memory_mb, percentile

Figures = dict[str, float | None]
DONE = "SELECT count(*) = 0 FROM scheduled_jobs WHERE status IN ('pending', 'running') AND unique_key IS NULL"


@dataclass(frozen=True, slots=True)
class Size:
    """Amount of work per figure."""

    collections: int
    tls: int
    slow_s: float
    lag_s: float
    wakeups: int
    idle_s: float
    finished: int
    future: int
    claims: int
    noops: int
    rival_noops: int
    naive: int
    windows: int
    raw: int
    idle_installation_s: float


FULL = Size(12_000, 3_000, 10, 10, 100, 30, 1_000_000, 100_000, 300, 20_000, 1_500, 600, 1_000, 20_000, 60)
QUICK = Size(3_000, 1_000, 3, 3, 20, 4, 100_000, 20_000, 60, 6_000, 300, 100, 200, 6_000, 5)


def rate_of(
    world: World, count: int, pollers: int, *, tls: bool = False, delay_s: float = 0.05
) -> tuple[float, list[int]]:
    """Return collections/s with `count` of them due, and the process ids of the pollers."""
    addresses = world.start_endpoint(delay_s, tls=tls) + ([] if tls else world.start_endpoint(delay_s))
    world.plant_environments(addresses, 400)
    pids = world.start_pollers(pollers)
    world.plant_jobs(count, per_second=1000 if tls else 0)
    world.wait_for(DONE)
    rate = world.one(
        "SELECT count(*) / extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM scheduled_jobs"
        # Retries, which come after half a minute, are not counted.
        " WHERE status = 'completed' AND job_type = 'pre_collect' AND retry_count = 0"
    )
    lost = world.one("SELECT count(*) FROM scheduled_jobs WHERE job_type = 'pre_collect' AND status <> 'completed'")
    if lost or world.one("SELECT count(*) FROM metric_samples") != count:
        raise RuntimeError(f"{lost} of {count} collections were not completed, or samples are missing")
    return float(rate), pids


def finish(world: World) -> None:
    world.stop_pollers()
    world.stop_endpoints()
    world.clear()


def collections(world: World, size: Size) -> Figures:
    """Measure 50 ms endpoints over persistent connections, with one and with two pollers."""
    figures: Figures = {}
    for pollers in (1, 2):
        rate, pids = rate_of(world, size.collections * pollers, pollers)
        figures[f"collections_per_s_{pollers}"] = rate
        figures["rss_mb"] = max(memory_mb(pid) for pid in pids)
        finish(world)
    return figures


def windows(world: World, size: Size) -> Figures:
    """Measure whole windows with two pollers: five samples each, early analyses between them, and the verdict."""
    addresses = world.start_endpoint(0.05) + world.start_endpoint(0.05)
    world.plant_environments(addresses, size.windows, state="finished")
    world.start_pollers(2)
    world.plant_windows()
    world.wait_for("SELECT count(*) = %s FROM deployment_verdicts", size.windows)
    took_s = world.one(
        "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM scheduled_jobs"
        " WHERE job_type IN ('post_collect', 'analysis')"
    )
    looks = world.one("SELECT count(*) FROM scheduled_jobs WHERE job_type = 'early_analysis'")
    finish(world)
    return {"window_samples_per_s": 5 * size.windows / took_s, "windows_per_s": size.windows / took_s, "looks": looks}


def raw_requests(world: World, size: Size) -> Figures:
    """Measure the bound of the machine: libcurl alone against one cheap endpoint, no job, database or check."""
    [address, *_] = world.start_endpoint(0)
    rate = raw_rate(address, size.raw)
    finish(world)
    return {"raw_requests_per_s": rate}


def fresh_tls(world: World, size: Size) -> Figures:
    """Measure two pollers with 50 ms endpoints and a full TLS handshake per request."""
    rate, pids = rate_of(world, size.tls, 2, tls=True)
    figures: Figures = {"tls_collections_per_s": rate, "tls_rss_mb": max(memory_mb(pid) for pid in pids)}
    finish(world)
    return figures


def slow_endpoints(world: World, size: Size) -> Figures:
    """Measure completion and start lag of two pollers with 2 s endpoints, 400 due per second."""
    addresses = world.start_endpoint(2.0)
    world.plant_environments(addresses, 400)
    pids = world.start_pollers(2)
    count = int(400 * size.slow_s)
    world.plant_jobs(count, per_second=400)
    world.wait_for(DONE)
    figures: Figures = {
        "slow_completed_share": world.one(
            "SELECT avg((status = 'completed')::int)::float8 FROM scheduled_jobs WHERE job_type = 'pre_collect'"
        ),
        "slow_start_lag_p99_ms": lag_percentile(world, 0.99),
        "slow_rss_mb": max(memory_mb(pid) for pid in pids),
    }
    finish(world)
    return figures


def lag_percentile(world: World, share: float) -> float:
    query = (
        "SELECT 1000 * extract(epoch FROM percentile_cont(%s) WITHIN GROUP"
        " (ORDER BY started_at - scheduled_at))::float8 FROM scheduled_jobs WHERE job_type = 'pre_collect'"
    )
    return float(world.one(query, share))


def start_lag(world: World, size: Size) -> Figures:
    """Measure the time from scheduled_at to the request's arrival: at 100 due per second, and on an idle system."""
    addresses = world.start_endpoint(0.05)
    world.start_pollers(1)
    count = int(100 * size.lag_s)
    world.plant_environments(addresses, count)
    world.plant_jobs(count, per_second=100)
    world.wait_for(DONE)
    due = due_times(world)
    lags = [1000 * (at - due[path]) for path, at in arrivals(addresses).items() if path in due]
    world.clear()
    planted = world.plant_environments(addresses, size.wakeups)
    arrivals(addresses)
    for deployment_id, project_id, _ in planted:
        world.database.execute(
            b"WITH planted AS (INSERT INTO scheduled_jobs (job_type, phase, deployment_id, sequence_index,"
            b" scheduled_at, status, retry_count, last_error, error_code, job_metadata, locked_by, fair_key)"
            b" VALUES ('pre_collect', 'pre', %s, 0, clock_timestamp(), 'pending', 0, '', '', '{}', '', %s))"
            b" SELECT pg_notify('seqpulse_jobs', '')",
            [deployment_id, project_id],
        )
        time.sleep(0.12)
    world.wait_for(DONE)
    due = due_times(world)
    woken = [1000 * (at - due[path]) for path, at in arrivals(addresses).items() if path in due]
    finish(world)
    return {
        "lag_100_per_s_p50_ms": percentile(lags, 0.5),
        "lag_100_per_s_p99_ms": percentile(lags, 0.99),
        "due_now_p50_ms": percentile(woken, 0.5),
        "due_now_p99_ms": percentile(woken, 0.99),
    }


def due_times(world: World) -> dict[str, float]:
    """Return the due time of each path, in seconds since the epoch."""
    rows = world.database.execute(
        "SELECT '/' || substring(e.name FROM 2), extract(epoch FROM j.scheduled_at)::float8 FROM scheduled_jobs j"
        " JOIN deployments d ON d.id = j.deployment_id JOIN projects_environment e ON e.id = d.environment_id"
        " WHERE job_type = 'pre_collect'"
    ).fetchall()
    return dict(rows)


def idle(world: World, size: Size) -> Figures:
    """Measure an idle poller: percent of a core, queries per fallback interval (shortened to 2 s).

    First with recurring jobs, which run every minute, then without.
    """
    poll_s = 2.0
    [pid] = world.start_pollers(1, "--poll", str(poll_s))
    time.sleep(2 * poll_s)
    used = cpu_s(pid)
    time.sleep(size.idle_installation_s)
    with_recurring = 100 * (cpu_s(pid) - used) / size.idle_installation_s
    world.database.execute("DELETE FROM scheduled_jobs")  # recurring jobs would wake it
    time.sleep(2 * poll_s)
    used, begun = cpu_s(pid), time.monotonic()
    seen: set[tuple[Any, ...]] = set(world.database.execute(LATEST_QUERIES).fetchall())
    before = len(seen)
    while time.monotonic() < begun + size.idle_s:
        time.sleep(0.02)
        seen.update(world.database.execute(LATEST_QUERIES).fetchall())
    figures: Figures = {
        "idle_installation_cpu_percent": with_recurring,
        "idle_cpu_percent": 100 * (cpu_s(pid) - used) / size.idle_s,
        "idle_queries_per_interval": (len(seen) - before) / (size.idle_s / poll_s),
    }
    finish(world)
    return figures


# The latest query of every other connection. Polled often enough, it shows each query of an idle poller.
LATEST_QUERIES = (
    "SELECT pid, query_start FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)


def claims(world: World, size: Size) -> Figures:
    """Measure the claim in a large table: alone, and with 5,000 due jobs of a project whose tenant queue is full."""
    columns = (
        "INSERT INTO scheduled_jobs (job_type, phase, sequence_index, scheduled_at, status, retry_count, last_error,"
        " error_code, job_metadata, locked_by, fair_key) SELECT 'pre_collect', '', 0, now() + {at}, '{status}', 0, '',"
        " '', '{{}}', '', {key} FROM generate_series(1, {count}) AS n"
    )
    finished = columns.format(at="- n * interval '1 second'", status="completed", key="n %% 500", count=size.finished)
    world.database.execute(finished.replace("%%", "%").encode())
    future = columns.format(
        at="interval '1 hour' + n * interval '1 s'", status="pending", key="n %% 500", count=size.future
    )
    world.database.execute(future.replace("%%", "%").encode())
    world.database.execute("VACUUM ANALYZE scheduled_jobs")
    figures: Figures = {}
    for name, full in (("claim", ""), ("claim_past_5000", "pre_collect:1")):
        if full:
            due = columns.format(at="- interval '1 minute'", status="pending", key="1", count=5000)
            world.database.execute(due.encode())
        times = claim_times(world, size.claims, full, columns)
        figures[f"{name}_p50_ms"], figures[f"{name}_p99_ms"] = percentile(times, 0.5), percentile(times, 0.99)
    world.clear()
    return figures


def claim_times(world: World, count: int, full: str, columns: str) -> list[float]:
    """Return the ms of each claim of twenty jobs, which are completed in between."""
    from scheduler.fair_share import ClaimLimits  # noqa: PLC0415  (needs the settings)
    from scheduler.store import JobStore  # noqa: PLC0415

    store = JobStore("bench", 30)
    limits = ClaimLimits(200, [], [full] if full else [])
    times = []
    for _ in range(count):
        due = columns.format(at="- interval '1 millisecond'", status="pending", key="2 + n", count=20)
        world.database.execute(due.encode())
        begun = time.perf_counter()
        jobs, _ = store.claim(200, limits)
        times.append(1000 * (time.perf_counter() - begun))
        world.database.execute(
            "UPDATE scheduled_jobs SET status = 'completed', locked_by = '' WHERE id = ANY(%s)",
            [[job.id for job in jobs]],
        )
    return times


def verdicts(world: World, size: Size) -> Figures:
    """Measure 200 deployments whose last samples arrive in the same second, until all verdicts can be read."""
    addresses = world.start_endpoint(0.05)
    world.plant_environments(addresses, 200, state="finished")
    world.start_pollers(2)
    world.database.execute(
        "INSERT INTO metric_samples (environment_id, deployment_id, phase, sequence_index, requests_per_sec,"
        " latency_p95, error_rate, cpu_usage, memory_usage, collected_at)"
        " SELECT environment_id, d.id, phase, n, 50, 120, 0, 0.3, 0.4,"
        " now() - (5 - n) * interval '1 minute' FROM deployments d, (VALUES ('pre', 0), ('post', 1), ('post', 2),"
        " ('post', 3), ('post', 4)) AS s (phase, n)"
    )
    world.database.execute(
        "INSERT INTO scheduled_jobs (job_type, phase, deployment_id, sequence_index, scheduled_at, status, retry_count,"
        " last_error, error_code, job_metadata, locked_by, fair_key)"
        " SELECT kind, phase, d.id, n, now() + after * interval '1 second', 'pending', 0, '', '', '{}', '', project_id"
        " FROM deployments d, (VALUES ('post_collect', 'post', 5, 1.0), ('analysis', '', 0, 600.0))"
        " AS j (kind, phase, n, after)"
    )
    world.database.execute("SELECT pg_notify('seqpulse_jobs', '')")
    world.wait_for("SELECT count(*) = 200 FROM deployment_verdicts")
    # From the first of the last samples to the last verdict: the upper bound for each deployment.
    longest, spread = world.database.execute(
        "SELECT extract(epoch FROM clock_timestamp() - min(collected_at))::float8,"
        " extract(epoch FROM max(collected_at) - min(collected_at))::float8"
        " FROM metric_samples WHERE phase = 'post' AND sequence_index = 5"
    ).fetchone() or (0.0, 0.0)
    finish(world)
    return {"verdict_max_s": longest, "last_samples_within_s": spread}


def noops(world: World, size: Size, rival: Path) -> Figures:
    """Measure no-op jobs: our poller and a procrastinate worker, one process each."""
    world.start_pollers(1, module=("-m", "benchmarks.poller.noop"))
    world.database.execute(
        "INSERT INTO scheduled_jobs (job_type, phase, sequence_index, scheduled_at, status, retry_count, last_error,"
        " error_code, job_metadata, locked_by) SELECT 'noop', '', 0, now() + interval '1 second', 'pending', 0, '', '',"
        " '{}', '' FROM generate_series(1, %s)",
        [size.noops],
    )
    world.database.execute("SELECT pg_notify('seqpulse_jobs', '')")
    world.wait_for(DONE)
    ours = world.one(
        "SELECT count(*) / extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM scheduled_jobs"
        " WHERE job_type = 'noop'"
    )
    finish(world)
    world.database.execute("CREATE DATABASE rival")
    theirs = procrastinate_rate(rival, world.url.replace("/seqpulse?", "/rival?"), size.rival_noops)
    return {
        "noop_per_s": ours,
        "procrastinate_noop_per_s": theirs,
        "noop_times_procrastinate": ours / theirs if theirs else None,
    }


def naive(world: World, size: Size) -> Figures:
    """Measure a simple poller with the same endpoints."""
    addresses = world.start_endpoint(0.05)
    world.plant_environments(addresses, 200)
    world.plant_jobs(size.naive, due_in_s=-1)
    command = [sys.executable, "-m", "benchmarks.poller.rivals", "32", str(size.naive)]
    done: Any = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    finish(world)
    return {"naive_collections_per_s": float(done.stdout.split()[-1])}
