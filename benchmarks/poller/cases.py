"""Measure the figures, one function each."""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.poller.libcurl import Libcurl
from benchmarks.poller.rivals import naive_rate, procrastinate_rate, raw_rate
from benchmarks.poller.world import World, arrivals, peak_mb
from benchmarks.report import percentiles
from benchmarks.site import cpu_seconds

Figures = dict[str, float | None]
DONE = "SELECT count(*) = 0 FROM scheduled_jobs WHERE status IN ('pending', 'running') AND unique_key IS NULL"
# Retries, which come after half a minute, are not counted.
PER_S = """
SELECT count(*) / extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM scheduled_jobs
WHERE status = 'completed' AND job_type = %s AND retry_count = 0
"""
WINDOWS = """
SELECT j.kind, j.phase, d.id, j.n, now() + (1 + later) * interval '1 second', project_id, 'pending'
FROM (SELECT 'post_collect' AS kind, 'post' AS phase, n, 0 AS later FROM generate_series(1, 5) AS n
    UNION ALL SELECT 'analysis', '', 0, 600) AS j, deployments d ORDER BY j.n, d.id
"""
DUE_NOW = "SELECT 'pre_collect', 'pre', {}::bigint, 0, clock_timestamp(), {}::bigint, 'pending'"
DUE_TIMES = """
SELECT '/' || substring(e.name FROM 2), extract(epoch FROM j.scheduled_at)::float8 FROM scheduled_jobs j
JOIN deployments d ON d.id = j.deployment_id JOIN projects_environment e ON e.id = d.environment_id
WHERE job_type = 'pre_collect'
"""
# The latest query of every other connection. Polled often enough, it shows each query of an idle poller.
LATEST_QUERIES = """
SELECT pid, query_start FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
AND backend_type = 'client backend'
"""
# Jobs without a deployment, as the claim sees them.
BARE_JOBS = """
SELECT 'pre_collect', '', NULL::bigint, 0, now() + {at}, {key}::bigint, '{status}' FROM generate_series(1, {count}) AS n
"""
TWENTY_DUE = BARE_JOBS.format(at="- interval '1 millisecond'", status="pending", key="2 + n", count=20)
FIRST_SAMPLES = """
INSERT INTO metric_samples (environment_id, deployment_id, phase, sequence_index, requests_per_sec, latency_p95,
    error_rate, cpu_usage, memory_usage, collected_at)
SELECT environment_id, d.id, phase, n, 50, 120, 0, 0.3, 0.4, now() - (5 - n) * interval '1 minute'
FROM deployments d, (VALUES ('pre', 0), ('post', 1), ('post', 2), ('post', 3), ('post', 4)) AS s (phase, n)
"""
LAST_SAMPLES = """
SELECT j.kind, j.phase, d.id, j.n, now() + after * interval '1 second', project_id, 'pending'
FROM deployments d, (VALUES ('post_collect', 'post', 5, 1.0), ('analysis', '', 0, 600.0)) AS j (kind, phase, n, after)
"""
# The end of the job is written in the transaction of the verdict.
VERDICT_P99 = """
SELECT extract(epoch FROM percentile_cont(0.99) WITHIN GROUP (ORDER BY finished_at - collected_at))::float8
FROM scheduled_jobs JOIN metric_samples USING (deployment_id)
WHERE job_type = 'analysis' AND metric_samples.phase = 'post' AND metric_samples.sequence_index = 5
"""
# Collections of these deployments, each due every 5 s from the same time on.
REPEATED = """
SELECT 'pre_collect', 'pre', d.id, round, now() + (1 + {spread} * place + 5 * round) * interval '1 second',
    d.project_id, 'pending'
FROM generate_series(0, {rounds} - 1) AS round,
    (SELECT id, project_id, row_number() OVER (ORDER BY id) AS place FROM deployments WHERE id = ANY(%s)) AS d
"""
START_LAG_P99 = """
SELECT 1000 * extract(epoch FROM percentile_cont(0.99) WITHIN GROUP (ORDER BY started_at - scheduled_at))::float8
FROM scheduled_jobs WHERE deployment_id = ANY(%s)
"""
NOOPS = """
SELECT 'noop', '', NULL::bigint, 0, now() + interval '1 second', NULL::bigint, 'pending' FROM generate_series(1, %s)
"""


