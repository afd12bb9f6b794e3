"""Samples, the sources that they come from, and what is computed and kept of them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from deployments.models import Deployment
from metrics.payload import METRICS
from projects.models import Environment
from security.encryption import EncryptedTextField


class Phase(models.TextChoices):
    BASELINE = "baseline", pgettext_lazy("phase", "Baseline")
    PRE = "pre", pgettext_lazy("phase", "Pre")
    STEP = "step", pgettext_lazy("phase", "Step")
    POST = "post", pgettext_lazy("phase", "Post")


class Group(models.TextChoices):
    """Which instances a sample measures: those with the new version, or those left on the old one to compare with."""

    TREATMENT = "treatment", pgettext_lazy("of a sample", "Treatment")
    CONTROL = "control", pgettext_lazy("of a sample", "Control")


# A deployment's samples are collected between its trigger and the end of its window; allowance for clocks and retries.
MARGIN = timedelta(hours=1)


# A sample without any of these says nothing.
MEASURED = (*METRICS, "custom_metrics")
SAYS_NOTHING = " AND ".join(f"{name} IS NULL" for name in MEASURED)


class MetricSampleQuerySet(models.QuerySet["MetricSample"]):
    def measured(self) -> MetricSampleQuerySet:
        """Leave out samples without any metric."""
        return self.exclude(**{f"{name}__isnull": True for name in MEASURED})

    def of(self, deployment: Deployment, *, groups: Sequence[str] = (Group.TREATMENT,)) -> MetricSampleQuerySet:
        """Return the samples of a deployment, unless asked for without those of its control group, oldest first."""
        return self.of_all([deployment], groups=groups).order_by("collected_at", "id")

    def of_all(
        self, deployments: Sequence[Deployment], *, groups: Sequence[str] = (Group.TREATMENT,)
    ) -> MetricSampleQuerySet:
        """Return the samples of these deployments, from the partitions of their days only."""
        if not deployments:
            return self.none()
        rows = self.measured().filter(
            # Environments as well: by them the table can be distributed.
            environment_id__in={deployment.environment_id for deployment in deployments},
            deployment_id__in=[deployment.pk for deployment in deployments],
            collected_at__gte=min(deployment.started_at for deployment in deployments) - MARGIN,
            group__in=groups,
        )
        ends = [deployment.window_ends_at for deployment in deployments if deployment.window_ends_at is not None]
        # A deployment that is not finished yet may have samples from now on.
        return rows.filter(collected_at__lt=max(ends) + MARGIN) if len(ends) == len(deployments) else rows


class MetricSample(models.Model):
    """What was measured at one instant: ms, ratios 0..1, requests per second.

    collected_at: by the database's clock, when the answer came in; of a source's past, the time that it is of. A metric
    is NULL where the source does not know it; custom_metrics: further ones by name; instances: how many it covers.

    The table is partitioned by day (metrics/partitions.py) and can be distributed by environment_id, which is part of
    its primary key (id, environment_id, collected_at) and of every unique constraint. No foreign key binds it in the
    database: a distributed table must not refer to a local one, and dropping a partition that does locks out readers
    of the table referred to. Django deletes samples with their deployment; retention deletes those of deleted rows.
    """

    environment = models.ForeignKey(
        Environment,
        on_delete=models.CASCADE,
        related_name="samples",
        db_constraint=False,
        db_index=False,
        verbose_name=_("environment"),
    )
    deployment = models.ForeignKey(
        Deployment,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="samples",
        db_constraint=False,
        db_index=False,
        verbose_name=_("deployment"),
    )
    phase = models.CharField(_("phase"), max_length=10, choices=Phase)
    group = models.CharField(
        pgettext_lazy("of a sample", "group"),
        max_length=10,
        choices=Group,
        default=Group.TREATMENT,
        db_default=Group.TREATMENT,
    )
    sequence_index = models.PositiveIntegerField(_("place in the window"), default=0)
    requests_per_sec = models.FloatField(pgettext_lazy("column", "traffic"), null=True, blank=True)
    latency_p95 = models.FloatField(pgettext_lazy("column", "p95 latency"), null=True, blank=True)
    error_rate = models.FloatField(pgettext_lazy("column", "error rate"), null=True, blank=True)
    cpu_usage = models.FloatField(pgettext_lazy("column", "CPU usage"), null=True, blank=True)
    memory_usage = models.FloatField(pgettext_lazy("column", "memory usage"), null=True, blank=True)
    custom_metrics = models.JSONField(_("custom metrics"), null=True, blank=True)
    instances = models.PositiveIntegerField(_("instances"), null=True, blank=True)
    collected_at = models.DateTimeField(_("collected at"))

    objects = MetricSampleQuerySet.as_manager()

    class Meta:
        verbose_name = _("sample")
        verbose_name_plural = _("samples")
        db_table = "metric_samples"
        indexes = [models.Index(fields=["environment", "phase", "collected_at"], name="samples_of_environment")]
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "environment", "phase", "group", "collected_at"], name="one_sample_per_instant"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.phase} {self.sequence_index} at {self.collected_at:%Y-%m-%d %H:%M:%S}"


class SourceQuerySet(models.QuerySet["Source"]):
    def visible_to(self, user: Any) -> SourceQuerySet:
        return self.filter(environment__in=Environment.objects.visible_to(user))


class Source(models.Model):
    """What an environment's samples come from.

    kind: one of metrics/sources/. config: JSON of that kind's Config, encrypted as a whole, because addresses, headers
    and queries may hold secrets. position: of several that know a metric the first one's value is taken. failure: why
    it gave nothing at failed_at, None if the last attempt succeeded.

    Environment.source_kinds names the kinds of an environment's sources; `metrics.configuring` keeps both in step.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="sources", verbose_name=_("environment")
    )
    kind = models.CharField(_("kind"), max_length=20)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    config = EncryptedTextField(default="", editable=False)
    answered_at = models.DateTimeField(_("answered at"), null=True, blank=True, editable=False)
    failed_at = models.DateTimeField(_("failed at"), null=True, blank=True, editable=False)
    failure = models.JSONField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    objects = SourceQuerySet.as_manager()

    class Meta:
        verbose_name = _("source")
        verbose_name_plural = _("sources")
        db_table = "metric_sources"
        ordering = ("environment_id", "position", "id")

    def __str__(self) -> str:
        return f"{self.kind} of {self.environment}"


