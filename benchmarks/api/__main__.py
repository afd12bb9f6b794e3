"""Measure the API as in production, rate limits included: `make bench-api`.

The client runs on the same machine and uses a share of it.
"""

import argparse
import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import product, zip_longest
from typing import Any

import psutil

from benchmarks.api.client import Once, Tally, cycle, insert, median_of, overload, read, repeat
from benchmarks.report import print_json, print_table
from benchmarks.site import Site, bench_site, cpu_seconds, resident_mb
from seqpulse import gunicorn_config

CONNECTIONS = (1, 8, 32)
NO_LIMIT = {"SEQPULSE_RATE_DEPLOYMENTS": "100000000/m", "SEQPULSE_RATE_API": "100000000/m"}
# As many requests/s as the floor, with no worse p95, and:
TARGET_CPU_MS = 4.5
TARGET_P95_MS = {1: 8, 8: 35, 32: 140}
WARM_UP_S = 3.0
WARM_UP_READS = 40

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


@dataclass(frozen=True, slots=True)
class Server:
    """A web server to be measured. once: what a client repeats; calls: the requests of that."""

    name: str
    port: int
    pid: int
    once: Once


class Meter:
    """CPU seconds of a web server and of PostgreSQL since the last `read`; of PostgreSQL only where it runs here."""

    def __init__(self, site: Site, pid: int) -> None:
        # The embedded server, or another one on this host.
        found = site.one("SELECT pg_backend_pid()")
        local = site.own or "host=localhost" in site.url or "127.0.0.1" in site.url
        self.pids = [pid, *([psutil.Process(found).ppid()] if local else [])]
        self.last = self.seconds()

    def seconds(self) -> list[float]:
        return [cpu_seconds(pid) for pid in self.pids]

    def read(self) -> list[float]:
        last, self.last = self.last, self.seconds()
        return [now - before for now, before in zip(self.last, last, strict=True)]


def bench_calls(site: Site, keys: list[str], *, seconds: float, runs: int, workers: int) -> list[dict[str, Any]]:
    """Measure trigger and finish beside the floor: runs of both, and of each number of connections, take turns."""
    threads = str(gunicorn_config.threads)
    ours = site.start_web(WEB_CONCURRENCY=str(workers), **NO_LIMIT)
    floor = site.start_web(
        "-k", "gthread", "--threads", threads, "-w", str(workers), "benchmarks.api.floor", name="floor"
    )
    servers = [Server("trigger+finish", *ours, cycle), Server("floor: one bare DRF insert", *floor, insert)]
    for server in servers:
        # Also until each connection of the server to PostgreSQL has prepared its statements.
        asyncio.run(repeat(server.once, server.port, keys[:8], seconds=WARM_UP_S))
    tallies: dict[tuple[str, int], list[Tally]] = defaultdict(list)
    used_s: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for _, number, server in product(range(runs), CONNECTIONS, servers):
        meter = Meter(site, server.pid)
        tally = asyncio.run(repeat(server.once, server.port, keys[:number], seconds=seconds))
        tallies[server.name, number].append(tally)
        used_s[server.name, number] = [
            sum(pair) for pair in zip_longest(used_s[server.name, number], meter.read(), fillvalue=0)
        ]
    rows = []
    for number, server in product(CONNECTIONS, servers):
        figures = median_of(tallies[server.name, number])
        web_ms, postgres_ms = (s * 1000 / max(1, figures["requests"]) for s in used_s[server.name, number])
        cpu = {"web_cpu_ms": web_ms, "pg_cpu_ms": postgres_ms, "cpu_ms": web_ms + postgres_ms}
        name = f"{server.name}, {number} connections, {workers} workers"
        rows.append({"case": name, **figures, **cpu, "rss_mb": resident_mb(server.pid)})
    site.stop("web")
    site.stop("floor")
    return rows


def bench_reads(site: Site, key: str, *, number: int, deployments: int) -> list[dict[str, Any]]:
    """Measure lists and single deployments of a project with many deployments."""
    site.rows(PLANT, deployments)
    site.rows("UPDATE projects_project SET last_number = (SELECT coalesce(max(number), 0) FROM deployments)")
    site.rows(VERDICTS)
    site.rows("ANALYZE")
    middle = """SELECT uuid FROM deployments WHERE state = %s
        AND project_id = (SELECT min(id) FROM projects_project) ORDER BY id LIMIT 1 OFFSET %s"""
    uuid = site.one(middle, "analyzed", deployments // 2)
    pending = site.one(middle, "finished", 0)
    port, pid = site.start_web(**NO_LIMIT)
    paths = {
        "list, 25": "/deployments",
        "list, 100": "/deployments?limit=100",
        "list, of one verdict": "/deployments?verdict=warning",
        "detail": f"/deployments/{uuid}",
        "verdict": f"/deployments/{uuid}/verdict",
        "verdict, pending": f"/deployments/{pending}/verdict",
    }
    rows = []
    for name, path in paths.items():
        once = partial(read, path)
        asyncio.run(repeat(once, port, [key], number=WARM_UP_READS))
        meter = Meter(site, pid)
        tally = asyncio.run(repeat(once, port, [key], number=number))
        cpu_ms = sum(meter.read()) * 1000 / number
        case = f"{name} ({deployments} deployments)"
        rows.append({"case": case, **tally.figures(), "cpu_ms": cpu_ms, "bytes": tally.body_bytes})
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
            create_project(
                f"bench {n}", environment="prod", plan="free", signed=True, endpoint="http://127.0.0.1:9/metrics"
            )
            for n in range(max(CONNECTIONS))
        ]
        keys = [made.api_key for made in projects]
        how = {"seconds": options.seconds, "runs": options.runs}
        rows += bench_calls(site, keys, workers=2, **how)
        most = max(row["req_per_s"] for row in rows if not row["case"].startswith("floor"))
        rows += bench_reads(site, keys[0], number=200, deployments=options.deployments)
        for limited in (True, False):
            rows.append(bench_overload(site, keys, req_per_s=most, seconds=options.seconds, limited=limited))
    print_table(rows)
    print_json("api", rows, targets={"p95_ms": TARGET_P95_MS, "cpu_ms": TARGET_CPU_MS})


if __name__ == "__main__":
    main()
