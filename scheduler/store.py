"""Operations of a poller on the job table: claim, complete, fail, renew, recover. SQL, for thousands of jobs a second.

All times use the database's clock: a poller's may be wrong. Each function is one transaction.
"""

import contextlib
import json
import math
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from common import totals
from common.arrays import array, epoch
from common.database import prepared
from common.strict_json import InvalidJSON, read_json
from explain.facts import Fact
from scheduler.counting import count_retries, count_runs
from scheduler.fair_share import ClaimLimits
from scheduler.queue import EXPIRED_CODE, EXPIRED_FACT, EXPIRED_TEXT, announce_ended, notify
from scheduler.registry import Ended, Job, completed, ended_columns, grouped, kind_of
from scheduler.tracing import Names, names_of
from scheduler.words import stored

# Claimable jobs; scheduler/fair_share.py decides which kinds and tenant queues are full.
CLAIMABLE = """status = 'pending' AND job_type <> ALL(%(full_kinds)s)
        AND coalesce(job_type || ':' || fair_key, '') <> ALL(%(full_queues)s)"""

# Rows are found again by their place (ctid), which cannot change while they are locked. One that changed just before
# that is left for the next claim. The claim does not wait for the disk (synchronous_commit): if the server crashes
# right after it, the job is pending as before, and is claimed again.
CLAIM = f"""
WITH due AS (
    SELECT ctid FROM scheduled_jobs
    WHERE {CLAIMABLE} AND scheduled_at <= now()
    ORDER BY scheduled_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
UPDATE scheduled_jobs AS job SET
    status = CASE WHEN expires_at <= now() THEN 'expired' ELSE 'running' END,
    locked_by = CASE WHEN expires_at <= now() THEN '' ELSE %(owner)s END,
    locked_until = CASE WHEN expires_at <= now() THEN NULL ELSE now() + %(lease)s * interval '1 second' END,
    started_at = CASE WHEN expires_at <= now() THEN started_at ELSE now() END,
    finished_at = CASE WHEN expires_at <= now() THEN now() END,
    error_code = CASE WHEN expires_at <= now() THEN {EXPIRED_CODE} ELSE error_code END,
    last_error = CASE WHEN expires_at <= now() THEN {EXPIRED_TEXT} ELSE last_error END,
    error_fact = CASE WHEN expires_at <= now() THEN {EXPIRED_FACT} ELSE error_fact END
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS no_wait
WHERE job.ctid = ANY(ARRAY(SELECT ctid FROM due))
RETURNING {ended_columns("job")}, job.phase, {epoch("job.scheduled_at")}, {epoch("job.expires_at")},
    {epoch("now()")}, job.retry_count, job.job_metadata
"""

# Two ranges instead of <>, so that the index on locked_by is used, however many jobs are our own.
SNAPSHOT = f"""
(SELECT extract(epoch FROM scheduled_at - now())::float8 FROM scheduled_jobs WHERE {CLAIMABLE}
    ORDER BY scheduled_at, id LIMIT 1),
EXISTS (SELECT 1 FROM scheduled_jobs WHERE status = 'running' AND locked_by < %(owner)s)
    OR EXISTS (SELECT 1 FROM scheduled_jobs WHERE status = 'running' AND locked_by > %(owner)s)
"""

# The runs that a poller holds, by job and time of the claim: the table may know of an earlier claim of ours.
RUNS = "SELECT * FROM unnest(%(held)s::bigint[], %(since)s::timestamptz[]) AS held(held_id, since)"
UNKNOWN = """locked_by = %(owner)s AND status = 'running'
    AND NOT EXISTS (SELECT 1 FROM held WHERE held_id = id AND since = started_at)"""

# One statement, so that an idle poller sends one query per fallback interval.
HEARTBEAT = f"""
WITH heartbeat AS (UPDATE pollers SET heartbeat_at = now(),
        clock_ahead_s = %(clock)s - extract(epoch FROM clock_timestamp()) WHERE name = %(owner)s RETURNING 1),
held AS MATERIALIZED ({RUNS}),
renewed AS (UPDATE scheduled_jobs SET locked_until = now() + %(lease)s * interval '1 second' FROM held
    WHERE locked_by = %(owner)s AND status = 'running' AND id = held_id AND started_at = since RETURNING 1)
SELECT {SNAPSHOT}, EXISTS (SELECT 1 FROM heartbeat), EXISTS (SELECT 1 FROM scheduled_jobs WHERE {UNKNOWN})
"""