@dataclass(frozen=True, slots=True)
class Size:
    """Amount of work per figure. rival: a Python with procrastinate."""

    rival: Path
    collections: int = 12_000
    tls: int = 3_000
    slow_s: float = 10
    lag_s: float = 10
    wakeups: int = 100
    idle_s: float = 30
    finished: int = 1_000_000
    future: int = 100_000
    claims: int = 300
    noops: int = 20_000
    rival_noops: int = 1_500
    naive: int = 600
    windows: int = 1_000
    raw: int = 20_000
    idle_installation_s: float = 60


QUICK = (3_000, 1_000, 3, 3, 20, 4, 100_000, 20_000, 60, 6_000, 300, 100, 200, 6_000, 5)


@dataclass(frozen=True, slots=True)
class Load:
    """Collections/s, the largest memory of a poller in MB, and CPU per collection in ms: of pollers, of PostgreSQL."""

    per_s: float
    memory_mb: float
    poller_ms: float
    postgres_ms: float


def load_of(world: World, count: int, pollers: int, *, tls: bool = False) -> Load:
    """Measure 50 ms endpoints with `count` collections due."""
    addresses = world.start_endpoint(0.05, tls=tls) + ([] if tls else world.start_endpoint(0.05))
    world.plant_environments(addresses, 400)
    pids = world.start_pollers(pollers)
    world.plant_jobs(count, per_second=1000 if tls else 0)
    poller_s, postgres_s = sum(map(cpu_seconds, pids)), world.postgres_cpu_s()
    world.wait_for(DONE)
    poller_s, postgres_s = sum(map(cpu_seconds, pids)) - poller_s, world.postgres_cpu_s() - postgres_s
    rate = world.one(PER_S, "pre_collect")
    lost = world.one("SELECT count(*) FROM scheduled_jobs WHERE job_type = 'pre_collect' AND status <> 'completed'")
    if lost or world.one("SELECT count(*) FROM metric_samples") != count:
        raise RuntimeError(f"{lost} of {count} collections were not completed, or samples are missing")
    return Load(rate, max(map(peak_mb, pids)), 1000 * poller_s / count, 1000 * postgres_s / count)


def collections(world: World, size: Size) -> Figures:
    """Measure 50 ms endpoints over persistent connections, with one and with two pollers, beside libcurl alone."""
    figures: Figures = {}
    for pollers in (1, 2):
        load = load_of(world, size.collections * pollers, pollers)
        figures |= {f"collections_per_s_{pollers}": load.per_s, "rss_mb": load.memory_mb}
        figures |= {"poller_cpu_ms": load.poller_ms, "postgres_cpu_ms": load.postgres_ms}
        world.finish()
    cpu_ms = load.poller_ms + load.postgres_ms
    addresses = world.start_endpoint(0.05) + world.start_endpoint(0.05)
    alone = Libcurl([f"{addresses[n % len(addresses)]}/{n}" for n in range(400)], 500).measure(size.collections)
    return figures | {
        "collection_cpu_ms": cpu_ms,
        "libcurl_cpu_ms": alone.cpu_ms,
        "cpu_times_libcurl": cpu_ms / alone.cpu_ms,
        "libcurl_per_s": alone.per_s,
    }


def windows(world: World, size: Size) -> Figures:
    """Measure whole windows with two pollers: five samples each, early analyses between them, and the verdict."""
    addresses = world.start_endpoint(0.05) + world.start_endpoint(0.05)
    world.plant_environments(addresses, size.windows, state="finished")
    world.start_pollers(2)
    world.insert_jobs(WINDOWS)
    world.rows("ANALYZE scheduled_jobs")
    world.wait_for("SELECT count(*) = %s FROM deployment_verdicts", size.windows)
    took_s = world.one(
        "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM scheduled_jobs"
        " WHERE job_type IN ('post_collect', 'analysis')"
    )
    looks = world.one("SELECT count(*) FROM scheduled_jobs WHERE job_type = 'early_analysis'")
    return {"window_samples_per_s": 5 * size.windows / took_s, "windows_per_s": size.windows / took_s, "looks": looks}


def raw(world: World, size: Size) -> Figures:
    """Measure the bound of the machine: libcurl alone against one cheap endpoint, no job, database or check."""
    return {"raw_requests_per_s": raw_rate(world.start_endpoint(0)[0], size.raw)}


def naive(world: World, size: Size) -> Figures:
    """Measure a simple poller with the same endpoints."""
    world.plant_environments(world.start_endpoint(0.05), 200)
    world.plant_jobs(size.naive, due_in_s=-1)
    return {"naive_collections_per_s": naive_rate(32, size.naive)}


