"""Measure samples of many environments from one real Prometheus: batched queries beside one request per metric."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from benchmarks.poller.cases import DONE, PER_S
from benchmarks.poller.world import World
from benchmarks.report import print_json, print_table
from benchmarks.site import bench_site, cpu_seconds, free_ports
from benchmarks.sources.fleet import lines

ENVIRONMENTS = 2000
ROUNDS = 3
# Services whose past the Prometheus knows, as at a trigger it is asked for: minutes before and after now, by days ago.
WITH_PAST = 1000
PAST = {0: (35, -1), 1: (35, 40), 2: (35, 40), 7: (35, 40)}
PAST_STEP_S = 30
SCRAPE_INTERVAL_S = 15
RATE = "[$__rate_interval]"
# Later samples of PRE: each is one reading, without the time before, and no verdict follows.
SAMPLES = """
SELECT 'pre_collect', 'pre', d.id, 1 + n / total, now() + interval '1 second', d.project_id, 'pending'
FROM generate_series(0, %s - 1) AS n, (SELECT count(*) AS total FROM deployments) AS all_of_them,
    (SELECT id, project_id, row_number() OVER (ORDER BY id) - 1 AS place FROM deployments) AS d
WHERE d.place = n %% total
"""
# The first one of a deployment brings the half hour before, and the same minutes of earlier days.
TRIGGERS = SAMPLES.replace("1 + n / total", "0")
ASKED = re.compile(r'prometheus_http_requests_total\{[^}]*handler="/api/v1/query(?:_range)?"[^}]*\} (\S+)')
# A metric that has been stored is one of these (fleet.py).
WRONG = """
SELECT count(*) FROM metric_samples WHERE sequence_index {places}
    AND (requests_per_sec IS NULL OR latency_p95 IS NULL OR error_rate IS NULL OR cpu_usage IS NULL
    OR memory_usage IS NULL OR requests_per_sec NOT BETWEEN 4 AND 60
    OR latency_p95 NOT BETWEEN 250 AND 500 OR error_rate NOT BETWEEN 0.005 AND 0.015)
