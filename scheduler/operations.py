"""Operations of staff on jobs: show, retry, cancel, prune, with an outcome per job."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from explain.facts import Fact
from scheduler.models import JobStatus
from scheduler.queue import announce_ended, notify
from scheduler.registry import Ended, ended_columns, grouped, known_kind
from scheduler.store import with_entry
from scheduler.words import stored

FINAL = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED)
RETRYABLE = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED)
PRUNE_BATCH = 5000
# Due for longer than this without being claimed: no poller works, or they cannot keep up.
STUCK_AFTER_S = 60

# Lock in the order of ids, as everywhere.
LOCK = """
SELECT id, status, expires_at IS NOT NULL AND expires_at <= now(), scheduled_at, expires_at FROM scheduled_jobs
WHERE id = ANY(%s) ORDER BY id FOR UPDATE
"""

RETRY = f"""
UPDATE scheduled_jobs AS job SET status = 'pending', scheduled_at = now(), retry_count = 0, finished_at = NULL,
    started_at = NULL, history = {with_entry("'retried'", "error_code", "%s", "%s::jsonb")}
WHERE id = ANY(%s) RETURNING {ended_columns("job")}
"""  # noqa: S608  (constants)

CANCEL = f"""
UPDATE scheduled_jobs AS job SET status = 'cancelled', finished_at = now(), error_code = 'cancelled',
    last_error = message, error_fact = fact,
    history = {with_entry("'cancelled'", "'cancelled'", "message", "fact")}
FROM (VALUES (%s, %s::jsonb)) AS given(message, fact)
WHERE id = ANY(%s) RETURNING {ended_columns("job")}
"""  # noqa: S608  (constants)

PRUNE = """
DELETE FROM scheduled_jobs WHERE id IN (
    SELECT job.id FROM scheduled_jobs AS job
    WHERE job.id > %(after)s AND {over} AND NOT ({kept})
    ORDER BY job.id LIMIT %(limit)s)
RETURNING id
"""

OVER = "job.status = ANY(%(final)s) AND job.finished_at < now() - %(days)s * interval '1 day'"
# Of chains of jobs, one a tick: what was completed, and what failed for one project, such as a baseline of an endpoint
# that is gone. Failures of the installation's own sweeps stay.
TICKS_OVER = """
job.unique_key IS NOT NULL AND (
    job.status = 'completed' AND job.finished_at < now() - interval '1 hour'
    OR job.status = ANY(%(final)s) AND job.fair_key IS NOT NULL AND job.finished_at < now() - interval '1 day')
"""

BY_KIND = """
SELECT job_type, status, count(*),
    max(extract(epoch FROM now() - scheduled_at)) FILTER (WHERE status = 'pending' AND scheduled_at <= now())
FROM scheduled_jobs GROUP BY job_type, status ORDER BY job_type, status
"""

LAG = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY lag), percentile_cont(0.99) WITHIN GROUP (ORDER BY lag), count(*)
FROM (SELECT extract(epoch FROM started_at - scheduled_at)::float8 AS lag FROM scheduled_jobs
    WHERE started_at > now() - interval '5 minutes' AND history IS NULL) AS recent
"""

STUCK = """
SELECT id, job_type, status, deployment_id, extract(epoch FROM now() - scheduled_at)::float8, locked_by, last_error,
    error_fact
FROM scheduled_jobs
WHERE (status = 'pending' AND scheduled_at < now() - %(after)s * interval '1 second')
    OR (status = 'running' AND locked_until < now())
ORDER BY scheduled_at LIMIT 20
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome for one job; words: why it was refused, "" if it was done."""

    job_id: int
    done: bool
    words: str = ""


def retry(ids: Sequence[int], *, by: str = "somebody") -> list[Outcome]:
    """Make ended jobs due now, with all their retries.

    Refused for expired jobs: a late sample would measure something else.
    """
    return _act(ids, RETRY, Fact("retried", {"by": by}), refusal=_no_retry, then=_announce_retried)


def _no_retry(status: str, over: bool, due: datetime, until: datetime) -> str:
    if status not in RETRYABLE:
        words = _("it is %(status)s: only failed, cancelled and expired jobs are retried")
        return words % {"status": status_in_words(status)}
    words = _("its time is over: it was due at %(due)s UTC and of use until %(until)s")
    return words % {"due": f"{due:%F %T}", "until": f"{until:%F %T}"} if over else ""