def tls(world: World, size: Size) -> Figures:
    """Measure two pollers with 50 ms endpoints and a full TLS handshake per request."""
    load = load_of(world, size.tls, 2, tls=True)
    return {"tls_collections_per_s": load.per_s, "tls_rss_mb": load.memory_mb}


def slow(world: World, size: Size) -> Figures:
    """Measure completion and start lag of two pollers with 2 s endpoints, 400 due per second."""
    world.plant_environments(world.start_endpoint(2.0), 400)
    pids = world.start_pollers(2)
    world.plant_jobs(int(400 * size.slow_s), per_second=400)
    world.wait_for(DONE)
    [(completed, lag_p99_ms)] = world.rows(
        "SELECT avg((status = 'completed')::int)::float8, 1000 * extract(epoch FROM percentile_cont(0.99) WITHIN GROUP"
        " (ORDER BY started_at - scheduled_at))::float8 FROM scheduled_jobs WHERE job_type = 'pre_collect'"
    )
    return {
        "slow_completed_share": completed,
        "slow_start_lag_p99_ms": lag_p99_ms,
        "slow_rss_mb": max(map(peak_mb, pids)),
    }


def hanging(world: World, size: Size) -> Figures:
    """Measure the start lag of healthy projects, alone (the control), and beside 300 endpoints that never answer.

    500 healthy endpoints are asked every 5 s (100 a second), the hanging ones as often, by one poller.
    """
    rounds, figures = max(2, int(size.lag_s / 5)), {}
    healthy = [pk for pk, _ in world.plant_environments(world.start_endpoint(0.05), 500)]
    world.start_pollers(1)
    for name in ("control", "hanging"):
        world.rows("DELETE FROM scheduled_jobs WHERE unique_key IS NULL")
        if name == "hanging":
            stuck = [pk for pk, _ in world.plant_environments(world.start_endpoint(3600), 300)]
            world.insert_jobs(REPEATED.format(spread=0, rounds=rounds), stuck)
        world.insert_jobs(REPEATED.format(spread=0.01, rounds=rounds), healthy)
        world.wait_for(
            "SELECT count(*) = 0 FROM scheduled_jobs WHERE status <> 'completed' AND deployment_id = ANY(%s)", healthy
        )
        figures[f"{name}_start_lag_p99_ms"] = world.one(START_LAG_P99, healthy)
    return figures


def lag(world: World, size: Size) -> Figures:
    """Measure the time from scheduled_at to the request's arrival: at 100 due per second, and on an idle system."""
    addresses = world.start_endpoint(0.05)
    world.start_pollers(1)
    count = int(100 * size.lag_s)
    world.plant_environments(addresses, count)
    world.plant_jobs(count, per_second=100)
    lags = lags_ms(world, addresses)
    world.clear()
    planted = world.plant_environments(addresses, size.wakeups)
    arrivals(addresses)
    for deployment_id, project_id in planted:
        world.insert_jobs(DUE_NOW.format(deployment_id, project_id))
        time.sleep(0.12)
    woken = lags_ms(world, addresses)
    return {**percentiles(lags, 50, 99, prefix="lag_100_per_s_"), **percentiles(woken, 50, 99, prefix="due_now_")}


def lags_ms(world: World, addresses: list[str]) -> list[float]:
    """Wait until all is collected; return the lag of the last collection of each environment."""
    world.wait_for(DONE)
    due = dict(world.rows(DUE_TIMES))
    return [1000 * (at - due[path]) for path, at in arrivals(addresses).items() if path in due]


def idle(world: World, size: Size) -> Figures:
    """Measure an idle poller: percent of a core, queries per fallback interval (shortened to 2 s).

    First with recurring jobs, which run every minute, then without.
    """
    poll_s = 2.0
    [pid] = world.start_pollers(1, "--poll", str(poll_s))
    time.sleep(2 * poll_s)
    used = cpu_seconds(pid)
    time.sleep(size.idle_installation_s)
    with_recurring = 100 * (cpu_seconds(pid) - used) / size.idle_installation_s
    world.rows("DELETE FROM scheduled_jobs")  # recurring jobs would wake it
    time.sleep(2 * poll_s)
    used, begun = cpu_seconds(pid), time.monotonic()
    seen = set(world.rows(LATEST_QUERIES))
    before = len(seen)
    while time.monotonic() < begun + size.idle_s:
        time.sleep(0.02)
        seen.update(world.rows(LATEST_QUERIES))
    return {
        "idle_installation_cpu_percent": with_recurring,
        "idle_cpu_percent": 100 * (cpu_seconds(pid) - used) / size.idle_s,
        "idle_queries_per_interval": (len(seen) - before) / (size.idle_s / poll_s),
    }