class SourceState(models.Model):
    """What a source keeps from one sample to the next, such as counters to compare with, whichever poller runs it."""

    pk = models.CompositePrimaryKey("source_id", "group")
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="states")
    group = models.CharField(max_length=10, choices=Group)
    state = models.BinaryField()
    stored_at = models.DateTimeField()

    class Meta:
        db_table = "source_states"

    def __str__(self) -> str:
        return f"state of source {self.source_id}"


class SamplePlace(models.Model):
    """A place in a deployment's observation that has its sample, so that a job that runs twice stores one.

    A table of its own: a unique constraint of a partitioned table has to contain collected_at, which differs between
    the two runs. Like metric_samples it can be distributed by environment_id and has no foreign key in the database.
    """

    pk = models.CompositePrimaryKey("deployment_id", "environment_id", "phase", "group", "sequence_index")
    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    environment_id = models.BigIntegerField()
    phase = models.CharField(max_length=10, choices=Phase)
    group = models.CharField(max_length=10, choices=Group, db_default=Group.TREATMENT)
    sequence_index = models.PositiveIntegerField()

    class Meta:
        db_table = "sample_places"

    def __str__(self) -> str:
        return f"{self.phase} {self.sequence_index} of {self.deployment_id}"


class MetricLevel(models.Model):
    """The levels of an environment in five minutes that begin at `start`: mean of each metric over its samples.

    Kept longer than the samples (metrics/levels.py). NULL: no sample has the metric; latency_p95 is of samples with
    requests; custom_metrics: means of those of the environment's policy, by name. Like metric_samples the table can be
    distributed by environment_id and has no foreign key in the database.
    """

    pk = models.CompositePrimaryKey("environment_id", "start")
    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    start = models.DateTimeField()
    samples = models.PositiveIntegerField()
    requests_per_sec = models.FloatField(null=True)
    latency_p95 = models.FloatField(null=True)
    error_rate = models.FloatField(null=True)
    cpu_usage = models.FloatField(null=True)
    memory_usage = models.FloatField(null=True)
    custom_metrics = models.JSONField(null=True)

    class Meta:
        db_table = "metric_levels"
        # The latest of all, and those that have expired.
        indexes = [models.Index(fields=["start"], name="levels_by_start")]

    def __str__(self) -> str:
        return f"levels of environment {self.environment_id} from {self.start:%Y-%m-%d %H:%M}"


class PushedSample(models.Model):
    """What an instance of a service sent by itself (metrics/pushing.py): of one time, once.

    Kept for two hours. In our units; NULL: the instance does not know the metric. Like metric_samples the table can be
    distributed by environment_id and has no foreign key in the database.
    """

    pk = models.CompositePrimaryKey("environment_id", "at", "instance")
    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    at = models.DateTimeField()
    instance = models.CharField(max_length=200, db_default="")
    requests_per_sec = models.FloatField(null=True)
    latency_p95 = models.FloatField(null=True)
    error_rate = models.FloatField(null=True)
    cpu_usage = models.FloatField(null=True)
    memory_usage = models.FloatField(null=True)
    custom = models.JSONField(null=True)

    class Meta:
        db_table = "pushed_samples"
        # Those that have expired.
        indexes = [models.Index(fields=["at"], name="pushed_by_time")]

    def __str__(self) -> str:
        return f"{self.instance} of environment {self.environment_id} at {self.at:%Y-%m-%d %H:%M:%S}"


class AlertToken(models.Model):
    """The token at which a source of kind `alerts` takes them; stored as its digest only."""

    source = models.OneToOneField(Source, on_delete=models.CASCADE, related_name="alert_token", primary_key=True)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "alert_tokens"

    def __str__(self) -> str:
        return f"token of source {self.source_id}"


class Alert(models.Model):
    """An alert of an environment: since when it fires, and until when; ends_at: None while it does.

    level: critical, warning or ignored (metrics/sources/alerts.py). earlier: start and end of the times that it fired
    before, oldest first. All times are at most those of their receipt.
    """

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="alerts")
    fingerprint = models.CharField(max_length=64)
    name = models.CharField(max_length=200)
    severity = models.CharField(max_length=40, blank=True)
    level = models.CharField(max_length=10)
    labels = models.JSONField(default=dict)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    earlier = models.JSONField(default=list)
    first_seen_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "alerts"
        constraints = [models.UniqueConstraint(fields=["environment", "fingerprint"], name="one_alert_per_fingerprint")]

    def __str__(self) -> str:
        return f"{self.name} in environment {self.environment_id}"


class OtlpState(models.Model):
    """What an exporter of OpenTelemetry counted when it sent last (metrics/otlp.py). at: seconds since 1970."""

    pk = models.CompositePrimaryKey("environment_id", "instance")
    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    instance = models.CharField(max_length=200)
    at = models.FloatField(db_default=0.0)
    series = models.JSONField(default=dict)

    class Meta:
        db_table = "otlp_states"

    def __str__(self) -> str:
        return f"{self.instance} of environment {self.environment_id}"
