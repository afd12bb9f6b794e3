"""URLs of the overview."""

from __future__ import annotations

from dashboard.overview import views
from dashboard.routes import route

urlpatterns = [
    *route("dashboard/", views.overview, "overview"),
    *route("dashboard/live/", views.overview, "overview-live", live=True),
]
