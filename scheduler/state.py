"""Read the state of queue and pollers from the database, and whether it can be written: for health and /metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from django.db import DatabaseError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.migrations.loader import MigrationLoader

from common.database_state import DatabaseState, found_full, state_of
from scheduler.models import HEARTBEAT_STALE_AFTER
from scheduler.registry import external_kinds

STALE_AFTER_S = HEARTBEAT_STALE_AFTER.total_seconds()
# A job not started this long after its due time is late; pollers start jobs within 1 s (p99).
LATE_AFTER_S = 2.0
# Jobs with an expired lease are taken over within seconds; if not, pollers cannot work.
STUCK_AFTER_S = 60.0
# A poller that stopped has no row; a killed one is reported for so long.
HOSTS_FOR_S = 900.0
HEALTH_TIMEOUT_MS = 2000
GAUGES_TIMEOUT_MS = 5000

QUEUE = """
SELECT (SELECT count(*) FROM scheduled_jobs
        WHERE status = 'pending' AND scheduled_at < now() - %(late)s * interval '1 s'),
    (SELECT greatest(0, extract(epoch FROM now() - min(scheduled_at)))::float8 FROM scheduled_jobs
        WHERE status = 'pending'),
    (SELECT count(*) FROM scheduled_jobs
        WHERE status = 'running' AND locked_until < now() - %(stuck)s * interval '1 s'),
    (SELECT count(*) FROM scheduled_jobs WHERE status = 'failed' AND finished_at > now() - interval '1 hour'
        AND job_type <> ALL(%(external)s::text[])),
    (SELECT count(*) FROM scheduled_jobs WHERE status = 'pending')
