"""Compare retention by partition with deleting rows: seconds, write-ahead log, delayed writers. `make bench-data`.

During each case a writer inserts a sample every few milliseconds, and a reader keeps a transaction on the samples open
for a second at a time, like a long report.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from benchmarks.site import Site, bench_site, print_table

DAYS = 5
COLUMNS = (
    "environment_id, phase, sequence_index, requests_per_sec, latency_p95, error_rate, cpu_usage, memory_usage,"
    " collected_at"
)
# The samples of a day: one per minute and environment, with as many environments as needed.
FILL = f"""
INSERT INTO metric_samples ({COLUMNS})
SELECT number / 1440, 'baseline', 0, 40 + random(), 120 + random(), 0.001 * random(), random(), random(),
    date_trunc('day', now(), 'UTC') + %s * interval '1 day' + (number %% 1440) * interval '1 minute'
FROM generate_series(0, %s - 1) AS number
"""  # noqa: S608
INSERT = f"""
INSERT INTO metric_samples ({COLUMNS})
VALUES (1, 'baseline', 0, 1, 1, 0, 0, 0, date_trunc('day', now(), 'UTC') + interval '14 days')
"""  # noqa: S608
BATCH = 5000


class ConcurrentLoad:
    """A writer whose waits are measured, and a reader with long transactions."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ended = threading.Event()
        self.waits_ms: list[float] = []

    def __enter__(self) -> ConcurrentLoad:
        self.threads = [threading.Thread(target=work) for work in (self._write, self._read)]
        for thread in self.threads:
            thread.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *exception: object) -> None:
        time.sleep(0.5)
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def _write(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as link:
            while not self.ended.wait(0.002):
                started = time.perf_counter()
                link.execute(INSERT)
                self.waits_ms.append((time.perf_counter() - started) * 1000)

    def _read(self) -> None:
        with psycopg.connect(self.url) as link:
            while not self.ended.is_set():
                link.execute("SELECT count(*) FROM metric_samples WHERE environment_id = 7 AND phase = 'baseline'")
                self.ended.wait(1.0)
                link.rollback()

    def figures(self) -> dict[str, Any]:
        ordered = sorted(self.waits_ms)
        return {
            "insert_p50_ms": ordered[len(ordered) // 2],
            "insert_p99_ms": ordered[int(len(ordered) * 0.99)],
            "insert_max_ms": ordered[-1],
        }


def measure(site: Site, name: str, work: Callable[[psycopg.Connection[Any]], None], samples: int) -> dict[str, Any]:
    """Run the work under concurrent load; return seconds, and MB of write-ahead log without those of the writer."""
    with psycopg.connect(site.url, autocommit=True) as link, ConcurrentLoad(site.url) as load:
        link.execute("CHECKPOINT")
        [(before,)] = site.rows("SELECT pg_current_wal_lsn()")
        written = len(load.waits_ms)
        started = time.perf_counter()
        work(link)
        took_s = time.perf_counter() - started
        [(log,)] = site.rows("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)::float8", before)
        # One inserted sample with its index entries writes about 500 bytes.
        log -= (len(load.waits_ms) - written) * 500
    return {
        "case": name,
        "samples": samples,
        "seconds": took_s,
        "wal_mb": max(0.0, log / 2**20),
        **load.figures(),
    }


def partition(site: Site, day: int) -> str:
    [(name,)] = site.rows(
        "SELECT 'metric_samples_' || to_char(date_trunc('day', now(), 'UTC') + %s * interval '1 day', 'YYYYMMDD')", day
    )
    return str(name)


def cases(site: Site, samples: int) -> list[dict[str, Any]]:
    """Measure all cases; each removes another day."""
    names = {day: partition(site, day) for day in range(1, DAYS + 1)}

    def delete(link: psycopg.Connection[Any]) -> None:
        link.execute(f"DELETE FROM {names[1]}".encode())  # noqa: S608

    def delete_in_batches(link: psycopg.Connection[Any]) -> None:
        batch = f"DELETE FROM {names[2]} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {names[2]} LIMIT {BATCH}))"  # noqa: S608
        while link.execute(batch.encode()).rowcount:
            pass

    def vacuum(link: psycopg.Connection[Any]) -> None:
        link.execute(f"VACUUM {names[2]}".encode())

    def drop(link: psycopg.Connection[Any]) -> None:
        link.execute(f"DROP TABLE {names[3]}".encode())

    def detach_and_drop(link: psycopg.Connection[Any]) -> None:
        link.execute(f"ALTER TABLE metric_samples DETACH PARTITION {names[4]} CONCURRENTLY".encode())
        link.execute(f"DROP TABLE {names[4]}".encode())

    return [
        measure(site, "DELETE, one statement", delete, samples),
        measure(site, f"DELETE, batches of {BATCH}", delete_in_batches, samples),
        measure(site, "VACUUM after it", vacuum, samples),
        measure(site, "DROP of the partition", drop, samples),
        measure(site, "DETACH CONCURRENTLY, then DROP", detach_and_drop, samples),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-data", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="samples in all, in five days")
    options = parser.parse_args()
    each = options.rows // DAYS
    with bench_site() as site:
        started = time.perf_counter()
        for day in range(1, DAYS + 1):
            site.rows(FILL, day, each)
            print(f"day {day} of {DAYS}: {each} samples", file=sys.stderr)
        site.rows("VACUUM ANALYZE metric_samples")
        fill = {"case": "fill", "samples": each * DAYS, "seconds": time.perf_counter() - started}
        rows = [fill, *cases(site, each)]
    print_table(rows)
    print(json.dumps({"bench": "data", "cpus": os.cpu_count(), "load_1m": os.getloadavg()[0], "rows": rows}))


if __name__ == "__main__":
    main()
