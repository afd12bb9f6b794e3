"""GET /health: whether the database answers and a poller is at work."""

from __future__ import annotations

from django.db import DatabaseError, InterfaceError
from django.db.models import Max
from django.db.models.functions import Now
from django.http import HttpRequest, JsonResponse
from django.views import View

from scheduler.models import HEARTBEAT_STALE_AFTER, Poller


class HealthView(View):
    """ok: all well; degraded (200): no poller is at work, so nothing is measured; down (503): no database."""

    def get(self, request: HttpRequest) -> JsonResponse:
        try:
            fresh = Poller.objects.filter(heartbeat_at__gt=Now() - HEARTBEAT_STALE_AFTER)
            found = fresh.aggregate(latest=Max("heartbeat_at"))
            pollers = fresh.count()
        except (DatabaseError, InterfaceError):
            checks = {"database": "down", "poller": "unknown"}
            down = {"status": "down", "checks": checks, "reasons": ["The database does not answer."]}
            return JsonResponse(down, status=503, headers={"Retry-After": "5"})
        checks = {"database": "ok", "poller": "ok" if pollers else "down"}
        reasons = [] if pollers else ["No poller has been heard of: start one with manage.py run_poller."]
        body: dict[str, object] = {
            "status": "ok" if pollers else "degraded",
            "checks": checks,
            "reasons": reasons,
            "pollers": pollers,
            "heartbeat_at": found["latest"],
        }
        return JsonResponse(body)
