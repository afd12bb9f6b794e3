"""Addresses of the list of deployments and of one deployment."""

from __future__ import annotations

from dashboard.deployments import views
from dashboard.routes import page

urlpatterns = [
    *page("dashboard/deployments/", views.deployments, "deployments"),
    *page("dashboard/deployments/live/", views.deployments_live, "deployments-live"),
    *page("dashboard/deployments/<uuid:uuid>/", views.deployment, "deployment"),
    *page("dashboard/deployments/<uuid:uuid>/live/", views.deployment_live, "deployment-live"),
    *page("dashboard/deployments/<uuid:uuid>/feedback/", views.feedback, "feedback"),
]
