"""Compare retention by partition with deleting rows: seconds, write-ahead log, delayed writers. `make bench-data`.

During each case a writer inserts a sample every few milliseconds, and a reader keeps a transaction on the samples open
for a second at a time, like a long report.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg

from benchmarks.report import percentiles, print_json, print_table
from benchmarks.site import Site, bench_site

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
# Levels of 30 days, written slot by slot as the poller does.
ENVIRONMENTS = 100
LEVELS = f"""
INSERT INTO metric_levels (environment_id, start, samples, requests_per_sec, latency_p95, error_rate, cpu_usage,
    memory_usage)
SELECT number % {ENVIRONMENTS}, date_bin('5 minutes', now(), 'epoch') + number / {ENVIRONMENTS} * interval '5 minutes',
    5, random(), random(), random(), random(), random()
FROM generate_series(0, 30 * 288 * {ENVIRONMENTS} - 1) AS number
"""  # noqa: S608  (a constant of this file)
DETACH = "ALTER TABLE metric_samples DETACH PARTITION {} CONCURRENTLY"
# Case, the day whose partition {} is, and statements. One with LIMIT is repeated until it finds no row.
CASES = (
    ("DELETE, one statement", 1, ["DELETE FROM {}"]),
    ("DELETE, batches of 5000", 2, ["DELETE FROM {0} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {0} LIMIT 5000))"]),
    ("VACUUM after it", 2, ["VACUUM {}"]),
    ("DROP of the partition", 3, ["DROP TABLE {}"]),
    ("DETACH CONCURRENTLY, then DROP", 4, [DETACH, "DROP TABLE {}"]),
)


@contextmanager
def concurrent_load(url: str) -> Iterator[list[float]]:
    """Run a writer and a reader with long transactions. Yields the waits of the writer in ms, as they are measured."""
    ended, waits_ms = threading.Event(), []

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as link:
            while not ended.wait(0.002):
                started = time.perf_counter()
                link.execute(INSERT)
                waits_ms.append((time.perf_counter() - started) * 1000)

    def read() -> None:
        with psycopg.connect(url) as link:
            while not ended.is_set():
                link.execute("SELECT count(*) FROM metric_samples WHERE environment_id = 7 AND phase = 'baseline'")
                ended.wait(1.0)
                link.rollback()

    with ThreadPoolExecutor() as pool:
        workers = [pool.submit(write), pool.submit(read)]
        try:
            time.sleep(0.5)
            yield waits_ms
            time.sleep(0.5)
        finally:
            ended.set()
        for worker in workers:
            worker.result()


def measure(site: Site, name: str, statements: list[str], samples: int) -> dict[str, Any]:
    """Run the statements under load; return seconds, and MB of write-ahead log without those of the writer."""
    with psycopg.connect(site.url, autocommit=True) as link, concurrent_load(site.url) as waits_ms:
        link.execute("CHECKPOINT")
        before, written = site.one("SELECT pg_current_wal_lsn()"), len(waits_ms)
        started = time.perf_counter()
        for statement in statements:
            while link.execute(statement.encode()).rowcount > 0 and "LIMIT" in statement:
                pass
        took_s = time.perf_counter() - started
        log = site.one("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)::float8", before)
        # One inserted sample with its index entries writes about 500 bytes.
        log -= (len(waits_ms) - written) * 500
    return {
        "case": name,
        "samples": samples,
        "seconds": took_s,
        "wal_mb": max(0.0, log / 2**20),
        **percentiles(waits_ms, 50, 99, prefix="insert_"),
        "insert_max_ms": max(waits_ms),
    }


def partition(site: Site, day: int) -> str:
    return str(
        site.one(
            "SELECT 'metric_samples_' || to_char(now() AT TIME ZONE 'UTC' + %s * interval '1 day', 'YYYYMMDD')", day
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-data", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="samples in all, in five days")
    options = parser.parse_args()
    each = options.rows // DAYS
    with bench_site(Site) as site:
        started = time.perf_counter()
        for day in range(1, DAYS + 1):
            site.rows(FILL, day, each)
            print(f"day {day} of {DAYS}: {each} samples", file=sys.stderr)
        site.rows("VACUUM ANALYZE metric_samples")
        rows = [{"case": "fill", "samples": each * DAYS, "seconds": time.perf_counter() - started}]
        for name, day, statements in CASES:
            rows.append(measure(site, name, [text.format(partition(site, day)) for text in statements], each))
        site.rows(LEVELS)
        size_mb = site.one("SELECT pg_total_relation_size('metric_levels') / 2.0 ^ 20")
        rows.append({"case": "levels of 30 days, per environment", "size_mb": float(size_mb) / ENVIRONMENTS})
    print_table(rows)
    print_json("data", rows)


if __name__ == "__main__":
    main()
