"""Measure the API as in production, rate limits included: `make bench-api`.

The client runs on the same machine and uses a share of it.
"""

import argparse
import asyncio
import json
from functools import partial
from typing import Any

from benchmarks.api.client import cycle, insert, median_of, overload, read, repeat
from benchmarks.report import print_json, print_table
from benchmarks.site import Site, bench_site, cpu_seconds, resident_mb
from seqpulse import gunicorn_config

CONNECTIONS = (1, 8, 32)
NO_LIMIT = {"SEQPULSE_RATE_DEPLOYMENTS": "100000000/m", "SEQPULSE_RATE_API": "100000000/m"}
# Best medians of a reference implementation of this API on a comparable machine.
TARGET_P95_MS = {1: 10, 8: 40, 32: 150}
TARGET_REQ_PER_S = {1: 4 * 64, 8: 4 * 126, 32: 4 * 101}

PLANT = """
INSERT INTO deployments (uuid, number, project_id, environment_id, state, pipeline_result, started_at, finished_at,
    duration_ms, branch, commit_sha, version, author, url, window_samples, interval_s)
SELECT gen_random_uuid(), last_number + n, project.id, environment.id, 'analyzed', 'success',
    now() - n * interval '1 minute', now() - n * interval '1 minute' + interval '30 s', 30000,
    'main', repeat('0', 40), '1.' || n, 'Ada', 'https://ci.example/' || n, 5, 60
FROM (SELECT * FROM projects_project ORDER BY id LIMIT 1) AS project
JOIN projects_environment AS environment ON environment.project_id = project.id, generate_series(1, %s) AS n
"""
VERDICTS = """
INSERT INTO deployment_verdicts (deployment_id, verdict, confidence, conclusive, score, summary, failed_metrics, checks,
    quality, policy, evidence, early, shadow, created_at)
SELECT id, 'ok', 0.97, true, 0.04, repeat('All five metrics are as before. ', 3), '[]',
    jsonb_build_array(jsonb_build_object('sentence', repeat('p95 stayed where it was. ', 40))), '{}', '{}',
    jsonb_build_object('samples', repeat('0', 2000)), false, false, now()
FROM deployments WHERE state = 'analyzed'
"""


def bench_calls(
    site: Site, keys: list[str], *, seconds: float, runs: int, workers: int, floor: bool
) -> list[dict[str, Any]]:
    """Measure trigger and finish (or the floor) with several numbers of connections, their runs interleaved."""
    if floor:
        # The same server with a minimal application.
        server = ("-k", "gthread", "--threads", str(gunicorn_config.threads), "-w", str(workers))
        (port, pid), once, what = site.start_web(*server, "benchmarks.api.floor"), insert, "floor: one bare DRF insert"
    else:
        (port, pid), once, what = site.start_web(WEB_CONCURRENCY=str(workers), **NO_LIMIT), cycle, "trigger+finish"
    asyncio.run(repeat(once, port, keys[:8], seconds=1.0))
    tallies: dict[int, list[Any]] = {number: [] for number in CONNECTIONS}
    used_s = dict.fromkeys(CONNECTIONS, 0.0)
    for _ in range(runs):
        for number in CONNECTIONS:
            before = cpu_seconds(pid)
            tallies[number].append(asyncio.run(repeat(once, port, keys[:number], seconds=seconds)))
            used_s[number] += cpu_seconds(pid) - before
    memory = resident_mb(pid)
    site.stop("web")
    rows = []
    for number in CONNECTIONS:
        figures = median_of(tallies[number])
        # The figure that depends least on other load of the machine.
        cpu_ms = used_s[number] * 1000 / max(1, figures["requests"])
        name = f"{what}, {number} connections, {workers} workers"
        rows.append({"case": name, **figures, "cpu_ms": cpu_ms, "rss_mb": memory})
    return rows


def bench_reads(site: Site, key: str, *, number: int, deployments: int) -> list[dict[str, Any]]:
    """Measure lists and single deployments of a project with many deployments."""
    site.rows(PLANT, deployments)
    site.rows("UPDATE projects_project SET last_number = (SELECT coalesce(max(number), 0) FROM deployments)")
    site.rows(VERDICTS)
    site.rows("ANALYZE")
    middle = "SELECT uuid FROM deployments WHERE state = 'analyzed' ORDER BY id LIMIT 1 OFFSET %s"
    uuid = site.one(middle, deployments // 2)
    port, _ = site.start_web(**NO_LIMIT)
    paths = {
        "list, 25": "/deployments",
        "list, 100": "/deployments?limit=100",
        "list, of one verdict": "/deployments?verdict=warning",
        "detail": f"/deployments/{uuid}",
        "verdict": f"/deployments/{uuid}/verdict",
    }
    rows = []
    for name, path in paths.items():
        once = partial(read, path)
        asyncio.run(repeat(once, port, [key], number=10))
        tally = asyncio.run(repeat(once, port, [key], number=number))
        rows.append({"case": f"{name} ({deployments} deployments)", **tally.figures(), "bytes": tally.body_bytes})
    site.stop("web")
    return rows


def bench_overload(site: Site, keys: list[str], *, req_per_s: float, seconds: float, limited: bool) -> dict[str, Any]:
    """Measure five times the possible load, to be answered with 200, 429 and 503 only."""
    port, _ = site.start_web(**({} if limited else NO_LIMIT))
    tally = asyncio.run(overload(port, keys, per_second=5 * req_per_s, seconds=seconds))
    site.stop("web")
    statuses = {str(status): number for status, number in sorted(tally.statuses.items(), key=str)}
    allowed = {"200", "429", "503", "not sent"}
    return {
        "case": f"5x overload, limits {'as delivered' if limited else 'off'}",
        **tally.figures(),
        "errors": sum(number for status, number in statuses.items() if status not in allowed),
        "statuses": json.dumps(statuses),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-api", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each run")
    parser.add_argument("--runs", type=int, default=3, help="whose median is shown")
    parser.add_argument("--deployments", type=int, default=100_000)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with bench_site(Site) as site:
        from projects.services import create_project  # noqa: PLC0415  (models, which need the settings)

        projects = [
            create_project(f"bench {n}", environment="prod", signed=True, endpoint="http://127.0.0.1:9/metrics")
            for n in range(max(CONNECTIONS))
        ]
        keys = [made.api_key for made in projects]
        how = {"seconds": options.seconds, "runs": options.runs}
        for workers in (1, 2):
            rows += bench_calls(site, keys, workers=workers, floor=False, **how)
        most = max(row["req_per_s"] for row in rows)
        rows += bench_calls(site, keys, workers=2, floor=True, **how)
        rows += bench_reads(site, keys[0], number=200, deployments=options.deployments)
        for limited in (True, False):
            rows.append(bench_overload(site, keys, req_per_s=most, seconds=options.seconds, limited=limited))
    print_table(rows)
    print_json("api", rows, targets={"p95_ms": TARGET_P95_MS, "req_per_s": TARGET_REQ_PER_S})


if __name__ == "__main__":
    main()
