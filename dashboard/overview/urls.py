"""Addresses of the overview."""

from __future__ import annotations

from dashboard.overview import views
from dashboard.routes import page

urlpatterns = [
    *page("dashboard/", views.overview, "overview"),
    *page("dashboard/live/", views.overview_live, "overview-live"),
]
