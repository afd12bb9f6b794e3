"""Health endpoints: /health, /health/scheduler, /health/live and /db-check.

The status is public; reasons need the metrics token or staff. The database is queried at most once a second, however
often a load balancer calls.
"""

import time
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, JsonResponse
from django.views import View

from common.cached import Cached
from scheduler.health import CACHE_S, DOWN_WORDS, PATIENCE_S, health
from scheduler.state import HEALTH_TIMEOUT_MS, STALE_AFTER_S, bounded
from security.limits import UNLIMITED, limited
from seqpulse.observability.access import may_see_details

RETRY_AFTER = {"Retry-After": "5"}


def answer(request: HttpRequest, status: str, details: dict[str, Any]) -> JsonResponse:
    """Return the status, with details for permitted callers; 503 only when down."""
    body = {"status": status, **(details if may_see_details(request) else {})}
    down = status == "down"
    response = JsonResponse(body, status=503 if down else 200, headers=RETRY_AFTER if down else {})
    response["Cache-Control"] = "no-store"
    return response


@limited(UNLIMITED)
class HealthView(View):
    """GET /health: database (a write is tried), migrations, pollers, clocks, queue, jobs."""

    def get(self, request: HttpRequest) -> JsonResponse:
        found = health.get()
        details = {"state": found.state, "checks": found.checks, "reasons": found.reasons, **found.facts}
        return answer(request, found.status, details)


@limited(UNLIMITED)
class SchedulerHealthView(View):
    """GET /health/scheduler: pollers and waiting jobs."""

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
                "status": "ok" if poller.fresh else "frozen" if poller.frozen else "stale",
                "clock_ahead_s": poller.clock_ahead_s and round(poller.clock_ahead_s, 3),
                "running_jobs": poller.running,
            }
            for poller in found.pollers
        ]
        details = {"state": found.state, "reasons": found.reasons, **found.facts, "pollers": pollers}
        return answer(request, found.status, details)


@limited(UNLIMITED)
class LiveView(View):
    """GET /health/live: this process answers. Uses no database."""

    def get(self, request: HttpRequest) -> JsonResponse:
        return JsonResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


def ping() -> float | None:
    """Return the response time of the database in ms, None if it does not answer."""
    began = time.perf_counter()
    try:
        with bounded(HEALTH_TIMEOUT_MS) as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except (DatabaseError, InterfaceError):
        connection.close()
        return None
    return (time.perf_counter() - began) * 1000


database = Cached(ping, CACHE_S, overdue=lambda: None, patience_s=PATIENCE_S)


@limited(UNLIMITED)
class DatabaseView(View):
    """GET /db-check: the database answers."""

    def get(self, request: HttpRequest) -> JsonResponse:
        took_ms = database.get()
        if took_ms is None:
            return answer(request, "down", {"reasons": [DOWN_WORDS]})
        return answer(request, "ok", {"took_ms": round(took_ms, 2)})
