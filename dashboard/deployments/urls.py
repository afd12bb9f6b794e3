"""URLs of the list of deployments and of a deployment."""

from __future__ import annotations

from django.urls import path

from dashboard.deployments import actions, list_views, views
from dashboard.routes import route

urlpatterns = [
    *route("dashboard/deployments/", list_views.deployments, "deployments"),
    *route("dashboard/deployments/live/", list_views.deployments, "deployments-live", live=True),
    *route("dashboard/deployments/csv/", list_views.download, "deployments-csv", kind="csv"),
    *route("dashboard/deployments/json/", list_views.download, "deployments-json", kind="json"),
    *route("dashboard/deployments/<uuid:uuid>/", views.deployment, "deployment"),
    *route("dashboard/deployments/<uuid:uuid>/live/", views.deployment, "deployment-live", live=True),
    *route("dashboard/deployments/<uuid:uuid>/feedback/", views.feedback, "feedback"),
    *route("dashboard/deployments/<uuid:uuid>/compare/", actions.compare, "compare"),
    *route("dashboard/deployments/<uuid:uuid>/rerun/", actions.rerun, "rerun"),
    *route("dashboard/deployments/<uuid:uuid>/replay/", actions.replay, "replay"),
    path("dashboard/deployments/<uuid:uuid>/download.json", actions.download, name="deployment-download"),
]
