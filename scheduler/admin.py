"""Jobs and pollers in Django admin, to look at."""

from __future__ import annotations

from django.contrib import admin

from scheduler.models import Poller, ScheduledJob
from security.modeladmin import MachineMadeAdmin


@admin.register(ScheduledJob)
class ScheduledJobAdmin(MachineMadeAdmin):
    list_display = (
        "id",
        "job_type",
        "deployment",
        "sequence_index",
        "status",
        "retry_count",
        "scheduled_at",
        "finished_at",
        "short_error",
    )
    list_filter = ("status", "job_type", "error_code")
    list_select_related = ("deployment__project",)
    search_fields = ("deployment__uuid", "locked_by", "last_error")
    ordering = ("-id",)

    @admin.display(description="last error")
    def short_error(self, job: ScheduledJob) -> str:
        return job.last_error if len(job.last_error) <= 80 else job.last_error[:79] + "…"


@admin.register(Poller)
class PollerAdmin(MachineMadeAdmin):
    list_display = ("name", "host", "pid", "fresh", "started_at", "heartbeat_at")
    search_fields = ("name", "host")
    ordering = ("-heartbeat_at",)

    @admin.display(boolean=True, description="alive")
    def fresh(self, poller: Poller) -> bool:
        return poller.is_fresh
