"""URLs of the status page."""

from __future__ import annotations

from dashboard.routes import route
from dashboard.status import views

urlpatterns = [
    *route("dashboard/status/", views.status, "status"),
    *route("dashboard/status/live/", views.status, "status-live", live=True),
]
