"""Measure each page of the dashboard with 100,000 deployments in 60 projects: `make bench-pages`.

Times cover the whole request without network: middleware, queries, template. The list of deployments is compared with
the usual alternative on the same data: pages by OFFSET, search by ILIKE, totals by count(*).
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connection
from django.test import override_settings

from benchmarks.report import percentile, print_json, print_table
from benchmarks.site import Site, bench_site

# Follow so many cursors into the list and measure the last page.
DEEP_PAGES = 40
# Target for pages of the list.
TARGET_MS = 100


# DEBUG serves static files without collecting them; its cost is not measured.
ENVIRONMENT = {"SEQPULSE_RATE_LIMITS": "off", "LOG_LEVEL": "error", "DEBUG": "on"}


def measure(name: str, work: Callable[[], Any], repetitions: int) -> dict[str, Any]:
    """Return median and 95th percentile of the wall-clock time, and the median CPU time, in ms.

    CPU time does not depend on other load of the machine. The first run fills caches and does not count.
    """
    work()
    taken: list[float] = []
    worked: list[float] = []
    for _ in range(repetitions):
        started, busy = time.perf_counter(), processor_ms()
        work()
        taken.append((time.perf_counter() - started) * 1000)
        worked.append(processor_ms() - busy)
    return {
        "case": name,
        "median_ms": percentile(taken, 0.5),
        "p95_ms": percentile(taken, 0.95),
        "processor_ms": percentile(worked, 0.5),
    }


def processor_ms() -> float:
    """Return the CPU time in ms of this process and its PostgreSQL backend (of the backend on Linux only)."""
    connection.ensure_connection()
    scheduled = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    theirs = int(scheduled.read_text().split()[0]) / 1e6 if scheduled.exists() else 0.0
    return time.process_time() * 1000 + theirs


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-pages", description=__doc__)
    parser.add_argument("--deployments", type=int, default=100_000)
    parser.add_argument("--projects", type=int, default=60)
    parser.add_argument("--repetitions", type=int, default=20)
    options = parser.parse_args()
    with bench_site(Site, **ENVIRONMENT) as site, override_settings(DEBUG=False, ALLOWED_HOSTS=["testserver"]):
        from benchmarks.pages import cases, world  # noqa: PLC0415  (models, which need the settings)

        started = time.perf_counter()
        world.fill(site, deployments=options.deployments, projects=options.projects)
        print(f"filled in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        rows = [measure(name, work, options.repetitions) for name, work in cases.pages(DEEP_PAGES)]
        rows += [measure(name, work, 2) for name, work in cases.files()]
    print_table(rows)
    lists = [row for row in rows if row["case"].startswith("page: deployments")]
    within = {name: sum(float(row[name]) < TARGET_MS for row in lists) for name in ("median_ms", "processor_ms")}
    print(
        f"pages of the list under {TARGET_MS} ms, of {len(lists)}: {within['median_ms']} by wall clock (median), "
        f"{within['processor_ms']} by CPU time"
    )
    slowest = max((row for row in rows if row["case"].startswith("page")), key=lambda row: float(row["p95_ms"]))
    print(f"slowest page: {slowest['case']}, p95 {slowest['p95_ms']:.0f} ms")
    facts = {"deployments": options.deployments, "projects": options.projects, "within_target": within}
    print_json("pages", rows, **facts, slowest_page_p95_ms=slowest["p95_ms"])


if __name__ == "__main__":
    main()