"""
# A connected poller holds the advisory lock of its name (scheduler/listener.py), also where it is frozen.
POLLERS = """
WITH lock AS MATERIALIZED (SELECT (classid::bigint << 32) | objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
SELECT name, host, pid, started_at, heartbeat_at, extract(epoch FROM now() - heartbeat_at)::float8,
    (SELECT count(*) FROM scheduled_jobs WHERE status = 'running' AND locked_by = name),
    EXISTS (SELECT 1 FROM lock WHERE key = hashtextextended(name, 0)), clock_ahead_s
FROM pollers ORDER BY heartbeat_at DESC, name
"""
# What a poller writes at its start, with 256 KB that exceed the memory allowed for it: they go to a file on the disk of
# the tables. Nothing is left behind: the transaction is rolled back. Rows that find room in pages that exist can be
# written on a full disk too, so a row alone would prove nothing.
PROBE = """
WITH filler AS MATERIALIZED (SELECT repeat('x', 8000) AS page FROM generate_series(1, 32))
INSERT INTO pollers (name, host, pid, started_at, heartbeat_at, session_locked)
SELECT 'probe-' || gen_random_uuid(), '', count(page), now(), now(), false FROM filler
"""
# OR, not IN: each half uses its partial index (jobs_due, jobs_running), however many jobs have ended.
GAUGES = """
SELECT (SELECT count(*) FROM scheduled_jobs WHERE status = 'running'),
    (SELECT count(*) FROM scheduled_jobs WHERE (status = 'pending' OR status = 'running') AND job_type = %(kind)s
        AND (scheduled_at < now() - %(within)s * interval '1 s' OR retry_count > 0)),
    (SELECT setting::int FROM pg_settings WHERE name = 'max_connections')
"""
PENDING = "SELECT job_type, count(*) FROM scheduled_jobs WHERE status = 'pending' GROUP BY job_type"
OLDEST_DUE = """
SELECT id, job_type, extract(epoch FROM now() - scheduled_at)::float8 FROM scheduled_jobs
WHERE status = 'pending' AND scheduled_at <= now() ORDER BY scheduled_at, id LIMIT 1
"""
CONNECTIONS = """
SELECT coalesce(state, 'other'), count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1
"""
PARAMETERS = {"late": LATE_AFTER_S, "stuck": STUCK_AFTER_S}


@dataclass(frozen=True, slots=True)
class PollerState:
    """A poller. age_s: seconds since its last heartbeat, by the database's clock.

    connected: its connection to the database is open; clock_ahead_s: of the database's clock, at the last heartbeat.
    """

    name: str
    host: str
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    age_s: float
    running: int
    connected: bool = False
    clock_ahead_s: float | None = None

    @property
    def fresh(self) -> bool:
        return self.age_s < STALE_AFTER_S

    @property
    def frozen(self) -> bool:
        return self.connected and not self.fresh


@dataclass(frozen=True, slots=True)
class DueJob:
    """A due job; waits_s: seconds since it became due."""

    id: int
    job_type: str
    waits_s: float


@dataclass(frozen=True, slots=True)
class Queue:
    """State of the queue.

    late: jobs due for LATE_AFTER_S or more; lag_s: seconds since the oldest due one became due; stuck: running with a
    lease that ran out STUCK_AFTER_S ago; failed: within the last hour, without the kinds that call what users operate;
    pending: all pending jobs, due or not.
    """

    late: int
    lag_s: float
    stuck: int
    failed: int
    pending: int


@dataclass(frozen=True, slots=True)
class Gauges:
    """Current values.

    overdue: open jobs of a given kind that are late or were retried; pending: by job type; connections: of the whole
    database server, by state.
    """

    queue: Queue
    pollers: list[PollerState]
    running: int
    overdue: int
    max_connections: int
    pending: dict[str, int] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)


@contextmanager
def bounded(milliseconds: int) -> Iterator[CursorWrapper]:
    """Yield a cursor with a statement timeout.

    Raises: OperationalError when it is exceeded.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
        yield cursor


def read_queue(cursor: CursorWrapper) -> Queue:
    cursor.execute(QUEUE, {**PARAMETERS, "external": external_kinds()})
    return Queue(*cursor.fetchone())


def read_pollers(cursor: CursorWrapper) -> list[PollerState]:
    cursor.execute(POLLERS)
    return [PollerState(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Seen:
    """What health is derived from. missing: migrations of this version that the database does not have, and then
    nothing else is known; unwritable: why the database cannot be written, None: it can; clock_ahead_s: of this process.
    """

    missing: list[str]
    queue: Queue = field(default_factory=lambda: Queue(0, 0.0, 0, 0, 0))
    pollers: list[PollerState] = field(default_factory=list)
    clock_ahead_s: float = 0.0
    unwritable: DatabaseState | None = None


def read_health() -> Seen:
    """Read what health is derived from, and try to write.

    Raises: DatabaseError or InterfaceError if the database does not answer in time.
    """
    with bounded(HEALTH_TIMEOUT_MS) as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        missing = known_migrations().difference(cursor.fetchall())
        if missing:
            return Seen(sorted(f"{app}.{name}" for app, name in missing))
        queue, pollers, ahead_s = read_queue(cursor), read_pollers(cursor), clock_ahead(cursor)
    return Seen([], queue, pollers, ahead_s, write_refused())


def clock_ahead(cursor: CursorWrapper) -> float:
    """Return by how many seconds this machine's clock is at least ahead of the database's; negative: behind."""
    asked = time.time()
    cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
    theirs: float = cursor.fetchone()[0]
    answered = time.time()
    # Their clock was read at some time in between.
    return max(asked - theirs, 0.0) + min(answered - theirs, 0.0)


def write_refused() -> DatabaseState | None:
    """Try to write; return why the database cannot be written, None: it can.

    Raises: DatabaseError if the database is away.
    """
    try:
        with bounded(HEALTH_TIMEOUT_MS) as cursor:
            cursor.execute("SET LOCAL work_mem = '64kB'; SET LOCAL temp_tablespaces = ''")
            cursor.execute(PROBE)
            transaction.set_rollback(True)
    except DatabaseError as error:
        state = state_of(error)
        if state in (None, DatabaseState.AWAY):
            raise
        return state
    # A request may have found it full that needed more room.
    return DatabaseState.FULL if found_full() else None


def read_oldest_due(cursor: CursorWrapper) -> DueJob | None:
    """Return the job that has waited longest."""
    cursor.execute(OLDEST_DUE)
    row = cursor.fetchone()
    return DueJob(*row) if row is not None else None


def read_gauges(kind: str, within_s: float) -> Gauges:
    """Read the gauges; jobs of `kind` count as overdue where they are not done within_s seconds after their time."""
    with bounded(GAUGES_TIMEOUT_MS) as cursor:
        queue, pollers = read_queue(cursor), read_pollers(cursor)
        cursor.execute(GAUGES, {"kind": kind, "within": within_s})
        running, overdue, allowed = cursor.fetchone()
        cursor.execute(PENDING)
        pending = dict(cursor.fetchall())
        cursor.execute(CONNECTIONS)
        return Gauges(queue, pollers, running, overdue, allowed, pending, dict(cursor.fetchall()))


@lru_cache(maxsize=1)
def known_migrations() -> frozenset[tuple[str, str]]:
    """Return the migrations of this version, read from its files once."""
    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    return frozenset(loader.disk_migrations)
