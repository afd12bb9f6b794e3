"""Enqueue, cancel and wake jobs. Called inside the transaction of the caller."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import structlog
from django.db import connection, transaction

from common.arrays import array
from common.batches import together_or_each
from explain.facts import Fact
from scheduler import texts
from scheduler.counting import count_ended
from scheduler.registry import Ended, ended_columns, grouped, kind_of, known_kind
from scheduler.words import stored

logger = structlog.get_logger(__name__)

CHANNEL = "seqpulse_jobs"
# No poller sleeps longer, so jobs further in the future need no notification.
LONGEST_SLEEP_S = 10.0
NOTIFY_WITHIN_S = LONGEST_SLEEP_S + 1.0


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to enqueue.

    scheduled_at: due time; None: now, by the database's clock. unique_key: skipped if a job with this key was ever
    written. fair_key: the tenant (project), for fair sharing; None: no tenant. metadata: ids only.
    """

    job_type: str
    scheduled_at: datetime | None = None
    deployment_id: int | None = None
    phase: str = ""
    sequence_index: int = 0
    expires_at: datetime | None = None
    unique_key: str | None = None
    fair_key: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


# In the order of ENQUEUE, which takes the metadata last, as text.
COLUMNS = [column.name for column in fields(NewJob) if column.name != "metadata"]


def database_now() -> datetime:
    """Return the database's clock, which jobs and leases use (start of the transaction, aware UTC)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
        return now


# How a job begins, beside the columns of NewJob.
BEGINNING = {"status": "'pending'", "retry_count": "0", "last_error": "''", "error_code": "''", "locked_by": "''"}


def writing(jobs: str) -> str:
    """Return SQL that writes jobs, for a statement that also writes something else, and returns their due times.

    Skips jobs that were written before, as `enqueue` does. Wake the pollers with NOTIFY.

    Args:
        jobs: the FROM clause whose rows have the columns of NewJob, with job_metadata for `metadata`.
    """
    names = ", ".join((*COLUMNS, "job_metadata"))
    values = names.replace("scheduled_at", "coalesce(scheduled_at, now())")
    return f"""INSERT INTO scheduled_jobs ({names}, {", ".join(BEGINNING)})
    SELECT {values}, {", ".join(BEGINNING.values())} FROM {jobs} ON CONFLICT DO NOTHING RETURNING scheduled_at"""  # noqa: S608  (our own columns)


# Of rows that `writing` returned as `written`: whether a job is due soon, so that the pollers are to be woken.
DUE_SOON = f"min(scheduled_at) <= now() + {NOTIFY_WITHIN_S} * interval '1 second'"
# One round trip, also for hundreds of jobs: it is part of every transaction that starts or ends work.
ENQUEUE = f"""
WITH written AS ({
    writing(
        "unnest(%s::text[], %s::timestamptz[], %s::bigint[], %s::text[], %s::int[], %s::timestamptz[], %s::text[],"
        " %s::bigint[], %s::text[]::jsonb[]) AS new (" + ", ".join((*COLUMNS, "job_metadata")) + ")"
    )
})
SELECT pg_notify('{CHANNEL}', '') FROM written HAVING {DUE_SOON}
"""  # noqa: S608  (constants of ours)


def enqueue(jobs: Iterable[NewJob]) -> None:
    """Insert the jobs in one statement, and wake the pollers if one of them is due soon.

    Skips jobs that were written before: with the same unique_key, or the same kind and sequence_index for the same
    deployment.

    Raises: UnknownJobKind before anything is written.
    """
    wanted = list(jobs)
    if not wanted:
        return
    for name in {job.job_type for job in wanted}:
        kind_of(name)
    columns = [
        *(array(getattr(job, name) for job in wanted) for name in COLUMNS),
        array(json.dumps(job.metadata) for job in wanted),
    ]
    with connection.cursor() as cursor:
        cursor.execute(ENQUEUE, columns)


def notify() -> None:
    """Wake the pollers when the current transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])


# Lock in the order of ids: two pollers may cancel for the same deployment at once.
CANCEL = f"""
UPDATE scheduled_jobs AS job SET status = 'cancelled', finished_at = now(), error_code = %s, last_error = %s,
    error_fact = %s
WHERE id IN (SELECT id FROM scheduled_jobs WHERE {{owner}} = ANY(%s) AND job_type = ANY(%s) AND status = 'pending'
    ORDER BY id FOR UPDATE)
RETURNING {ended_columns("job")}
"""  # noqa: S608  (names of our own columns)


def cancel(deployment_ids: Sequence[int], job_types: Sequence[str], why: Fact, *, code: str = "") -> list[Ended]:
    """Cancel pending jobs of these deployments and kinds; return the cancelled ones.

    A running job ends by itself. The kinds' `on_finished` is called with the cancelled ones.
    """
    return _cancel("deployment_id", deployment_ids, job_types, why, code=code or why.code)