"""


def expressions(service: int) -> dict[str, str]:
    base, of = "http_request_duration_seconds", f'service="s{service}"'
    count = f"{base}_count{{{of}"
    return {
        "requests_per_sec": f"sum(rate({count}}}{RATE}))",
        "latency_p95": f"1000 * histogram_quantile(0.95, sum by (le) (rate({base}_bucket{{{of}}}{RATE})))",
        "error_rate": f'(sum(rate({count}, status=~"5.."}}{RATE})) or vector(0)) / sum(rate({count}}}{RATE}))',
        "cpu_usage": f"sum(rate(process_cpu_seconds_total{{{of}}}{RATE}))",
        "memory_usage": f"max(memory_share{{{of}}})",
    }


def make_past(world: World, promtool: str) -> None:
    """Write blocks of the past into the storage of the Prometheus, one by one: it reads its input once per block."""
    now, text = time.time(), world.directory / "past.om"
    for days, (before, after) in PAST.items():
        begin = now - days * 86_400 - before * 60
        with text.open("w") as out:
            for step in range((before + after) * 60 // PAST_STEP_S):
                at = f" {begin + step * PAST_STEP_S:.3f}\n"
                page = lines(WITH_PAST, (1 + step) * PAST_STEP_S)
                out.writelines(line + at for line in page if line and not line.startswith("#"))
            out.write("# EOF\n")
        command = [
            promtool,
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            str(text),
            str(world.directory / "prometheus"),
        ]
        subprocess.run(command, check=True, capture_output=True)
    text.unlink()


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str
    pid: int

    @property
    def asked(self) -> float:
        """Return how many queries it has answered."""
        return sum(map(float, ASKED.findall(requests.get(f"{self.url}/metrics", timeout=10).text)))


@contextmanager
def prometheus_of(world: World) -> Iterator["Prometheus"]:
    """Start a Prometheus that scrapes the fleet; yield it once it knows rates."""
    from metrics.tests.prometheus import wait_until_ready  # noqa: PLC0415  (models, which need the settings)
    from tests.system_tools import require  # noqa: PLC0415

    make_past(world, require("promtool"))
    target, port = free_ports(2)
    world.start_server("fleet", target, "-m", "benchmarks.sources.fleet", str(target), str(ENVIRONMENTS))
    scrape = {
        "job_name": "fleet",
        "honor_labels": True,
        "scrape_interval": f"{SCRAPE_INTERVAL_S}s",
        "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
    }
    (world.directory / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
    with (world.directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                require("prometheus"),
                f"--config.file={world.directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={world.directory / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url)
        # Five scrapes: the range of a rate is a minute.
        time.sleep(5 * SCRAPE_INTERVAL_S)
        yield Prometheus(url, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def plant(world: World, url: str) -> None:
    """Insert environments with a Prometheus each, and a deployment of each."""
    from metrics.configuring import stored_form  # noqa: PLC0415  (models, which need the settings)
    from metrics.models import Source  # noqa: PLC0415
    from metrics.sources.prometheus import PrometheusConfig  # noqa: PLC0415
    from projects.models import Environment  # noqa: PLC0415

    world.plant_environments([url], ENVIRONMENTS)
    planted = Environment.objects.filter(deployments__isnull=False).order_by("pk")
    configs = (
        PrometheusConfig(url=url, expressions=expressions(n), timeout_s=20, scrape_interval_s=SCRAPE_INTERVAL_S)
        for n in range(ENVIRONMENTS)
    )
    Source.objects.bulk_create(
        Source(environment=environment, kind="prometheus", config=stored_form(config))
        for environment, config in zip(planted, configs, strict=True)
    )
    planted.update(source_kinds=["prometheus"])


def measured(
    world: World, server: Prometheus, name: str, jobs: str, *, count: int, module: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the figures of one poller with so many samples due at once."""

    def used() -> tuple[float, ...]:
        return cpu_seconds(server.pid), cpu_seconds(poller), world.postgres_cpu_s(), server.asked

    world.rows("TRUNCATE scheduled_jobs, metric_samples, sample_places")
    [poller] = world.start_pollers(1, module=module or ("manage.py", "run_poller"))
    before = used()
    world.insert_jobs(jobs, count)
    world.wait_for(DONE)
    server_s, poller_s, postgres_s, queries = (now - then for now, then in zip(used(), before, strict=True))
    world.stop("poller-")
    places = "= 0" if jobs is TRIGGERS else "> 0"
    if wrong := world.one(WRONG.format(places=places)):
        raise RuntimeError(f"{wrong} samples are not what the fleet does")
    stored = world.one(f"SELECT count(*) FROM metric_samples WHERE sequence_index {places}")  # noqa: S608
    per_s = world.one(PER_S, "pre_collect")
    found = {
        "questions": name,
        "samples": count,
        "samples/s": per_s,
        "queries/s": per_s * queries / count,
        "queries/sample": queries / count,
        "prometheus_ms": 1000 * server_s / count,
        "poller_ms": 1000 * poller_s / count,
        "postgres_ms": 1000 * postgres_s / count,
        "retried": world.one("SELECT count(*) FROM scheduled_jobs WHERE retry_count > 0"),
        "lost": count - stored,
    }
    if jobs is TRIGGERS:
        past, levels = "metric_samples WHERE sequence_index > 0", "metric_levels"
        found["samples before"], found["levels"] = (
            world.one(f"SELECT count(*) FROM {rows}") / count  # noqa: S608
            for rows in (past, levels)
        )
    return found


def main() -> None:
    one_by_one = ("-m", "benchmarks.sources.one_by_one")
    count = ROUNDS * ENVIRONMENTS
    with bench_site(World) as world, prometheus_of(world) as server:
        plant(world, server.url)
        idle_s, begun = cpu_seconds(server.pid), time.monotonic()
        time.sleep(2 * SCRAPE_INTERVAL_S)
        idle = (cpu_seconds(server.pid) - idle_s) / (time.monotonic() - begun)
        rows = [
            measured(world, server, "batched", SAMPLES, count=count),
            measured(world, server, "one per metric", SAMPLES, count=count, module=one_by_one),
            measured(world, server, "at trigger, with the past", TRIGGERS, count=WITH_PAST),
        ]
    print_table(rows)
    print(f"CPU of the Prometheus for scraping alone: {idle:.1%} of a core")
    print_json("sources.load", rows, environments=ENVIRONMENTS, scraping_share=idle)


if __name__ == "__main__":
    main()
