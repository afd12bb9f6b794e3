"""The days of metric_samples: one partition each (UTC), made ahead, and dropped as a whole.

There is no default partition: with one, PostgreSQL refuses DETACH CONCURRENTLY, and a plain DETACH holds up every
writer until the last reader is done. Instead whoever writes makes the day that is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import structlog
from django.db import OperationalError, connection, transaction

from scheduler.queue import database_now
from scheduler.recurring import recurring

logger = structlog.get_logger(__name__)

TABLE = "metric_samples"
DAYS_AHEAD = 14
# "metric" in hexadecimal ASCII: the advisory lock of whoever makes partitions.
LOCK = 0x6D6574726963
# How long a detach waits for the transactions that still see the partition; a later run goes on from there.
DETACH_TIMEOUT_S = 60

# What is known to be there, so that a batch of samples costs no question.
_known: set[date] = set()

PARTITIONS = r"""
SELECT child.relname,
    (regexp_match(bound, $$FROM \('([^']+)'\)$$))[1]::timestamptz AS since,
    (regexp_match(bound, $$TO \('([^']+)'\)$$))[1]::timestamptz AS until,
    inhdetachpending
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid,
LATERAL pg_get_expr(child.relpartbound, child.oid) AS bound
WHERE inhparent = 'metric_samples'::regclass
ORDER BY until
"""

# Detached, but not dropped: whoever did it was interrupted.
LEFT_OVER = r"""
SELECT relname FROM pg_class
WHERE relkind = 'r' AND NOT relispartition AND relname ~ '^metric_samples_\d{8}$'
    AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'metric_samples'::regclass)
ORDER BY relname
"""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition and what it holds: samples from `since` (None: whatever is older) until just before `until`.

    detaching: its detach was interrupted; queries do not see it any more.
    """

    name: str
    since: datetime | None
    until: datetime
    detaching: bool = False


def utc_day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def begin_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def name_of(day: date) -> str:
    return f"{TABLE}_{day:%Y%m%d}"


def partitions() -> list[Partition]:
    """All of them, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(PARTITIONS)
        return [Partition(*row) for row in cursor.fetchall()]


def left_over() -> list[str]:
    """Tables that were partitions and wait to be dropped."""
    with connection.cursor() as cursor:
        cursor.execute(LEFT_OVER)
        return [row[0] for row in cursor.fetchall()]


def ensure_days(days: Collection[date]) -> list[str]:
    """Makes the partitions of these days that are missing; returns their names."""
    if _known.issuperset(days):
        return []
    made: list[str] = []
    with transaction.atomic():
        missing = _missing(days)
        if missing:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            # Another process may have been faster.
            made = [_make(day) for day in sorted(_missing(missing))]
        # Not before it is certain: a day made in a transaction that is rolled back is not there.
        transaction.on_commit(lambda: _known.update(days))
    return made


def _missing(days: Collection[date]) -> set[date]:
    found = partitions()
    return {
        day
        for day in days
        if not any((one.since is None or one.since <= begin_of(day)) and begin_of(day) < one.until for one in found)
    }


def _make(day: date) -> str:
    name = name_of(day)
    with connection.cursor() as cursor:
        # Made apart and then attached: CREATE … PARTITION OF would lock out readers and writers of the whole table.
        cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        cursor.execute(
            f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)",
            [begin_of(day), begin_of(day + timedelta(days=1))],
        )
    logger.info("partition_made", partition=name)
    return name


def drop(partition: Partition) -> bool:
    """Detaches the partition without holding up anybody and drops it; outside any transaction.

    False where transactions that still see it have not ended in time: queries do not see it any more, and the next
    call goes on from there.
    """
    how = "FINALIZE" if partition.detaching else "CONCURRENTLY"
    with _patience() as cursor:
        try:
            cursor.execute(f"ALTER TABLE {TABLE} DETACH PARTITION {partition.name} {how}")
        except OperationalError as error:
            logger.warning("partition_still_in_use", partition=partition.name, error=str(error).strip())
            return False
    drop_left_over(partition.name)
    return True


def drop_left_over(name: str) -> None:
    """Drops a table that was a partition."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
    logger.info("partition_dropped", partition=name)


@contextlib.contextmanager
def _patience() -> Iterator[Any]:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = %s", [f"{DETACH_TIMEOUT_S}s"])
        try:
            yield cursor
        finally:
            cursor.execute("RESET lock_timeout")


@recurring("sample_partitions", every_s=6 * 3600)
def make_ahead() -> list[str]:
    """Makes the partitions of the next two weeks; returns the names of the new ones."""
    today = utc_day(database_now())
    return ensure_days({today + timedelta(days=number) for number in range(DAYS_AHEAD + 1)})