RELEASE = f"""
WITH held AS MATERIALIZED ({RUNS})
UPDATE scheduled_jobs SET status = 'pending', locked_by = '', locked_until = NULL, started_at = NULL WHERE {UNKNOWN}
"""

# Pollers with running jobs that are provably gone: the lock that they hold while connected is free. Right after a start
# of the server no poller has its lock yet.
GONE = """
SELECT name FROM pollers WHERE session_locked AND name <> %s
    AND name IN (SELECT locked_by FROM scheduled_jobs WHERE status = 'running')
    AND now() > pg_postmaster_start_time() + interval '5 seconds'
    AND pg_try_advisory_xact_lock(hashtextextended(name, 0))
"""

# started_at is compared as well: after a lost answer, the same poller may have claimed the same job a second time.
COMPLETE = """
UPDATE scheduled_jobs AS job SET status = 'completed', finished_at = now(), locked_by = '', locked_until = NULL,
    last_error = '', error_code = '', error_fact = NULL
FROM unnest(%(ids)s::bigint[], %(stamps)s::timestamptz[]) AS done(done_id, since)
WHERE job.id = done_id AND started_at = since AND locked_by = %(owner)s AND status = 'running' RETURNING job.id
"""


def with_entry(event: str, code: str, error: str, fact: str) -> str:
    """Return SQL for the job's history with another entry, limited to ten. Arguments: SQL expressions."""
    # Values written by hand must not prevent jobs from being ended or recovered.
    return (
        "CASE WHEN jsonb_typeof(job.history) IS DISTINCT FROM 'array' THEN '[]'"
        " WHEN jsonb_array_length(job.history) >= 10 THEN job.history - 0 ELSE job.history END"
        f" || jsonb_build_array(jsonb_build_object('at', now(), 'event', {event}, 'code', {code},"
        f" 'error', left({error}, 500), 'fact', {fact}, 'poller', job.locked_by))"
    )


FAIL = f"""
UPDATE scheduled_jobs AS job SET
    status = CASE WHEN again THEN 'pending' ELSE 'failed' END,
    retry_count = retry_count + again::int,
    scheduled_at = CASE WHEN again THEN now() + delay * interval '1 second' ELSE scheduled_at END,
    finished_at = CASE WHEN again THEN NULL ELSE now() END,
    last_error = message, error_code = code, error_fact = fact, locked_by = '', locked_until = NULL,
    history = {with_entry("CASE WHEN again THEN 'put off' ELSE 'failed' END", "code", "message", "fact")}
FROM (SELECT given.*, delay IS NOT NULL
        AND (expires_at IS NULL OR now() + delay * interval '1 second' < expires_at) AS again
    FROM unnest(%s::bigint[], %s::timestamptz[], %s::float8[], %s::text[], %s::text[], %s::text[]::jsonb[])
        AS given(failed_id, since, delay, code, message, fact)
    JOIN scheduled_jobs ON id = failed_id) AS failure
WHERE job.id = failed_id AND started_at = since AND locked_by = %s AND status = 'running'
RETURNING {ended_columns("job")}
"""

# A job that loses several pollers may be what kills them; but other jobs running at the time are not, and several kills
# in a row may hit the same jobs. The history keeps ten entries, so that this can be counted.
MOST_LOSSES = 10
LOST = """
SELECT id, locked_by, history
FROM scheduled_jobs WHERE status = 'running' AND (locked_until < now() OR locked_by = ANY(%s))
ORDER BY id LIMIT 5000 FOR UPDATE SKIP LOCKED
"""

RECOVER = f"""
UPDATE scheduled_jobs AS job SET locked_by = '', locked_until = NULL,
    status = CASE WHEN again THEN 'pending' ELSE 'failed' END,
    finished_at = CASE WHEN again THEN NULL ELSE now() END,
    error_code = 'poller_lost', last_error = message, error_fact = fact,
    history = {with_entry("'recovered'", "'poller_lost'", "message", "fact")}
FROM unnest(%s::bigint[], %s::boolean[], %s::text[], %s::text[]::jsonb[]) AS lost(lost_id, again, message, fact)
WHERE job.id = lost_id RETURNING {ended_columns("job")}
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed run. delay_s: seconds until the next attempt; None: no retry."""

    job: Job
    why: Fact
    delay_s: float | None


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """The queue at one moment.

    next_due_s: seconds until the next claimable job is due (negative: it is late; None: there is none); elsewhere:
    other pollers hold jobs. Only `heartbeat` finds out alive: our row in pollers exists; and unknown: jobs are ours in
    the table, of whose run we know nothing.
    """

    next_due_s: float | None
    elsewhere: bool
    alive: bool = True
    unknown: bool = False


