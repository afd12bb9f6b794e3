"""The address of an environment."""

from __future__ import annotations

from dashboard.environments import views
from dashboard.routes import page

urlpatterns = [
    *page("dashboard/environments/<int:environment_id>/", views.environment, "environment"),
    *page("dashboard/environments/<int:environment_id>/live/", views.environment_live, "environment-live"),
]
