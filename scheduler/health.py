"""Health of SeqPulse, derived from jobs and pollers, for /health and the status page.

Each process queries the database at most once a second, however often it is asked.
"""

from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, InterfaceError, connection

from common.cached import Cached
from scheduler.state import PollerState, Queue, read_health

CACHE_S = 1.0
# Degraded from this many late jobs, or from one job this late.
TOO_MANY_LATE = 10
TOO_LATE_S = 60.0
UNKNOWN = dict.fromkeys(("database", "migrations", "pollers", "queue", "jobs"), "unknown")
DOWN_WORDS = "The database does not answer."


@dataclass(frozen=True, slots=True)
class Health:
    """status: ok, degraded (something is wrong, but requests are served) or down; checks: each with its own status."""

    status: str
    checks: dict[str, str]
    reasons: list[str]
    facts: dict[str, Any] = field(default_factory=dict)
    pollers: list[PollerState] = field(default_factory=list)


def look() -> Health:
    """Query the database."""
    try:
        queue, pollers, missing = read_health()
    except (DatabaseError, InterfaceError):
        connection.close()
        return Health("down", UNKNOWN | {"database": "down"}, [DOWN_WORDS])
    if missing:
        words = f"Migrations are missing ({', '.join(missing[:5])}): run manage.py migrate."
        return Health("down", UNKNOWN | {"database": "ok", "migrations": "down"}, [words])
    return judge(queue, pollers)


def judge(queue: Queue, pollers: list[PollerState]) -> Health:
    """Derive the health from queue and pollers."""
    fresh = [poller for poller in pollers if poller.fresh]
    problems: dict[str, str] = {}
    if not fresh:
        problems["pollers"] = "No poller has been heard of: start one with manage.py run_poller."
    if queue.late > TOO_MANY_LATE or queue.lag_s > TOO_LATE_S:
        problems["queue"] = f"{queue.late} jobs are late, the oldest by {queue.lag_s:.0f} s: start more pollers."
    if queue.stuck:
        problems["jobs"] = f"{queue.stuck} jobs are stuck: their poller is gone and nobody has taken them over."
    elif queue.failed:
        problems["jobs"] = f"{queue.failed} jobs failed within the last hour: see scheduled jobs in the admin."
    checks = {name: "degraded" if name in problems else "ok" for name in UNKNOWN}
    # A failed job needs attention, but does not degrade the service.
    unwell = bool(problems) and (set(problems) != {"jobs"} or queue.stuck > 0)
    facts = {
        "pollers": len(fresh),
        "heartbeat_at": max((poller.heartbeat_at for poller in pollers), default=None),
        "queue_lag_s": round(queue.lag_s, 3),
        "pending_jobs": queue.pending,
        "late_jobs": queue.late,
        "stuck_jobs": queue.stuck,
        "failed_jobs_last_hour": queue.failed,
    }
    return Health("degraded" if unwell else "ok", checks, list(problems.values()), facts, pollers)


health = Cached(look, CACHE_S)