def verdicts(world: World, size: Size) -> Figures:
    """Measure 200 deployments whose last samples arrive in the same second, until all verdicts can be read."""
    world.plant_environments(world.start_endpoint(0.05), 200, state="finished")
    world.start_pollers(2)
    world.rows(FIRST_SAMPLES)
    world.insert_jobs(LAST_SAMPLES)
    world.wait_for("SELECT count(*) = 200 FROM deployment_verdicts")
    # From the first of the last samples to the last verdict: the upper bound for each deployment.
    [(longest, spread)] = world.rows(
        "SELECT extract(epoch FROM clock_timestamp() - min(collected_at))::float8,"
        " extract(epoch FROM max(collected_at) - min(collected_at))::float8"
        " FROM metric_samples WHERE phase = 'post' AND sequence_index = 5"
    )
    return {"verdict_p99_s": world.one(VERDICT_P99), "verdict_max_s": longest, "last_samples_within_s": spread}


def noops(world: World, size: Size) -> Figures:
    """Measure no-op jobs: our poller and a procrastinate worker, one process each."""
    world.start_pollers(1, module=("-m", "benchmarks.poller.noop"))
    world.insert_jobs(NOOPS, size.noops)
    world.wait_for(DONE)
    ours = world.one(PER_S, "noop")
    world.finish()
    world.rows("CREATE DATABASE rival")
    theirs = procrastinate_rate(size.rival, world.url.replace("/seqpulse?", "/rival?"), size.rival_noops)
    times = ours / theirs if theirs else None
    return {"noop_per_s": ours, "procrastinate_noop_per_s": theirs, "noop_times_procrastinate": times}


def claims(world: World, size: Size) -> Figures:
    """Measure the claim in a large table: alone, and with 5,000 due jobs of a project whose tenant queue is full."""
    for count, status, at in (
        (size.finished, "completed", "- n * interval '1 second'"),
        (size.future, "pending", "interval '1 hour' + n * interval '1 s'"),
    ):
        world.insert_jobs(BARE_JOBS.format(at=at, status=status, key="n % 500", count=count))
    world.rows("VACUUM ANALYZE scheduled_jobs")
    figures: Figures = {}
    for name, full in (("claim_", []), ("claim_past_5000_", ["pre_collect:1"])):
        if full:
            world.insert_jobs(BARE_JOBS.format(at="- interval '1 minute'", status="pending", key="1", count=5000))
        figures |= percentiles(claim_times(world, size.claims, full), 50, 99, prefix=name)
        figures |= percentiles(claim_executions(world, size.claims, full), 50, 99, prefix=f"{name}executed_")
    return figures


def claim_times(world: World, count: int, full: list[str]) -> list[float]:
    """Return the ms of each claim of twenty jobs, by the clock. They are completed in between."""
    from scheduler.fair_share import ClaimLimits  # noqa: PLC0415  (needs the settings)
    from scheduler.store import JobStore  # noqa: PLC0415

    store, limits, times = JobStore("bench", 30), ClaimLimits(200, [], full), []
    for _ in range(count):
        world.insert_jobs(TWENTY_DUE)
        begun = time.perf_counter()
        jobs, _ = store.claim(200, limits)
        times.append(1000 * (time.perf_counter() - begun))
        ids = [job.id for job in jobs]
        world.rows("UPDATE scheduled_jobs SET status = 'completed', locked_by = '' WHERE id = ANY(%s)", ids)
    return times


def claim_executions(world: World, count: int, full: list[str]) -> list[float]:
    """Return the ms of planning and executing such claims: what the clock measures without waiting for a processor."""
    from scheduler.store import CLAIM  # noqa: PLC0415  (needs the settings)

    values = {"limit": 200, "lease": 30, "owner": "bench", "full_kinds": [], "full_queues": full}
    times = []
    for _ in range(count):
        with world.database.transaction(force_rollback=True):
            world.insert_jobs(TWENTY_DUE)
            [[[plan]]] = world.rows("EXPLAIN (ANALYZE, FORMAT JSON) " + CLAIM, **values)
        times.append(plan["Planning Time"] + plan["Execution Time"])
    return times


CASES = (collections, windows, raw, naive, tls, slow, hanging, lag, idle, verdicts, noops, claims)
