"""The job table as a poller works on it: claim, settle, renew, recover. SQL, as it runs thousands of times a second.

Every time here is the database's clock: a poller's own may be wrong. Each function is one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from scheduler.queue import announce_ended
from scheduler.registry import Ended, Job, kind_of, known_kind

ENDED_COLUMNS = "id, job_type, status, deployment_id, sequence_index, error_code"

CLAIM = f"""
WITH due AS (
    SELECT id FROM scheduled_jobs
    WHERE status = 'pending' AND scheduled_at <= now()
    ORDER BY scheduled_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
UPDATE scheduled_jobs AS job SET
    status = CASE WHEN expires_at <= now() THEN 'expired' ELSE 'running' END,
    locked_by = CASE WHEN expires_at <= now() THEN '' ELSE %(owner)s END,
    locked_until = CASE WHEN expires_at <= now() THEN NULL ELSE now() + %(lease)s * interval '1 second' END,
    started_at = CASE WHEN expires_at <= now() THEN started_at ELSE now() END,
    finished_at = CASE WHEN expires_at <= now() THEN now() END,
    error_code = CASE WHEN expires_at <= now() AND error_code = '' THEN 'expired' ELSE error_code END,
    last_error = CASE WHEN expires_at <= now() AND last_error = ''
        THEN 'nobody ran it in time: it was due at ' || scheduled_at || ' and of use until ' || expires_at
        ELSE last_error END
FROM due WHERE job.id = due.id
RETURNING job.{ENDED_COLUMNS.replace(", ", ", job.")}, job.phase, job.scheduled_at, job.expires_at, job.retry_count,
    job.job_metadata, now()
"""

# One statement, so that an idle poller asks one question per fallback interval.
TICK = """
WITH beat AS (UPDATE pollers SET heartbeat_at = now() WHERE name = %(owner)s RETURNING 1),
renewed AS (UPDATE scheduled_jobs SET locked_until = now() + %(lease)s * interval '1 second'
    WHERE locked_by = %(owner)s AND status = 'running' AND id = ANY(%(held)s) RETURNING 1)
SELECT EXISTS (SELECT 1 FROM beat),
    (SELECT extract(epoch FROM min(scheduled_at) - now())::float8 FROM scheduled_jobs WHERE status = 'pending'),
    EXISTS (SELECT 1 FROM scheduled_jobs WHERE status = 'running' AND locked_until < now())
"""

COMPLETE = """
UPDATE scheduled_jobs SET status = 'completed', finished_at = now(), locked_by = '', locked_until = NULL,
    last_error = '', error_code = ''
WHERE id = ANY(%s) AND locked_by = %s AND status = 'running' RETURNING id
"""

FAIL = f"""
UPDATE scheduled_jobs AS job SET
    status = CASE WHEN again THEN 'pending' ELSE 'failed' END,
    retry_count = retry_count + again::int,
    scheduled_at = CASE WHEN again THEN now() + delay * interval '1 second' ELSE scheduled_at END,
    finished_at = CASE WHEN again THEN NULL ELSE now() END,
    last_error = message, error_code = code, locked_by = '', locked_until = NULL
FROM (SELECT given.*, delay IS NOT NULL
        AND (expires_at IS NULL OR now() + delay * interval '1 second' < expires_at) AS again
    FROM unnest(%s::bigint[], %s::float8[], %s::text[], %s::text[]) AS given(failed_id, delay, message, code)
    JOIN scheduled_jobs ON id = failed_id) AS failure
WHERE job.id = failed_id AND locked_by = %s AND status = 'running'
RETURNING job.{ENDED_COLUMNS.replace(", ", ", job.")}
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that failed: what to tell, and seconds until the next try (None: give up)."""

    job: Job
    code: str
    message: str
    delay_s: float | None


@dataclass(frozen=True, slots=True)
class Tick:
    """alive: our heartbeat row is there; next_due_s: seconds until the next pending job is due (negative: it is late;
    None: there is none); lapsed: some job's lease has run out."""

    alive: bool
    next_due_s: float | None
    lapsed: bool


class JobStore:
    """The job table in the hands of one poller, named `owner`. lease_s: seconds until its jobs may be taken over."""

    def __init__(self, owner: str, lease_s: float) -> None:
        self.owner = owner
        self.lease_s = lease_s

    def register(self, host: str, pid: int) -> None:
        """Writes the poller's row; rows of pollers that have been silent for a day go."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM pollers WHERE heartbeat_at < now() - interval '1 day'")
            cursor.execute(
                "INSERT INTO pollers (name, host, pid, started_at, heartbeat_at) VALUES (%s, %s, %s, now(), now())"
                " ON CONFLICT (name) DO UPDATE SET heartbeat_at = now()",
                [self.owner, host, pid],
            )

    def unregister(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM pollers WHERE name = %s", [self.owner])

    def tick(self, held: Collection[int]) -> Tick:
        """Heartbeat, renewal of the leases of the jobs that we know to hold, and what there is to wait for.

        A job that the table calls ours but that we do not know (the answer to a claim was lost) is not renewed, so that
        its lease runs out and it is recovered.
        """
        with connection.cursor() as cursor:
            cursor.execute(TICK, {"owner": self.owner, "lease": self.lease_s, "held": list(held)})
            return Tick(*cursor.fetchone())

    def claim(self, limit: int) -> tuple[list[Job], int]:
        """Up to `limit` due jobs, now ours, and how many rows were touched: those past expires_at ended as expired."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(CLAIM, {"limit": limit, "owner": self.owner, "lease": self.lease_s})
            rows = cursor.fetchall()
            announce_ended([Ended(*row[:6]) for row in rows if row[2] == "expired"])
        return [job_of(row) for row in rows if row[2] == "running"], len(rows)

    def complete(self, done: Sequence[tuple[Job, Any]]) -> list[int]:
        """Completes the runs and records their results, in one transaction; returns the ids that were still ours.

        What another poller has taken over meanwhile is left alone: neither completed nor recorded.
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(COMPLETE, [[job.id for job, _ in done], self.owner])
            ours = {row[0] for row in cursor.fetchall()}
            kept = [(job, result) for job, result in done if job.id in ours]
            for name, results in grouped(kept, lambda item: item[0].job_type).items():
                record = kind_of(name).record
                if record is not None:
                    record(results)
            announce_ended(
                [Ended(job.id, job.job_type, "completed", job.deployment_id, job.sequence_index) for job, _ in kept]
            )
        return sorted(ours)

    def fail(self, failures: Sequence[Failure]) -> list[Ended]:
        """Puts each failed job off to its next try, or ends it where there is none or it would come too late.

        Returns the jobs still ours, with the status that each got (pending or failed).
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                FAIL,
                [
                    [failure.job.id for failure in failures],
                    [failure.delay_s for failure in failures],
                    [failure.message for failure in failures],
                    [failure.code for failure in failures],
                    self.owner,
                ],
            )
            changed = [Ended(*row) for row in cursor.fetchall()]
            announce_ended([job for job in changed if job.status == "failed"])
        return changed

    def release(self) -> int:
        """Hands back every job that is still ours, as if it had not been claimed; returns how many."""
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE scheduled_jobs SET status = 'pending', locked_by = '', locked_until = NULL, started_at = NULL"
                " WHERE locked_by = %s AND status = 'running'",
                [self.owner],
            )
            released: int = cursor.rowcount
            return released

    def recover(self) -> list[Ended]:
        """Takes back the jobs whose lease ran out: to pending, or to failed where their retries are used up."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, job_type, retry_count, locked_by FROM scheduled_jobs"
                " WHERE status = 'running' AND locked_until < now() ORDER BY id LIMIT 5000 FOR UPDATE SKIP LOCKED"
            )
            lapsed = cursor.fetchall()
            cursor.execute(
                "UPDATE scheduled_jobs AS job SET retry_count = retry_count + 1, locked_by = '', locked_until = NULL,"
                " status = CASE WHEN again THEN 'pending' ELSE 'failed' END,"
                " finished_at = CASE WHEN again THEN NULL ELSE now() END,"
                " error_code = 'poller_lost', last_error = words"
                " FROM unnest(%s::bigint[], %s::boolean[], %s::text[]) AS l(lapsed_id, again, words)"
                f" WHERE job.id = lapsed_id RETURNING job.{ENDED_COLUMNS.replace(', ', ', job.')}",
                [
                    [row[0] for row in lapsed],
                    [tries_left(row[1], row[2]) for row in lapsed],
                    [f"the poller {row[3]} that ran it was not heard of any more" for row in lapsed],
                ],
            )
            recovered = [Ended(*row) for row in cursor.fetchall()]
            announce_ended([job for job in recovered if job.status == "failed"])
        return recovered


def tries_left(job_type: str, retry_count: int) -> bool:
    """Whether a job whose poller was lost may run again."""
    kind = known_kind(job_type)
    # A kind that is not retried after its own failures still deserves a second poller.
    return retry_count < max(1, len(kind.retry.delays_s) if kind else 0)


def job_of(row: Sequence[Any]) -> Job:
    """A row of CLAIM as the value that handlers take."""
    job_id, job_type, _, deployment_id, index, _, phase, scheduled_at, expires_at, retry_count, metadata, now = row
    values = json.loads(metadata) if isinstance(metadata, str) else metadata
    return Job(
        id=job_id,
        job_type=job_type,
        phase=phase,
        sequence_index=index,
        deployment_id=deployment_id,
        scheduled_at=scheduled_at,
        expires_at=expires_at,
        retry_count=retry_count,
        metadata=values if isinstance(values, dict) else {},
        claimed_at=now,
    )


def grouped(items: Sequence[Any], key: Callable[[Any], str]) -> dict[str, list[Any]]:
    """The items by key, each list in the order given."""
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
