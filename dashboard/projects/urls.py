"""Addresses of projects."""

from __future__ import annotations

from dashboard.projects import views
from dashboard.routes import page

urlpatterns = [
    *page("dashboard/projects/<uuid:uuid>/", views.project, "project"),
]
