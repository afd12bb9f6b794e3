"""Addresses of projects and of their environments' settings."""

from __future__ import annotations

from dashboard.projects import environment_settings, keys, settings, signing, views
from dashboard.routes import route

PROJECT = "dashboard/projects/<uuid:uuid>/"
ENVIRONMENT = "dashboard/environments/<int:environment_id>/settings/"

urlpatterns = [
    *route("dashboard/projects/", views.projects, "projects"),
    *route("dashboard/projects/new/", views.new, "project-new"),
    *route(PROJECT, views.project, "project"),
    *route(f"{PROJECT}integration/", views.integration, "integration"),
    *route(f"{PROJECT}settings/", settings.settings, "project-settings"),
    *route(f"{PROJECT}settings/plan/", settings.plan, "project-plan"),
    *route(f"{PROJECT}settings/archive/", settings.archive, "project-archive"),
    *route(f"{PROJECT}settings/unarchive/", settings.unarchive, "project-unarchive"),
    *route(f"{PROJECT}settings/delete/", settings.delete, "project-delete"),
    *route(f"{PROJECT}environments/", settings.add, "environment-new"),
    *route(f"{PROJECT}keys/", keys.keys, "project-keys"),
    *route(f"{PROJECT}keys/<int:key_id>/revoke/", keys.revoke, "key-revoke"),
    *route(ENVIRONMENT, environment_settings.settings, "environment-settings"),
    *route(f"{ENVIRONMENT}probe/", environment_settings.probe, "environment-probe"),
    *route(f"{ENVIRONMENT}endpoint/", environment_settings.endpoint, "environment-endpoint"),
    *route(f"{ENVIRONMENT}signing/", signing.signing, "environment-signing"),
    *route(f"{ENVIRONMENT}delete/", environment_settings.delete, "environment-delete"),
]
