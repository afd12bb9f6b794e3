"""Jobs and pollers in Django admin: read-only, with retry and cancel."""

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from common.modeladmin import FirstRelated, MachineMadeAdmin
from scheduler.models import HEARTBEAT_STALE_AFTER, JobStatus, Poller, ScheduledJob
from scheduler.operations import Outcome, cancel, retry, summary
from scheduler.registry import kind_names
from scheduler.words import shown

LATE_AFTER = timedelta(seconds=10)
REFUSALS_SHOWN = 20
# Failures whose codes are offered as filters.
FAILURES_READ = 1000


class LateFilter(admin.SimpleListFilter):
    """Filter jobs that are due for more than ten seconds and not started."""

    title = _("lateness")
    parameter_name = "late"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("late"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> QuerySet[ScheduledJob]:
        if self.value() != "yes":
            return queryset
        return queryset.filter(status=JobStatus.PENDING, scheduled_at__lt=Now() - LATE_AFTER)


class KindFilter(admin.SimpleListFilter):
    """Filter by kind; offers those that are registered, without reading all jobs."""

    title = _("kind")
    parameter_name = "job_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, name) for name in sorted(kind_names())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> QuerySet[ScheduledJob]:
        return queryset.filter(job_type=self.value()) if self.value() else queryset


class ErrorFilter(admin.SimpleListFilter):
    """Filter by the code of the error; offers those of the latest failures."""

    title = _("error code")
    parameter_name = "error_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        failed = ScheduledJob.objects.filter(status=JobStatus.FAILED).order_by("-finished_at")
        codes = set(failed.values_list("error_code", flat=True)[:FAILURES_READ])
        return [(code, code) for code in sorted(codes | {self.value() or ""}) if code]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> QuerySet[ScheduledJob]:
        return queryset.filter(error_code=self.value()) if self.value() else queryset


@admin.register(ScheduledJob)
class ScheduledJobAdmin(MachineMadeAdmin):
    # What one looks for stands first, so that it is seen without scrolling at 1280 px.
    list_display = ("id", "job_type", "status", "scheduled_at", "project", "short_error")
    list_filter = ("status", LateFilter, ("deployment__project", FirstRelated), ErrorFilter, KindFilter)
    list_select_related = ("deployment__project",)
    actions = ("retry_jobs", "cancel_jobs")
    readonly_fields = ("error", "course")
    exclude = ("history", "last_error", "error_fact")
    search_fields = ("deployment__uuid", "locked_by", "last_error", "=fair_key")
    ordering = ("-id",)

    @admin.display(description=_("last error"))
    def error(self, job: ScheduledJob) -> str:
        return job.shown_error or "-"

    @admin.display(description=_("last error"))
    def short_error(self, job: ScheduledJob) -> str:
        return Truncator(job.shown_error).chars(80)

    @admin.display(description=_("project"))
    def project(self, job: ScheduledJob) -> str:
        """Link to the page of the project that it is about."""
        if job.deployment is None:
            return "-"
        project = job.deployment.project
        return format_html('<a href="{}">{}</a>', reverse("dashboard:project", args=[project.uuid]), project.name)

    @admin.display(description=_("what happened to it"))
    def course(self, job: ScheduledJob) -> str:
        entries = [
            (
                *(entry.get(name, "") for name in ("at", "event", "code")),
                shown(entry.get("fact"), str(entry.get("error", ""))),
                entry.get("poller", ""),
            )
            for entry in job.history or []
            if isinstance(entry, dict)
        ]
        return format_html_join(mark_safe("<br>"), "{} {} {} {} {}", entries) or "-"

    @admin.action(description=_("Retry the selected jobs now"), permissions=["operate"])
    def retry_jobs(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        self.tell(request, retry(ids_of(queryset), by=str(request.user)), gettext("%(n)d of %(total)d jobs: due now."))

    @admin.action(description=_("Cancel the selected jobs"), permissions=["operate"])
    def cancel_jobs(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        outcomes = cancel(ids_of(queryset), by=str(request.user))
        self.tell(request, outcomes, gettext("%(n)d of %(total)d jobs: cancelled."))

    def get_urls(self) -> list[URLPattern]:
        own = path("overview/", self.admin_site.admin_view(self.overview), name="jobs-and-pollers")
        return [own, *super().get_urls()]

    def overview(self, request: HttpRequest) -> HttpResponse:
        """Show jobs by kind and status, delays, stuck jobs, and pollers."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = summary()
        for poller in found["pollers"]:
            poller["fresh"] = poller["heartbeat_s_ago"] < HEARTBEAT_STALE_AFTER.total_seconds()
        context = {
            **self.admin_site.each_context(request),
            "title": _("Jobs and pollers"),
            "opts": self.opts,
            "statuses": JobStatus.choices,
            "fresh": sum(poller["fresh"] for poller in found["pollers"]),
            "late_s": max((entry["late_s"] for entry in found["kinds"].values()), default=0.0),
            **found,
            "stuck": [
                {
                    **job,
                    "label": JobStatus(job["status"]).label,
                    "error": shown(job["error_fact"], job["last_error"]),
                }
                for job in found["stuck"]
            ],
            "kinds": [
                (kind, [(status, entry.get(status, 0)) for status in JobStatus.values], entry["late_s"])
                for kind, entry in found["kinds"].items()
            ],
        }
        return TemplateResponse(request, "admin/jobs_and_pollers.html", context)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Allow retry and cancel with the permission to change jobs; rows are never edited by hand."""
        return request.user.has_perm("scheduler.change_scheduledjob")

    def tell(self, request: HttpRequest, outcomes: list[Outcome], done: str) -> None:
        """Show a message for each job."""
        count = sum(outcome.done for outcome in outcomes)
        if count:
            self.message_user(request, done % {"n": count, "total": len(outcomes)}, messages.SUCCESS)
        for outcome in [outcome for outcome in outcomes if not outcome.done][:REFUSALS_SHOWN]:
            words = gettext("Job %(id)s: %(why)s.") % {"id": outcome.job_id, "why": outcome.words}
            self.message_user(request, words, messages.WARNING)


def ids_of(queryset: QuerySet[ScheduledJob]) -> list[int]:
    return list(queryset.values_list("pk", flat=True))


@admin.register(Poller)
class PollerAdmin(MachineMadeAdmin):
    list_display = ("name", "host", "pid", "fresh", "started_at", "heartbeat_at")
    search_fields = ("name", "host")
    ordering = ("-heartbeat_at",)

    @admin.display(boolean=True, description=_("alive"))
    def fresh(self, poller: Poller) -> bool:
        return poller.is_fresh
