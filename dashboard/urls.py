"""Pages for people. Each address works with and without a trailing slash: APPEND_SLASH is off, for the API's sake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpResponseBase
from django.urls import URLPattern, path
from django.views.generic import RedirectView

from dashboard import policy_views, views

app_name = "dashboard"


def page(route: str, view: Callable[..., HttpResponseBase], name: str) -> list[URLPattern]:
    """The page's own address, which links use, and the same without the slash."""
    return [path(route, view, name=name), path(route.rstrip("/"), view)]


login: Any = LoginView.as_view(redirect_authenticated_user=True, template_name="dashboard/login.html")
home: Any = RedirectView.as_view(pattern_name="dashboard:deployments")

urlpatterns = [
    path("", home, name="home"),
    path("favicon.ico", views.favicon, name="favicon"),
    *page("dashboard/", home, "start"),
    *page("login/", login, "login"),
    *page("logout/", LogoutView.as_view(), "logout"),
    *page("dashboard/deployments/", views.deployments, "deployments"),
    *page("dashboard/deployments/live/", views.deployments_live, "deployments-live"),
    *page("dashboard/deployments/<uuid:uuid>/", views.deployment, "deployment"),
    *page("dashboard/deployments/<uuid:uuid>/live/", views.deployment_live, "deployment-live"),
    *page("dashboard/deployments/<uuid:uuid>/feedback/", views.feedback, "feedback"),
    *page("dashboard/projects/<uuid:uuid>/", policy_views.project, "project"),
    *page("dashboard/environments/<int:environment_id>/policy/", policy_views.policy, "policy"),
    *page("dashboard/environments/<int:environment_id>/windows/", policy_views.exclude, "exclude-window"),
    *page(
        "dashboard/environments/<int:environment_id>/windows/<int:window_id>/remove/",
        policy_views.include,
        "include-window",
    ),
]