def _announce_retried(retried: Sequence[Ended]) -> None:
    for name, jobs in grouped(retried, lambda job: job.job_type).items():
        kind = known_kind(name)
        if kind is not None and kind.on_retry is not None:
            kind.on_retry(jobs)
    if retried:
        notify()


def cancel(ids: Sequence[int], *, by: str = "somebody") -> list[Outcome]:
    """Cancel pending jobs and call `on_finished` of their kinds. A running job ends by itself."""
    return _act(ids, CANCEL, Fact("cancelled", {"by": by}), refusal=_no_cancel, then=announce_ended)


def _no_cancel(status: str, *_times: Any) -> str:
    if status == JobStatus.RUNNING:
        return _("it is running and ends by itself")
    ended = _("it has ended already: %(status)s") % {"status": status_in_words(status)}
    return "" if status == JobStatus.PENDING else ended


def _act(
    ids: Sequence[int],
    statement: str,
    why: Fact,
    *,
    refusal: Callable[..., str],
    then: Callable[[Sequence[Ended]], None],
) -> list[Outcome]:
    """Lock the jobs, change those that `refusal` has no words against, and call `then` with them."""
    words = dict.fromkeys(ids, _("there is no such job"))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK, [list(ids)])
        words |= {job_id: refusal(*row) for job_id, *row in cursor.fetchall()}
        granted = [job_id for job_id, refused in words.items() if not refused]
        cursor.execute(statement, [*stored(why), granted])
        then([Ended(*row) for row in cursor.fetchall()])
    return [Outcome(job_id, not refused, refused) for job_id, refused in words.items()]


def status_in_words(status: str) -> str:
    """Return the status as written within a sentence."""
    return str(JobStatus(status).label).lower()


_kept: list[str] = []


def keep_jobs_where(condition: str) -> None:
    """Exempt jobs from pruning: those for which this SQL condition on a row `job` is true."""
    _kept.append(condition)


def prune(older_than_days: float, *, dry_run: bool = False) -> int:
    """Delete jobs that ended more than so many days ago, in batches; return how many (dry_run: would be).

    Jobs that their owners exempt (`keep_jobs_where`) stay.
    """
    return _prune(OVER, older_than_days, dry_run=dry_run)


def prune_ticks() -> int:
    """Delete jobs of chains that were completed an hour ago, or failed for a project a day ago; return how many.

    A thousand environments with a baseline every minute complete 1.4 million of them a day.
    """
    return _prune(TICKS_OVER)


def _prune(over: str, days: float = 0, *, dry_run: bool = False) -> int:
    total, after = 0, 0
    statement = PRUNE.format(over=over, kept=" OR ".join(_kept) or "false")
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, {"after": after, "final": list(FINAL), "days": days, "limit": PRUNE_BATCH})
            ids = [row[0] for row in cursor.fetchall()]
            if dry_run:
                transaction.set_rollback(True)
        total += len(ids)
        if len(ids) < PRUNE_BATCH:
            return total
        after = max(ids)


def summary() -> dict[str, Any]:
    """Jobs by kind and status, start lag of the last five minutes (seconds), stuck jobs, pollers.

    lag: of first runs; late_s: how long the oldest due job of the kind has been waiting.
    """
    kinds: dict[str, dict[str, Any]] = {}
    with connection.cursor() as cursor:
        cursor.execute(BY_KIND)
        for kind, status, count, late in cursor.fetchall():
            entry = kinds.setdefault(kind, {"late_s": 0.0})
            entry[status] = count
            entry["late_s"] = max(entry["late_s"], round(float(late or 0), 1))
        cursor.execute(LAG)
        p50, p99, runs = cursor.fetchone()
        cursor.execute(STUCK, {"after": STUCK_AFTER_S})
        names = ("id", "job_type", "status", "deployment_id", "late_s", "locked_by", "last_error", "error_fact")
        stuck = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for job in stuck:
            job["error_fact"] = json.loads(job["error_fact"] or "null")
        cursor.execute(
            "SELECT name, extract(epoch FROM now() - heartbeat_at)::float8, session_locked FROM pollers ORDER BY name"
        )
        pollers = [{"name": name, "heartbeat_s_ago": round(ago, 1), "locked": lock} for name, ago, lock in cursor]
    lag = {"p50_s": p50, "p99_s": p99, "runs": runs}
    return {"kinds": kinds, "lag": lag, "stuck": stuck, "pollers": pollers}
