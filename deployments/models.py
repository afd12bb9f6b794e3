"""Deployments, from trigger to verdict."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Left, Lower
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from deployments.commits import SHORTEST_SHA
from deployments.search import words_of_deployments
from projects.models import Environment, PolicyVersion, Project


class State(models.TextChoices):
    PENDING = "pending", pgettext_lazy("deployment", "Pending")
    RUNNING = "running", pgettext_lazy("deployment", "Running")
    FINISHED = "finished", pgettext_lazy("deployment", "Finished")
    ANALYZED = "analyzed", pgettext_lazy("deployment", "Analyzed")
    # Closed without a finish, and so without a verdict.
    ABANDONED = "abandoned", pgettext_lazy("deployment", "Abandoned")
    SUPERSEDED = "superseded", pgettext_lazy("deployment", "Superseded")


NEVER_JUDGED = (State.ABANDONED, State.SUPERSEDED)


class PipelineResult(models.TextChoices):
    SUCCESS = "success", pgettext_lazy("pipeline", "Success")
    FAILED = "failed", pgettext_lazy("pipeline", "Failed")
    CANCELLED = "cancelled", pgettext_lazy("pipeline", "Cancelled")


class Kind(models.TextChoices):
    DEPLOYMENT = "deployment", pgettext_lazy("kind", "Deployment")
    ROLLBACK = "rollback", pgettext_lazy("kind", "Rollback")
    VERIFICATION = "verification", pgettext_lazy("kind", "Verification")


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    def of(self, project: Project) -> DeploymentQuerySet:
        return self.filter(project=project)

    def visible_to(self, user: Any) -> DeploymentQuerySet:
        shown = self.filter(project__in=Project.objects.visible_to(user))
        return shown.filter(environment__deleting_at__isnull=True)

    def running_in(self, environment: Environment) -> DeploymentQuerySet:
        return self.filter(environment=environment, state=State.RUNNING)

    def good(self) -> DeploymentQuerySet:
        """Return those whose window shows a healthy service: conclusively ok, and not marked wrong."""
        return self.filter(verdict__verdict="ok", verdict__conclusive=True).exclude(verdict__feedback__right=False)

    def restorable(self) -> DeploymentQuerySet:
        """Return those that one can roll back to: good, of a pipeline that did not fail, and no verification."""
        return self.good().filter(pipeline_result__in=("", PipelineResult.SUCCESS)).exclude(kind=Kind.VERIFICATION)

    def with_key(self, environment: Environment, key: str) -> Deployment | None:
        """Return the environment's deployment that a call with this idempotency key got, if any."""
        remembered = self.filter(keys__environment=environment, keys__key=key).first()
        # The previous version of SeqPulse writes no DeploymentKey.
        return remembered or self.filter(environment=environment, idempotency_key=key).order_by("pk").first()

    def with_key_in(self, project: Project, key: str) -> DeploymentQuerySet:
        """Return those that calls with this idempotency key got: at most one per environment.

        By environment, as the indexes are, and as a union: either part has an index, a condition of both has none.
        """
        environments = Environment.objects.filter(project=project).values("pk")
        remembered = DeploymentKey.objects.filter(environment__in=environments, key=key).values("deployment")
        named = Deployment.objects.filter(environment__in=environments, idempotency_key=key).values("pk")
        return self.filter(pk__in=remembered.union(named))