EVERYTHING = ClaimLimits(0, [], [])


class JobStore:
    """The job table for one poller, named `owner`. lease_s: seconds until its jobs may be taken over."""

    def __init__(self, owner: str, lease_s: float) -> None:
        self.owner = owner
        self.lease_s = lease_s

    def register(self, host: str, pid: int) -> None:
        """Write the poller's row, without a session lock; delete rows of pollers silent for a day."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM pollers WHERE heartbeat_at < now() - interval '1 day'")
            cursor.execute(
                "INSERT INTO pollers (name, host, pid, started_at, heartbeat_at, session_locked)"
                " VALUES (%s, %s, %s, now(), now(), false)"
                " ON CONFLICT (name) DO UPDATE SET heartbeat_at = now(), session_locked = false",
                [self.owner, host, pid],
            )

    def prove_session_lock(self) -> bool:
        """Publish that our session lock can be relied on, if it is held: a connection pooler may have released it.

        Called while the listener's connection holds it; checked here on another connection.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE pollers SET session_locked = true"
                " WHERE name = %s AND NOT pg_try_advisory_xact_lock(hashtextextended(name, 0))",
                [self.owner],
            )
            return bool(cursor.rowcount)

    def unregister(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM pollers WHERE name = %s", [self.owner])

    def heartbeat(self, held: Collection[Job], limits: ClaimLimits = EVERYTHING) -> QueueSnapshot:
        """Write the heartbeat, renew the leases of the held jobs, and read what there is to wait for.

        A run that is ours in the table but not in `held` is not renewed: it is to be handed back (`release`).
        """
        with connection.cursor() as cursor:
            parameters = self._parameters(limits) | self._runs(held) | {"lease": self.lease_s, "clock": time.time()}
            cursor.execute(HEARTBEAT, parameters)
            return QueueSnapshot(*cursor.fetchone())

    def snapshot(self, limits: ClaimLimits = EVERYTHING) -> QueueSnapshot:
        """Read what there is to wait for within the limits."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT" + SNAPSHOT, self._parameters(limits))
            return QueueSnapshot(*cursor.fetchone())

    def _runs(self, held: Collection[Job]) -> dict[str, Any]:
        since = array(job.claimed_at for job in held)
        return {"owner": self.owner, "held": [job.id for job in held], "since": since}

    def _parameters(self, limits: ClaimLimits) -> dict[str, Any]:
        return {"owner": self.owner, "full_kinds": limits.full_kinds, "full_queues": limits.full_queues}

    def claim(self, limit: int, limits: ClaimLimits = EVERYTHING) -> tuple[list[Job], int]:
        """Claim up to `limit` due jobs; return them and the number of changed rows.

        Jobs past expires_at become expired instead.
        """
        with transaction.atomic(), connection.cursor() as cursor:
            parameters: dict[str, Any] = {"limit": limit, "lease": self.lease_s}
            cursor.execute(CLAIM, parameters | self._parameters(limits))
            rows = cursor.fetchall()
            claimed_monotonic = time.monotonic()
            announce_ended([Ended(*row[:7]) for row in rows if row[2] == "expired"])
        ours = [row for row in rows if row[2] == "running"]
        names = names_of({row[3] for row in ours if row[3] is not None})
        return [job_of(row, claimed_monotonic, names.get(row[3], {})) for row in ours], len(rows)

    def complete(self, done: Sequence[tuple[Job, Any]], *, guarded: bool = True) -> list[int]:
        """Complete the runs and record their results in one transaction; return the ids that were still ours.

        Jobs taken over by another poller are neither completed nor recorded.

        Args:
            guarded: as for scheduler.queue.announce_ended.
        """
        # Counts of a guarded call must be rolled back with the callback that fails.
        gathered = contextlib.nullcontext() if guarded else totals.gathered()
        with transaction.atomic(), gathered:
            ids, stamps = array([job.id for job, _ in done]), array([job.claimed_at for job, _ in done])
            ours = {row[0] for row in prepared(COMPLETE, {"ids": ids, "stamps": stamps, "owner": self.owner})}
            kept = [(job, result) for job, result in done if job.id in ours]
            for name, results in grouped(kept, lambda item: item[0].job_type).items():
                record = kind_of(name).record
                if record is not None:
                    record(results)
            count_runs(job for job, _ in kept)
            announce_ended([completed(job) for job, _ in kept], guarded=guarded)
        return sorted(ours)

    def fail(self, failures: Sequence[Failure]) -> list[Ended]:
        """Schedule the next attempt of each failed job, or end it if there is none or it would be too late.

        Returns: the jobs still ours, with their new status (pending or failed).
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                FAIL,
                [
                    [failure.job.id for failure in failures],
                    [failure.job.claimed_at for failure in failures],
                    [failure.delay_s for failure in failures],
                    [failure.why.code for failure in failures],
                    *columns_of(failure.why for failure in failures),
                    self.owner,
                ],
            )
            changed = [Ended(*row) for row in cursor.fetchall()]
            ours = {job.id for job in changed}
            count_runs(failure.job for failure in failures if failure.job.id in ours)
            count_retries(job for job in changed if job.status == "pending")
            announce_ended([job for job in changed if job.status == "failed"])
        return changed

    def release(self, *, keep: Collection[Job] = ()) -> int:
        """Hand back the runs that are still ours, except those to keep, as if not claimed; return how many."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(RELEASE, self._runs(keep))
            released: int = cursor.rowcount
            if released:
                notify()
            return released

    def recover(self) -> list[Ended]:
        """Recover the jobs of pollers that are gone or silent: to pending or, after MOST_LOSSES, to failed.

        Gone: the server has released their session lock. Silent (frozen, cut off): the lease ran out.
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(GONE, [self.owner])
            gone = [row[0] for row in cursor.fetchall()]
            cursor.execute(LOST, [gone])
            lost = cursor.fetchall()
            if not lost:
                return []
            cursor.execute(
                RECOVER,
                [
                    [row[0] for row in lost],
                    [losses(history) + 1 < MOST_LOSSES for _, _, history in lost],
                    *columns_of(
                        Fact("poller_lost", {"name": name, "how": "gone" if name in gone else "silent"})
                        for _, name, _ in lost
                    ),
                ],
            )
            recovered = [Ended(*row) for row in cursor.fetchall()]
            announce_ended([job for job in recovered if job.status == "failed"])
            notify()
        return recovered


