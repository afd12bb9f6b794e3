"""Import 200 deployments from a Prometheus, beside one after the other: `python -m benchmarks.sources.backfill`.

The Prometheus has a sample a minute of the half hours around each deployment and of the days before it.
"""

import argparse
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.poller.world import World
from benchmarks.report import print_json, print_table
from benchmarks.site import bench_site, cpu_seconds

EXPRESSIONS = {
    "requests_per_sec": 'sum(requests{service="shop"})',
    "latency_p95": 'max(latency{service="shop"})',
    "error_rate": 'avg(errors{service="shop"})',
    "cpu_usage": 'avg(cpu{service="shop"})',
    "memory_usage": 'max(memory{service="shop"})',
}
LEVELS = {"requests": 50.0, "latency": 120.0, "errors": 0.001, "cpu": 0.4, "memory": 0.5}


def past(times: list[datetime]) -> dict[str, dict[float, float]]:
    """Return the series of the minutes that the judge asks for."""
    minutes = {
        (at - timedelta(days=days) + timedelta(minutes=minute)).timestamp()
        for at in times
        for days in (0, 1, 2, 7)
        for minute in range(-40, 30)
    }
    return {
        f'{name}{{service="shop"}}': {at: level * (1 + 0.03 * ((at // 60) % 5)) for at in minutes}
        for name, level in LEVELS.items()
    }


def measure(world: World, url: str, times: list[datetime], at_once: int) -> dict[str, object]:
    """Import the deployments; return seconds and CPU seconds from the list until the last verdict."""
    from analysis import backfill  # noqa: PLC0415  (needs the settings)
    from analysis.deployment_list import Listed  # noqa: PLC0415  (needs the settings)
    from metrics.configuring import add_source  # noqa: PLC0415  (needs the settings)
    from projects.services import create_project  # noqa: PLC0415  (needs the settings)

    environment = create_project(f"shop {at_once}", environment="prod").environment
    add_source(environment, "prometheus", {"url": url, "expressions": EXPRESSIONS})
    pids = world.start_pollers(1, module=("-m", "benchmarks.sources.backfill", "--poller", str(at_once)))
    cpu, begun = sum(map(cpu_seconds, pids)), time.monotonic()
    backfill.add(environment, [Listed(f"v{number}", "", at) for number, at in enumerate(times)])
    done = "SELECT count(*) = %s FROM past_deployments WHERE environment_id = %s AND judged_at IS NOT NULL"
    world.wait_for(done, len(times), environment.pk)
    took = time.monotonic() - begun
    row = {
        "case": f"{at_once} at once",
        "deployments": len(times),
        "seconds": took,
        "per_min": 60 * len(times) / took,
        "cpu_ms_each": 1000 * (sum(map(cpu_seconds, pids)) - cpu) / len(times),
        "conclusive": world.one(
            "SELECT count(*) FROM past_deployments WHERE environment_id = %s AND conclusive", environment.pk
        ),
    }
    world.stop("poller-")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sources.backfill", description=__doc__)
    parser.add_argument("--deployments", type=int, default=200)
    parser.add_argument("--poller", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.poller:
        run_poller(options.poller)
        return
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    times = sorted(
        now - timedelta(days=1 + 80 * n / options.deployments, minutes=7 * n % 600) for n in range(options.deployments)
    )
    with bench_site(World) as world:
        from metrics.tests.prometheus import prometheus_with  # noqa: PLC0415  (needs the settings)

        directory = Path(world.directory) / "prometheus"
        directory.mkdir()
        with prometheus_with(directory, past(times)) as url:
            rows = [measure(world, url, times, at_once) for at_once in (1, 10)]
    print_table(rows)
    print_json("backfill", rows)


def run_poller(at_once: int) -> None:
    """Run a poller whose jobs judge so many deployments each."""
    import django  # noqa: PLC0415

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from analysis import backfill  # noqa: PLC0415

    backfill.AT_ONCE = at_once
    call_command("run_poller")


if __name__ == "__main__":
    main()
