"""Addresses of the status page."""

from __future__ import annotations

from dashboard.routes import page
from dashboard.status import views

urlpatterns = [
    *page("dashboard/status/", views.status, "status"),
    *page("dashboard/status/live/", views.status_live, "status-live"),
]
