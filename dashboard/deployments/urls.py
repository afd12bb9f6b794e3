"""Addresses of the list of deployments and of one deployment."""

from __future__ import annotations

from django.urls import path

from dashboard.deployments import actions, list_views, views
from dashboard.routes import page

urlpatterns = [
    *page("dashboard/deployments/", list_views.deployments, "deployments"),
    *page("dashboard/deployments/live/", list_views.deployments_live, "deployments-live"),
    *page("dashboard/deployments/csv/", list_views.deployments_csv, "deployments-csv"),
    *page("dashboard/deployments/json/", list_views.deployments_json, "deployments-json"),
    *page("dashboard/deployments/<uuid:uuid>/", views.deployment, "deployment"),
    *page("dashboard/deployments/<uuid:uuid>/live/", views.deployment_live, "deployment-live"),
    *page("dashboard/deployments/<uuid:uuid>/feedback/", views.feedback, "feedback"),
    *page("dashboard/deployments/<uuid:uuid>/compare/", actions.compare, "compare"),
    *page("dashboard/deployments/<uuid:uuid>/rerun/", actions.rerun, "rerun"),
    *page("dashboard/deployments/<uuid:uuid>/replay/", actions.replay, "replay"),
    path("dashboard/deployments/<uuid:uuid>/download.json", actions.download, name="deployment-download"),
]
