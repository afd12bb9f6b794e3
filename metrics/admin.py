"""Samples in Django admin, read-only."""

from django.contrib import admin

from deployments.admin import OfDeploymentAdmin
from metrics.models import MetricSample


@admin.register(MetricSample)
class MetricSampleAdmin(OfDeploymentAdmin):
    list_display = (
        "collected_at",
        "of_deployment",
        "phase",
        "sequence_index",
        "requests_per_sec",
        "latency_p95",
        "error_rate",
        "cpu_usage",
        "memory_usage",
    )
    list_filter = ("phase",)
    list_select_related = ("deployment__project", "environment")
    search_fields = ("deployment__uuid", "environment__name", "deployment__project__name")
    ordering = ("-id",)
