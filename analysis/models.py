"""Verdicts and the hints that explain them. Written once, by the analysis job."""

from __future__ import annotations

from typing import Any

from django.db import models

from deployments.models import Deployment


class VerdictName(models.TextChoices):
    OK = "ok"
    WARNING = "warning"
    ROLLBACK_RECOMMENDED = "rollback_recommended"


class Severity(models.TextChoices):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class DeploymentVerdict(models.Model):
    """What the judge said of a deployment, with everything needed to recompute it.

    failed_metrics: list of {"metric", "value", "limit", "share", "tolerance"}; checks: each one (analysis.types.Check);
    policy: the policy as it was; quality: {"score", "issues"}; evidence: the window and the misses as they were judged.
    """

    deployment = models.OneToOneField(Deployment, on_delete=models.CASCADE, related_name="verdict")
    verdict = models.CharField(max_length=24, choices=VerdictName)
    confidence = models.FloatField()
    conclusive = models.BooleanField()
    score = models.FloatField()
    summary = models.TextField()
    failed_metrics = models.JSONField(default=list)
    checks = models.JSONField(default=list)
    quality = models.JSONField(default=dict)
    policy = models.JSONField(default=dict)
    evidence = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "deployment_verdicts"

    def __str__(self) -> str:
        return f"{self.verdict} for {self.deployment}"


class HintQuerySet(models.QuerySet["Hint"]):
    def visible_to(self, user: Any) -> HintQuerySet:
        return self.filter(deployment__in=Deployment.objects.visible_to(user))


class Hint(models.Model):
    """One SeqPulse Debug Hint: what probably happened, what it does to users, what to do next."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="hints")
    position = models.PositiveSmallIntegerField(default=0)
    code = models.CharField(max_length=60)
    metric = models.CharField(max_length=30, blank=True)
    severity = models.CharField(max_length=10, choices=Severity)
    confidence = models.FloatField()
    observed = models.FloatField(null=True, blank=True)
    threshold = models.FloatField(null=True, blank=True)
    title = models.CharField(max_length=200)
    cause = models.TextField()
    impact = models.TextField()
    evidence = models.JSONField(default=list)
    actions = models.JSONField(default=list)
    details = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = HintQuerySet.as_manager()

    class Meta:
        db_table = "sdh_hints"
        ordering = ["deployment", "position"]
        constraints = [models.UniqueConstraint(fields=["deployment", "position"], name="one_hint_per_position")]

    def __str__(self) -> str:
        return f"{self.code} ({self.severity})"
