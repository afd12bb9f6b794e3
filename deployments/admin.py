"""Deployments in Django admin, read-only."""

from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _

from common.modeladmin import MachineMadeAdmin
from deployments.models import Deployment

# Admin lists of what belongs to a deployment.
LISTS = (
    ("metrics_metricsample", _("samples")),
    ("analysis_deploymentverdict", _("verdict")),
    ("analysis_hint", _("hints")),
    ("scheduler_scheduledjob", _("jobs")),
)


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
    readonly_fields = ("uuid", "belonging")

    @admin.display(description=_("environment"), ordering="environment__name")
    def environment_name(self, deployment: Deployment) -> str:
        return deployment.environment.name

    @admin.display(description=_("what belongs to it"))
    def belonging(self, deployment: Deployment) -> str:
        """Link to its page and to the lists of its rows in other tables."""
        links = [(reverse("dashboard:deployment", args=[deployment.uuid]), _("page of the deployment"))]
        for name, label in LISTS:
            links.append((f"{reverse(f'admin:{name}_changelist')}?deployment__id__exact={deployment.pk}", label))
        return format_html_join(mark_safe(" · "), '<a href="{}">{}</a>', links)


class OfDeploymentAdmin(MachineMadeAdmin):
    """Rows of a deployment, which their list links to."""

    @admin.display(description=_("deployment"), ordering="deployment")
    def of_deployment(self, row: Any) -> str:
        if row.deployment is None:
            return "-"
        address = reverse("admin:deployments_deployment_change", args=[row.deployment.pk])
        return format_html('<a href="{}">{}</a>', address, row.deployment)
