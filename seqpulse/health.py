"""How SeqPulse says whether it works: /health, /health/scheduler, /health/live and /db-check.

Everyone is told the status. Whoever may see more (the metrics token, staff) is told why. What is asked of the database
is asked once a second at most, however often a load balancer calls.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, JsonResponse
from django.views import View

from seqpulse.cached import Cached
from seqpulse.state import HEALTH_TIMEOUT_MS, STALE_AFTER_S, PollerState, Queue, bounded, read_health
from seqpulse.watching import may_see_details

CACHE_S = 1.0
# What makes it degraded: so many late jobs, or one that is late by so much.
TOO_MANY_LATE = 10
TOO_LATE_S = 60.0
RETRY_AFTER = {"Retry-After": "5"}
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
    """Asks the database."""
    try:
        queue, pollers, missing = read_health()
    except (DatabaseError, InterfaceError):
        connection.close()
        unknown = dict.fromkeys(("migrations", "pollers", "queue", "jobs"), "unknown")
        return Health("down", {"database": "down", **unknown}, [DOWN_WORDS])
    if missing:
        unknown = dict.fromkeys(("pollers", "queue", "jobs"), "unknown")
        words = f"Migrations are missing ({', '.join(missing[:5])}): run manage.py migrate."
        return Health("down", {"database": "ok", "migrations": "down", **unknown}, [words])
    return judge(queue, pollers)


def judge(queue: Queue, pollers: list[PollerState]) -> Health:
    """What queue and pollers say of the whole."""
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
    checks = {"database": "ok", "migrations": "ok"}
    checks |= {name: "degraded" if name in problems else "ok" for name in ("pollers", "queue", "jobs")}
    # A failed job is for people to look at; it does not make the service unwell.
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


def answer(request: HttpRequest, status: str, details: dict[str, Any]) -> JsonResponse:
    """The status for everyone, the details for those who may see them; 503 only when down."""
    body = {"status": status, **(details if may_see_details(request) else {})}
    down = status == "down"
    response = JsonResponse(body, status=503 if down else 200, headers=RETRY_AFTER if down else {})
    response["Cache-Control"] = "no-store"
    return response


class HealthView(View):
    """GET /health: database, migrations, pollers, queue, jobs."""

    def get(self, request: HttpRequest) -> JsonResponse:
        found = health.get()
        return answer(request, found.status, {"checks": found.checks, "reasons": found.reasons, **found.facts})


class SchedulerHealthView(View):
    """GET /health/scheduler: each poller, and what waits."""

    def get(self, request: HttpRequest) -> JsonResponse:
        found = health.get()
        pollers = [
            {
                "name": poller.name,
                "host": poller.host,
                "pid": poller.pid,
                "started_at": poller.started_at,
                "heartbeat_at": poller.heartbeat_at,
                "heartbeat_age_s": round(poller.age_s, 3),
                "stale_after_s": STALE_AFTER_S,
                "status": "ok" if poller.fresh else "stale",
                "running_jobs": poller.running,
            }
            for poller in found.pollers
        ]
        return answer(request, found.status, {"reasons": found.reasons, **found.facts, "pollers": pollers})


class LiveView(View):
    """GET /health/live: this process answers. Asks nobody else."""

    def get(self, request: HttpRequest) -> JsonResponse:
        return JsonResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


def ping() -> float | None:
    """How long the database takes to answer, in ms; None where it does not."""
    began = time.perf_counter()
    try:
        with bounded(HEALTH_TIMEOUT_MS) as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except (DatabaseError, InterfaceError):
        connection.close()
        return None
    return (time.perf_counter() - began) * 1000


database = Cached(ping, CACHE_S)


class DatabaseView(View):
    """GET /db-check: the database answers."""

    def get(self, request: HttpRequest) -> JsonResponse:
        took_ms = database.get()
        if took_ms is None:
            return answer(request, "down", {"reasons": [DOWN_WORDS]})
        return answer(request, "ok", {"took_ms": round(took_ms, 2)})
