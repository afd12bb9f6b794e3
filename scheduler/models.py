"""Jobs, pollers and totals."""

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from scheduler.words import shown

# After this time without a heartbeat, health reports a poller as gone.
HEARTBEAT_STALE_AFTER = timedelta(seconds=30)


class JobStatus(models.TextChoices):
    PENDING = "pending", pgettext_lazy("job", "Pending")
    RUNNING = "running", pgettext_lazy("job", "Running")
    COMPLETED = "completed", pgettext_lazy("job", "Completed")
    FAILED = "failed", pgettext_lazy("job", "Failed")
    CANCELLED = "cancelled", pgettext_lazy("job", "Cancelled")
    EXPIRED = "expired", pgettext_lazy("job", "Expired")


OPEN_STATUSES = (JobStatus.PENDING, JobStatus.RUNNING)


class ScheduledJobQuerySet(models.QuerySet["ScheduledJob"]):
    def open(self) -> Self:
        # OR, not IN: each half uses its partial index, so that the many ended jobs are not read.
        return self.filter(models.Q(status=JobStatus.PENDING) | models.Q(status=JobStatus.RUNNING))

    def due(self) -> Self:
        """Filter pending jobs that are due, by the database's clock."""
        return self.filter(status=JobStatus.PENDING, scheduled_at__lte=Now())


class ScheduledJob(models.Model):
    """One thing to do at one time. Written by SQL in scheduler/store.py; states: docs/architecture/state_machine.md."""

    deployment = models.ForeignKey(
        "deployments.Deployment",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="jobs",
        # one_job_per_place begins with it.
        db_index=False,
        verbose_name=_("deployment"),
    )
    job_type = models.CharField(_("kind"), max_length=50)
    phase = models.CharField(_("phase"), max_length=10, blank=True)
    sequence_index = models.PositiveIntegerField(_("place in the window"), default=0)
    scheduled_at = models.DateTimeField(_("due at"))
    status = models.CharField(_("status"), max_length=10, choices=JobStatus, default=JobStatus.PENDING)
    retry_count = models.PositiveSmallIntegerField(_("retries"), default=0)
    last_error = models.TextField(_("last error"), blank=True)
    error_fact = models.JSONField(
        null=True, blank=True, help_text="Code and parameters of the error; last_error is its English text."
    )
    error_code = models.CharField(_("error code"), max_length=40, blank=True)
    job_metadata = models.JSONField(_("job data"), default=dict, blank=True)
    unique_key = models.CharField(
        max_length=200, null=True, blank=True, help_text="At most one job ever has it: for recurring work, one a tick."
    )
    fair_key = models.BigIntegerField(
        _("fairness key"),
        null=True,
        blank=True,
        help_text="Whose job it is, where pollers are to be shared fairly: the project's id.",
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    locked_by = models.CharField(_("held by"), max_length=100, blank=True)
    locked_until = models.DateTimeField(_("held until"), null=True, blank=True)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    history = models.JSONField(
        _("history"),
        null=True,
        blank=True,
        help_text="Failures, recoveries and what people did with it: the last ten, oldest first.",
    )

    objects = ScheduledJobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        db_table = "scheduled_jobs"
        indexes = [
            models.Index(fields=["scheduled_at", "id"], condition=models.Q(status="pending"), name="jobs_due"),
            # Without locked_until, so that renewing leases is a HOT update.
            models.Index(fields=["locked_by"], condition=models.Q(status="running"), name="jobs_running"),
            # For health. Small, because few jobs fail.
            models.Index(fields=["finished_at"], condition=models.Q(status="failed"), name="jobs_failed"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "job_type", "sequence_index"],
                condition=models.Q(deployment__isnull=False),
                name="one_job_per_place",
            ),
            models.UniqueConstraint(
                fields=["unique_key"], condition=models.Q(unique_key__isnull=False), name="one_job_per_unique_key"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_type} #{self.pk} ({self.status})"

    @property
    def shown_error(self) -> str:
        """Return the error in the active language, "" if there is none."""
        return shown(self.error_fact, self.last_error)


class Poller(models.Model):
    """A poller process with its heartbeat."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    host = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("process"))
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("last heartbeat"))
    session_locked = models.BooleanField(
        default=False,
        help_text="It holds the advisory lock of its name: who can take that knows that the poller is gone.",
    )
    clock_ahead_s = models.FloatField(
        null=True, help_text="Seconds by which its clock is ahead of the database's, at the last heartbeat."
    )

    class Meta:
        verbose_name = _("poller")
        verbose_name_plural = _("pollers")
        db_table = "pollers"

    def __str__(self) -> str:
        return self.name

    @property
    def is_fresh(self) -> bool:
        return timezone.now() - self.heartbeat_at < HEARTBEAT_STALE_AFTER


class RunningTotal(models.Model):
    """A part of a counter or histogram; its value is the sum per name, labels and part (common/totals.py)."""

    name = models.CharField(max_length=100)
    labels = models.CharField(max_length=200, blank=True)
    part = models.CharField(max_length=20, blank=True)
    value = models.FloatField()

    class Meta:
        db_table = "running_totals"

    def __str__(self) -> str:
        return f"{self.name}{{{self.labels}}} {self.part} +{self.value:g}"


class RestoreTrial(models.Model):
    """When operators last restored a backup to see that it works: one row, written by `manage.py restore_tried`."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    tried_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "restore_trials"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_restore_trial")]

    def __str__(self) -> str:
        return f"backup restored {self.tried_at:%Y-%m-%d}"
