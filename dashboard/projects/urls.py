"""Addresses of projects and of their environments' settings."""

from __future__ import annotations

from dashboard.projects import environment_settings, keys, settings, signing, views
from dashboard.routes import page

PROJECT = "dashboard/projects/<uuid:uuid>/"
ENVIRONMENT = "dashboard/environments/<int:environment_id>/settings/"

urlpatterns = [
    *page("dashboard/projects/", views.projects, "projects"),
    *page("dashboard/projects/new/", views.new, "project-new"),
    *page(PROJECT, views.project, "project"),
    *page(f"{PROJECT}integration/", views.integration, "integration"),
    *page(f"{PROJECT}settings/", settings.settings, "project-settings"),
    *page(f"{PROJECT}settings/plan/", settings.plan, "project-plan"),
    *page(f"{PROJECT}settings/archive/", settings.archive, "project-archive"),
    *page(f"{PROJECT}settings/unarchive/", settings.unarchive, "project-unarchive"),
    *page(f"{PROJECT}settings/delete/", settings.delete, "project-delete"),
    *page(f"{PROJECT}environments/", settings.add, "environment-new"),
    *page(f"{PROJECT}keys/", keys.keys, "project-keys"),
    *page(f"{PROJECT}keys/<int:key_id>/revoke/", keys.revoke, "key-revoke"),
    *page(ENVIRONMENT, environment_settings.settings, "environment-settings"),
    *page(f"{ENVIRONMENT}probe/", environment_settings.probe, "environment-probe"),
    *page(f"{ENVIRONMENT}endpoint/", environment_settings.endpoint, "environment-endpoint"),
    *page(f"{ENVIRONMENT}signing/", signing.signing, "environment-signing"),
    *page(f"{ENVIRONMENT}delete/", environment_settings.delete, "environment-delete"),
]
