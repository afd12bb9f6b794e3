"""The partitions of metric_samples: one per day (UTC), created ahead, and dropped as a whole.

There is no default partition: with one, PostgreSQL refuses DETACH CONCURRENTLY, and a plain DETACH blocks every writer
until the last reader is done. Instead the writer of a sample creates the day that is missing.
"""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from time import sleep
from typing import Any

import structlog
from django.db import OperationalError, connection, transaction
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from psycopg.errors import LockNotAvailable

from scheduler.queue import database_now
from scheduler.recurring import recurring

logger = structlog.get_logger(__name__)

TABLE = "metric_samples"
DAYS_AHEAD = 14
# "metric" in hexadecimal ASCII: the advisory lock for creating partitions.
LOCK = 0x6D6574726963
# CREATE TABLE … PARTITION OF locks the whole table: behind a long reader it must not block all who come after it.
LOCK_TIMEOUT_S = 1
ATTEMPTS = 5
RETRY_AFTER_S = 2.0
# How long a detach waits for the transactions that still see the partition; a later run continues from there.
DETACH_TIMEOUT_S = 60

# Days known to have a partition, so that a batch of samples costs no query.
_known: set[date] = set()


@receiver(connection_created)
def forget_days(**_: Any) -> None:
    """Forget them with each new connection: it may lead to a server that has lost what it had committed last."""
    _known.clear()


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

# Detached, but not dropped: the run was interrupted in between.
LEFT_OVER = r"""
SELECT relname FROM pg_class
WHERE relkind = 'r' AND NOT relispartition AND relname ~ '^metric_samples_\d{8}$'
    AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'metric_samples'::regclass)
ORDER BY relname
"""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition with the samples from `since` (None: all older ones) until just before `until`.

    detaching: its detach was interrupted; queries no longer see it.
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
    """Return all partitions, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(PARTITIONS)
        return [Partition(*row) for row in cursor.fetchall()]


def left_over() -> list[str]:
    """Return the names of detached partitions that are still to be dropped."""
    with connection.cursor() as cursor:
        cursor.execute(LEFT_OVER)
        return [row[0] for row in cursor.fetchall()]


def ensure_days(days: Collection[date]) -> list[str]:
    """Create the partitions of these days that are missing, within the writer's transaction; return their names."""
    if _known.issuperset(days):
        return []
    with transaction.atomic():
        created = _create(days, attach=True)
        # Only once committed: a partition of a transaction that is rolled back is gone.
        transaction.on_commit(lambda: _known.update(days))
    return created


def _create(days: Collection[date], *, attach: bool) -> list[str]:
    """Create the missing partitions; attach: blocking neither readers nor writers of the whole table."""
    missing = _missing(days)
    if not missing:
        return []
    created = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        # Looked up again under the lock: another process may have been faster.
        for day in sorted(_missing(missing)):
            name, bounds = name_of(day), [begin_of(day), begin_of(day + timedelta(days=1))]
            if attach:
                cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
                cursor.execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)", bounds)
            else:
                cursor.execute(f"CREATE TABLE {name} PARTITION OF {TABLE} FOR VALUES FROM (%s) TO (%s)", bounds)
            logger.info("partition_made", partition=name)
            created.append(name)
    return created


def _missing(days: Collection[date]) -> set[date]:
    found = partitions()
    return {
        day
        for day in days
        if not any((one.since is None or one.since <= begin_of(day)) and begin_of(day) < one.until for one in found)
    }


def drop(partition: Partition) -> bool:
    """Detach the partition without blocking readers or writers and drop it. Call it outside any transaction.

    Returns False where transactions that still see it have not ended in time: queries no longer see it, and the next
    call continues from there.
    """
    how = "FINALIZE" if partition.detaching else "CONCURRENTLY"
    with _lock_timeout() as cursor:
        try:
            cursor.execute(f"ALTER TABLE {TABLE} DETACH PARTITION {partition.name} {how}")
        except OperationalError as error:
            logger.warning("partition_still_in_use", partition=partition.name, error=str(error).strip())
            return False
    drop_left_over(partition.name)
    return True


def drop_left_over(name: str) -> None:
    """Drop a detached partition."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
    logger.info("partition_dropped", partition=name)


@contextlib.contextmanager
def _lock_timeout() -> Iterator[Any]:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = %s", [f"{DETACH_TIMEOUT_S}s"])
        try:
            yield cursor
        finally:
            cursor.execute("RESET lock_timeout")


@recurring("sample_partitions", every_s=6 * 3600)
def make_ahead() -> list[str]:
    """Create the partitions of the next DAYS_AHEAD days, each in a short transaction; return the names of the new ones.

    A day for which the table's lock cannot be had in ATTEMPTS is left to the next run, days before it is needed.
    """
    today = utc_day(database_now())
    created = []
    for day in sorted(_missing({today + timedelta(days=number) for number in range(DAYS_AHEAD + 1)})):
        for attempt in range(ATTEMPTS):
            if attempt:
                sleep(RETRY_AFTER_S)
            try:
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_S}s"])
                    created += _create({day}, attach=False)
                break
            except OperationalError as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
        else:
            logger.warning("partition_postponed", partition=name_of(day))
            return created
    return created
