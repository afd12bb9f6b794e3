"""Samples: what the metrics endpoints answered."""

from __future__ import annotations

from django.db import models

from deployments.models import Deployment
from projects.models import Environment


class Phase(models.TextChoices):
    BASELINE = "baseline"
    PRE = "pre"
    POST = "post"


class MetricSampleQuerySet(models.QuerySet["MetricSample"]):
    def of(self, deployment: Deployment) -> MetricSampleQuerySet:
        return self.filter(deployment=deployment).order_by("collected_at", "id")


class MetricSample(models.Model):
    """One answer of a metrics endpoint. Units as in WIRE §2; collected_at: the database's clock when it came in."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="samples")
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, null=True, blank=True, related_name="samples")
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
            models.UniqueConstraint(fields=["deployment", "phase", "sequence_index"], name="one_sample_per_place"),
        ]

    def __str__(self) -> str:
        return f"{self.phase} {self.sequence_index} at {self.collected_at:%Y-%m-%d %H:%M:%S}"
