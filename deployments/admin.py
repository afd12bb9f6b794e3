"""Deployments in Django admin, read-only."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from common.modeladmin import MachineMadeAdmin
from deployments.models import Deployment


@admin.register(Deployment)
class DeploymentAdmin(MachineMadeAdmin):
    list_display = (
        "number",
        "project",
        "environment_name",
        "branch",
        "version",
        "state",
        "pipeline_result",
        "started_at",
        "duration_ms",
    )
    list_display_links = ("number", "project")
    list_filter = ("state", "pipeline_result")
    list_select_related = ("project", "environment")
    search_fields = ("uuid", "project__name", "branch", "commit_sha", "version", "author")
    ordering = ("-id",)
    readonly_fields = ("uuid",)

    @admin.display(description=_("environment"), ordering="environment__name")
    def environment_name(self, deployment: Deployment) -> str:
        return deployment.environment.name
