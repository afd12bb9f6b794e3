"""URL of an environment."""

from __future__ import annotations

from dashboard.environments import views
from dashboard.routes import route

urlpatterns = [
    *route("dashboard/environments/<int:environment_id>/", views.environment, "environment"),
    *route("dashboard/environments/<int:environment_id>/live/", views.environment, "environment-live", live=True),
]