def losses(history: Any) -> int:
    """Return how many pollers a job has lost by its history, since it was last retried by a user."""
    entries = json.loads(history) if isinstance(history, str) else history
    count = 0
    for entry in reversed(entries if isinstance(entries, list) else []):
        event = entry.get("event") if isinstance(entry, dict) else None
        if event == "retried":
            break
        count += event == "recovered"
    return count


def job_of(row: Sequence[Any], claimed_monotonic: float, names: Names) -> Job:
    """Convert a row of CLAIM to a Job. Never raises, because the row is already claimed."""
    job_id, job_type, _, deployment_id, index, _, key, phase, scheduled_at, expires_at, now, retry_count, raw = row
    metadata, defect = ({}, None) if raw == "{}" else metadata_of(raw)
    claimed_at = datetime.fromtimestamp(now, UTC)
    try:
        due = datetime.fromtimestamp(scheduled_at, UTC)
        until = None if expires_at in (None, math.inf) else datetime.fromtimestamp(expires_at, UTC)
    except (ValueError, OverflowError, OSError):
        due, until, defect = claimed_at, None, Fact("broken_times")
    return Job(
        id=job_id,
        job_type=job_type,
        phase=phase,
        sequence_index=index,
        deployment_id=deployment_id,
        scheduled_at=due,
        expires_at=until,
        retry_count=retry_count,
        metadata=metadata,
        claimed_at=claimed_at,
        claimed_monotonic=claimed_monotonic,
        fair_key=key,
        defect=defect,
        names=names,
    )


def metadata_of(raw: Any) -> tuple[dict[str, Any], Fact | None]:
    """Return a row's job_metadata, and what is wrong with it."""
    try:
        values = read_json(raw.encode()) if isinstance(raw, str) else raw
    except InvalidJSON as error:
        return {}, Fact("broken_metadata", {"problem": error.fact})
    if not isinstance(values, dict):
        return {}, Fact("metadata_no_object", {"type": type(values).__name__})
    return values, None


def columns_of(facts: Iterable[Fact]) -> tuple[list[str], list[str]]:
    """Return the English texts of the facts, and the facts as JSON, as two columns."""
    rows = [stored(fact) for fact in facts]
    return [text for text, _ in rows], [fact for _, fact in rows]
