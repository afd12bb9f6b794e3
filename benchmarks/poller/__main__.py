"""Print a table, then one JSON object: `python -m benchmarks.poller [--quick] [--only NAME …] [--rival PYTHON]`."""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.poller import cases
from benchmarks.poller.world import World
from benchmarks.site import ROOT, bench_site

# Figure: description, direction of its target (">=" or "<="), target.
ROWS: dict[str, tuple[str, str, float | None]] = {
    "collections_per_s_1": ("collections/s, one poller, 50 ms endpoints", ">=", None),
    "collections_per_s_2": ("collections/s, two pollers", ">=", 4000),
    "collection_cpu_ms": ("CPU per collection, two pollers, ms", "<=", 0.5),
    "poller_cpu_ms": ("  of the pollers", "<=", None),
    "postgres_cpu_ms": ("  of PostgreSQL", "<=", None),
    "libcurl_cpu_ms": ("  of libcurl alone, the same requests", "<=", None),
    "cpu_times_libcurl": ("  times libcurl alone", "<=", None),
    "libcurl_per_s": ("requests/s of libcurl alone, 50 ms endpoints, 500 at once", ">=", None),
    "window_samples_per_s": ("samples/s of whole windows, early analyses, verdicts", ">=", None),
    "windows_per_s": ("  verdicts/s", ">=", None),
    "looks": ("  early analyses", ">=", None),
    "raw_requests_per_s": ("requests/s of libcurl alone: bound of the machine", ">=", None),
    "naive_collections_per_s": ("collections/s, requests, one row at a time, 32 threads", ">=", None),
    "tls_collections_per_s": ("collections/s over fresh TLS, two pollers", ">=", 500),
    "slow_completed_share": ("2 s endpoints at 400/s: share completed", ">=", 1.0),
    "slow_start_lag_p99_ms": ("2 s endpoints at 400/s: start lag p99, ms", "<=", 250),
    "control_start_lag_p99_ms": ("500 healthy endpoints: start lag p99, ms", "<=", None),
    "hanging_start_lag_p99_ms": ("  beside 300 hanging ones", "<=", 1000),
    "lag_100_per_s_p50_ms": ("start lag at 100 due/s, p50, ms", "<=", 50),
    "lag_100_per_s_p99_ms": ("start lag at 100 due/s, p99, ms", "<=", 250),
    "due_now_p50_ms": ("due now, idle system, p50, ms", "<=", None),
    "due_now_p99_ms": ("due now, idle system, p99, ms", "<=", 50),
    "idle_cpu_percent": ("idle poller, % of a core", "<=", 0.5),
    "idle_queries_per_interval": ("idle poller, queries per fallback interval", "<=", 1.05),
    "idle_installation_cpu_percent": ("  with recurring jobs, % of a core", "<=", None),
    "claim_p50_ms": ("claim in the large table, p50, ms", "<=", None),
    "claim_p99_ms": ("claim in the large table, p99, ms", "<=", 5),
    "claim_executed_p50_ms": ("  planned and executed (EXPLAIN ANALYZE), p50, ms", "<=", None),
    "claim_executed_p99_ms": ("  planned and executed, p99, ms", "<=", 5),
    "claim_past_5000_p50_ms": ("claim past 5,000 due of a full project, p50, ms", "<=", None),
    "claim_past_5000_p99_ms": ("claim past 5,000 due of a full project, p99, ms", "<=", None),
    "claim_past_5000_executed_p50_ms": ("  planned and executed, p50, ms", "<=", None),
    "claim_past_5000_executed_p99_ms": ("  planned and executed, p99, ms", "<=", None),
    "verdict_p99_s": ("200 last samples at once: until the verdict, p99, s", "<=", 2),
    "verdict_max_s": ("  until all verdicts can be read, s", "<=", 2),
    "last_samples_within_s": ("  (those samples arrived within, s)", "<=", None),
    "noop_per_s": ("no-op jobs/s, one poller", ">=", None),
    "procrastinate_noop_per_s": ("no-op jobs/s, procrastinate", ">=", None),
    "noop_times_procrastinate": ("  times procrastinate", ">=", 10),
    "rss_mb": ("memory of a poller at full load, MB", "<=", 200),
    "slow_rss_mb": ("memory of a poller, 400 requests open, MB", "<=", 200),
    "tls_rss_mb": ("memory of a poller, TLS, MB", "<=", 200),
}


def verdict(kind: str, target: float | None, value: float) -> str:
    if target is None:
        return ""
    met = value >= target if kind == ">=" else value <= target
    return f"{kind} {target:g} {'met' if met else 'MISSED'}"


def main() -> int:
    """Run the benchmark. The exit code is 0 whatever the figures are: they need interpretation."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poller", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute instead of five; less precise")
    names = [run.__name__ for run in cases.CASES]
    parser.add_argument("--only", nargs="*", default=names, help=" ".join(names))
    parser.add_argument("--rival", type=Path, default=ROOT / ".venv-bench/bin/python", help="Python with procrastinate")
    options = parser.parse_args()
    size = cases.Size(options.rival, *(cases.QUICK if options.quick else ()))
    figures: cases.Figures = {}
    with bench_site(World) as world:
        for run in cases.CASES:
            if run.__name__ in options.only:
                begun = time.monotonic()
                figures |= run(world, size)
                world.finish()
                print(f"{run.__name__}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    for name, (words, kind, target) in ROWS.items():
        value = figures.get(name)
        if value is not None:
            print(f"{words:<58} {value:>12,.2f}   {verdict(kind, target, value)}")
        elif name in figures:
            print(f"{words:<58} {'not installed':>12}")
    print(json.dumps({name: None if value is None else round(value, 3) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