class Deployment(models.Model):
    """One deployment of a project into an environment.

    window_samples and interval_s are fixed at finish, settle_s (between finish and the window) at trigger, so that a
    later change of settings does not change what this deployment is waiting for. duration_ms: from trigger to finish.
    idempotency_key: of the call that started it, to be shown; DeploymentKey has the keys of all calls. attempts: how
    many attempts of its pipeline brought its key, itself included; later calls count once it is closed.
    """

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    number = models.PositiveIntegerField(_("number"))
    # Without indexes of their own: every call pays for each, and others begin with these columns.
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="deployments", db_index=False, verbose_name=_("project")
    )
    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="deployments", db_index=False, verbose_name=_("environment")
    )
    idempotency_key = models.CharField(_("idempotency key"), max_length=255, null=True, blank=True)
    attempts = models.PositiveIntegerField(_("attempts"), default=1, db_default=1)
    branch = models.CharField(_("branch"), max_length=255, blank=True)
    commit_sha = models.CharField(_("commit"), max_length=64, blank=True)
    version = models.CharField(_("version"), max_length=255, blank=True)
    author = models.CharField(_("author"), max_length=255, blank=True)
    url = models.CharField(_("URL"), max_length=2048, blank=True)
    committed_at = models.DateTimeField(
        _("committed at"), null=True, blank=True, help_text="When it was committed, where the call says so."
    )
    commit_message = models.CharField(_("commit message"), max_length=2000, blank=True, default="", db_default="")
    kind = models.CharField(_("kind"), max_length=12, choices=Kind, default=Kind.DEPLOYMENT, db_default=Kind.DEPLOYMENT)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.RUNNING)
    pipeline_result = models.CharField(_("pipeline result"), max_length=10, choices=PipelineResult, blank=True)
    started_at = models.DateTimeField(_("started at"))
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    duration_ms = models.PositiveBigIntegerField(_("duration (ms)"), null=True, blank=True)
    window_samples = models.PositiveSmallIntegerField(_("samples of the window"), default=0)
    interval_s = models.FloatField(_("interval (s)"), default=60.0)
    settle_s = models.PositiveSmallIntegerField(_("settling time (s)"), default=0, db_default=0)
    superseded_by = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("superseded by"),
    )
    policy_version = models.ForeignKey(
        PolicyVersion,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text="The policy that its trigger call brought; empty: the environment's.",
        verbose_name=_("policy version"),
    )

    control = models.JSONField(
        _("control group"),
        null=True,
        blank=True,
        editable=False,
        help_text="Where the old version beside the new one is measured (deployments/control.py); empty: nowhere.",
    )
    control_problem = models.JSONField(
        null=True, blank=True, editable=False, help_text="Why the control group gave no sample when last asked."
    )
    green = models.CharField(
        _("green endpoint"),
        max_length=2048,
        blank=True,
        editable=False,
        default="",
        db_default="",
        help_text="Where its window is measured, as its finish said; empty: as its environment is.",
    )

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        verbose_name = _("deployment")
        verbose_name_plural = _("deployments")
        db_table = "deployments"
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_number_per_project"),
            models.UniqueConstraint(
                fields=["environment"], condition=models.Q(state="running"), name="one_running_per_environment"
            ),
        ]
        indexes = [
            models.Index(fields=["project", "-id"], name="deployments_latest"),
            # The few that wait for their verdict.
            models.Index(fields=["id"], condition=models.Q(state="finished"), name="deployments_observed"),
            # The latest of an environment, and those within a time.
            models.Index(fields=["environment", "-started_at"], name="deployments_by_start"),
            # All columns that the delivery figures need: an index-only scan.
            models.Index(
                fields=["project", "finished_at"],
                include=["id", "environment", "pipeline_result", "committed_at", "kind"],
                condition=models.Q(finished_at__isnull=False),
                name="deployments_by_finish_kind",
            ),
            # Earlier deployments of a commit (deployments/rollbacks.py).
            models.Index(
                "environment",
                Left(Lower("commit_sha"), SHORTEST_SHA),
                condition=~models.Q(commit_sha=""),
                name="deployments_by_commit",
            ),
            # One per order of the lists, which are read page by page.
            models.Index(fields=["started_at", "id"], name="deployments_by_time"),
            models.Index(fields=["project", "started_at", "id"], name="deployments_of_project"),
            models.Index(fields=["branch", "started_at"], name="deployments_by_branch"),
            models.Index(fields=["author", "started_at"], name="deployments_by_author"),
            models.Index(fields=["duration_ms", "id"], name="deployments_by_duration"),
            models.Index(fields=["id"], condition=models.Q(duration_ms=None), name="deployments_unfinished"),
            # Keys that the previous version wrote, which knows no DeploymentKey.
            models.Index(
                fields=["environment", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="deployments_by_key",
            ),
            # The few that have one: for deleting what they name.
            models.Index(
                fields=["policy_version"],
                condition=models.Q(policy_version__isnull=False),
                name="deployments_with_policy",
            ),
            models.Index(
                fields=["superseded_by"],
                condition=models.Q(superseded_by__isnull=False),
                name="deployments_superseded",
            ),
            # The few without a final verdict.
            models.Index(fields=["id"], condition=~models.Q(state="analyzed"), name="deployments_unjudged"),
            GinIndex(words_of_deployments(), name="deployments_by_word"),
        ]

    def __str__(self) -> str:
        return f"{self.project} #{self.number}"

    @property
    def commit_title(self) -> str:
        """The first line of the commit message."""
        return next(iter(self.commit_message.splitlines()), "")

    @property
    def window_starts_at(self) -> datetime | None:
        """When measuring starts, one interval before the first sample; None before finish."""
        return self.finished_at and self.finished_at + timedelta(seconds=self.settle_s)

    @property
    def window_ends_at(self) -> datetime | None:
        """When the last sample is due; None before finish."""
        start = self.window_starts_at
        return start and start + timedelta(seconds=self.window_samples * self.interval_s)


class DeploymentKey(models.Model):
    """An idempotency key that a trigger call brought, and the deployment that it got: always the same one."""

    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="+", db_index=False, verbose_name=_("environment")
    )
    key = models.CharField(_("idempotency key"), max_length=255)
    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="keys", verbose_name=_("deployment")
    )

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        db_table = "deployment_keys"
        constraints = [models.UniqueConstraint(fields=["environment", "key"], name="one_deployment_per_key")]

    def __str__(self) -> str:
        return self.key
