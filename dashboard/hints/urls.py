"""URL of the hints of all projects."""

from __future__ import annotations

from dashboard.hints import views
from dashboard.routes import route

urlpatterns = [
    *route("dashboard/hints/", views.hints, "hints"),
]
