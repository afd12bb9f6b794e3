"""URLs of an environment's policy."""

from __future__ import annotations

from dashboard.policies import views
from dashboard.routes import route

urlpatterns = [
    *route("dashboard/environments/<int:environment_id>/policy/", views.policy, "policy"),
    *route("dashboard/environments/<int:environment_id>/windows/", views.exclude, "exclude-window"),
    *route(
        "dashboard/environments/<int:environment_id>/windows/<int:window_id>/remove/",
        views.include,
        "include-window",
    ),
]