def cancel_of(fair_key: int, job_types: Sequence[str], why: Fact) -> list[Ended]:
    """Cancel pending jobs of these kinds and one tenant (NewJob.fair_key), as cancel does for deployments."""
    return _cancel("fair_key", [fair_key], job_types, why, code=why.code)


def _cancel(owner: str, ids: Sequence[int], job_types: Sequence[str], why: Fact, *, code: str) -> list[Ended]:
    with connection.cursor() as cursor:
        cursor.execute(CANCEL.format(owner=owner), [code, *stored(why), list(ids), list(job_types)])
        cancelled = [Ended(*row) for row in cursor.fetchall()]
    announce_ended(cancelled)
    return cancelled


# The error of an expired job, unless an earlier attempt failed.
DUE, UNTIL = (
    f"coalesce(to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS \"UTC\"'), {column}::text)"
    for column in ("scheduled_at", "expires_at")
)
EXPIRED_CODE = "CASE WHEN error_code = '' THEN 'expired' ELSE error_code END"
EXPIRED_TEXT = (
    f"CASE WHEN last_error = '' THEN replace(replace('{texts.EXPIRED}', '{{due}}', {DUE}), '{{until}}', {UNTIL})"
    " ELSE last_error END"
)
EXPIRED_FACT = (
    "CASE WHEN last_error = '' THEN jsonb_build_object('code', 'expired',"
    f" 'params', jsonb_build_object('due', {DUE}, 'until', {UNTIL})) ELSE error_fact END"
)
EXPIRE = f"""
UPDATE scheduled_jobs AS job SET status = 'expired', finished_at = now(),
    error_code = {EXPIRED_CODE}, last_error = {EXPIRED_TEXT},
    error_fact = {EXPIRED_FACT}, locked_by = '', locked_until = NULL
WHERE id IN (SELECT id FROM scheduled_jobs WHERE deployment_id = ANY(%s) AND job_type = ANY(%s) AND status = ANY(%s)
    AND expires_at <= now() ORDER BY id FOR UPDATE)
RETURNING {ended_columns("job")}
"""  # noqa: S608  (names of our own columns)


def expire(deployment_ids: Sequence[int], job_types: Sequence[str], *, running: bool = False) -> None:
    """End pending jobs of these deployments and kinds that are past expires_at, in one transaction.

    Claims do that too, except for jobs in a full tenant queue (scheduler/fair_share.py). running: end those as well
    that are running; nothing is recorded of them any more.
    """
    statuses = ["pending", "running"] if running else ["pending"]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(EXPIRE, [list(deployment_ids), list(job_types), statuses])
        announce_ended([Ended(*row) for row in cursor.fetchall()])


def announce_ended(jobs: Sequence[Ended], *, guarded: bool = True) -> None:
    """Call `on_finished` of each kind with its ended jobs, inside the current transaction.

    Args:
        guarded: if a callback raises, call it for each job separately, so that jobs end in any case. Without (it costs
            two round trips) an exception ends the transaction.
    """
    count_ended(jobs)
    for name, ended in grouped(jobs, lambda job: job.job_type).items():
        kind = known_kind(name)
        if kind is not None and kind.on_finished is not None:
            if guarded:
                # A failed one is not repeated: the jobs have ended.
                together_or_each(transaction.atomic(kind.on_finished), ended, _callback_raised)
            else:
                kind.on_finished(ended)


def _callback_raised(job: Ended, error: Exception) -> None:
    logger.exception("ended_callback_raised", job_id=job.id, job_type=job.job_type)


def wake_when_done(waiting: str, deployment_ids: Sequence[int], *, awaited: Sequence[str]) -> set[int]:
    """Make the pending `waiting` jobs of these deployments due now if no `awaited` job is open.

    The waiting rows are locked first, in the order of ids. If two transactions each end one of the last two awaited
    jobs, the later one sees the result of the other, so that one of them wakes the waiting job.

    Returns: the deployments whose jobs became due.
    """
    if not deployment_ids:
        return set()
    ids = list(deployment_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM scheduled_jobs WHERE deployment_id = ANY(%s) AND job_type = %s AND status = 'pending'"
            " ORDER BY id FOR UPDATE",
            [ids, waiting],
        )
        locked = [row[0] for row in cursor.fetchall()]
        if not locked:
            return set()
        cursor.execute(
            "UPDATE scheduled_jobs AS waiting SET scheduled_at = least(scheduled_at, clock_timestamp())"
            " WHERE waiting.id = ANY(%s) AND NOT EXISTS (SELECT 1 FROM scheduled_jobs AS awaited"
            "  WHERE awaited.deployment_id = waiting.deployment_id AND awaited.job_type = ANY(%s)"
            "  AND awaited.status IN ('pending', 'running')) RETURNING deployment_id",
            [locked, list(awaited)],
        )
        woken = {row[0] for row in cursor.fetchall()}
    if woken:
        notify()
    return woken
