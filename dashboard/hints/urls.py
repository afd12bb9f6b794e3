"""The address of the hints across projects."""

from __future__ import annotations

from dashboard.hints import views
from dashboard.routes import page

urlpatterns = [
    *page("dashboard/hints/", views.hints, "hints"),
]
