"""URLs of all pages, in the namespace "dashboard"; each subject has its own module."""

from __future__ import annotations

from django.urls import path

from dashboard import home
from dashboard.accounts.urls import urlpatterns as accounts
from dashboard.deployments.urls import urlpatterns as deployments
from dashboard.environments.urls import urlpatterns as environments
from dashboard.hints.urls import urlpatterns as hints
from dashboard.overview.urls import urlpatterns as overview
from dashboard.policies.urls import urlpatterns as policies
from dashboard.projects.urls import urlpatterns as projects
from dashboard.status.urls import urlpatterns as status
from dashboard.teams.urls import urlpatterns as teams

app_name = "dashboard"

urlpatterns = [
    path("", home.home, name="home"),
    path("favicon.ico", home.favicon, name="favicon"),
    *accounts,
    *overview,
    *deployments,
    *hints,
    *projects,
    *environments,
    *policies,
    *teams,
    *status,
]
