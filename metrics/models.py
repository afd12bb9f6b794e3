"""Samples: what the metrics endpoints answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.db import models
from django.utils.translation import pgettext_lazy

from deployments.models import Deployment
from projects.models import Environment


class Phase(models.TextChoices):
    BASELINE = "baseline", pgettext_lazy("phase", "Baseline")
    PRE = "pre", pgettext_lazy("phase", "Pre")
    POST = "post", pgettext_lazy("phase", "Post")


# Samples of a deployment lie between its trigger and its window's end; this much is left to clocks and late tries.
MARGIN = timedelta(hours=1)


class MetricSampleQuerySet(models.QuerySet["MetricSample"]):
    def of(self, deployment: Deployment) -> MetricSampleQuerySet:
        """The deployment's samples, oldest first."""
        return self.of_all([deployment]).order_by("collected_at", "id")

    def of_all(self, deployments: Sequence[Deployment]) -> MetricSampleQuerySet:
        """The samples of all of them; their times are named, so that only those days' partitions are read."""
        if not deployments:
            return self.none()
        rows = self.filter(
            deployment_id__in=[deployment.pk for deployment in deployments],
            collected_at__gte=min(deployment.started_at for deployment in deployments) - MARGIN,
        )
        ends = [
            deployment.finished_at + timedelta(seconds=deployment.window_samples * deployment.interval_s)
            for deployment in deployments
            if deployment.finished_at is not None
        ]
        # One that is not finished, as far as we know, may have samples from now on.
        return rows.filter(collected_at__lt=max(ends) + MARGIN) if len(ends) == len(deployments) else rows


class MetricSample(models.Model):
    """One answer of a metrics endpoint. Units as in WIRE §2; collected_at: the database's clock when it came in.

    The table is partitioned by day (metrics/partitions.py). Its foreign keys are kept by us, not by the database: to
    drop a partition that has one, PostgreSQL locks out every reader of the table that it points to.
    """

    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="samples", db_constraint=False, db_index=False
    )
    deployment = models.ForeignKey(
        Deployment,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="samples",
        db_constraint=False,
        db_index=False,
    )
    phase = models.CharField(max_length=10, choices=Phase)
    sequence_index = models.PositiveIntegerField(default=0)
    requests_per_sec = models.FloatField()
    latency_p95 = models.FloatField()
    error_rate = models.FloatField()
    cpu_usage = models.FloatField()
    memory_usage = models.FloatField()
    collected_at = models.DateTimeField()

    objects = MetricSampleQuerySet.as_manager()

    class Meta:
        db_table = "metric_samples"
        indexes = [models.Index(fields=["environment", "phase", "collected_at"], name="samples_of_environment")]
        constraints = [
            models.UniqueConstraint(fields=["deployment", "phase", "collected_at"], name="one_sample_per_instant"),
        ]

    def __str__(self) -> str:
        return f"{self.phase} {self.sequence_index} at {self.collected_at:%Y-%m-%d %H:%M:%S}"


class SamplePlace(models.Model):
    """A place in a deployment's observation that has its sample: a job that runs twice leaves one.

    A table of its own, because a unique constraint of a partitioned table has to contain the partition's key, the time.
    """

    pk = models.CompositePrimaryKey("deployment_id", "phase", "sequence_index")
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="+", db_index=False)
    phase = models.CharField(max_length=10, choices=Phase)
    sequence_index = models.PositiveIntegerField()

    class Meta:
        db_table = "sample_places"

    def __str__(self) -> str:
        return f"{self.phase} {self.sequence_index} of {self.deployment_id}"
