"""Samples for tests."""

from datetime import datetime, timedelta
from typing import Any

from deployments.models import Deployment
from metrics.models import MetricSample, Phase
from metrics.payload import Metrics
from metrics.storing import Sample
from projects.models import Environment
from scheduler.registry import Job

HEALTHY = {
    "requests_per_sec": 42.0,
    "latency_p95": 118.0,
    "error_rate": 0.002,
    "cpu_usage": 0.41,
    "memory_usage": 0.55,
}


def make_sample(deployment: Deployment, **kwargs: Any) -> MetricSample:
    """One healthy sample. PRE: at the deployment's start; POST number i (from 1): i intervals after its finish."""
    phase = kwargs.get("phase", Phase.POST)
    index = kwargs.get("sequence_index", 0 if phase == Phase.PRE else 1)
    start = deployment.finished_at or deployment.started_at
    if phase == Phase.PRE:
        start = deployment.started_at
    values: dict[str, Any] = {
        "environment": deployment.environment,
        "deployment": deployment,
        "phase": phase,
        "sequence_index": index,
        "collected_at": start + timedelta(seconds=index * deployment.interval_s),
        **HEALTHY,
        **kwargs,
    }
    return MetricSample.objects.create(**values)


def make_samples(deployment: Deployment, *, post: int | None = None, **kwargs: Any) -> list[MetricSample]:
    """One PRE sample and `post` POST samples (default: the whole window).

    kwargs: a metric's POST values, one number for all of them or a list with one per sample.
    """
    count = deployment.window_samples if post is None else post
    rows = [make_sample(deployment, phase=Phase.PRE)]
    for place in range(count):
        values = {name: value[place] if isinstance(value, list) else value for name, value in kwargs.items()}
        rows.append(make_sample(deployment, phase=Phase.POST, sequence_index=place + 1, **values))
    return rows


def make_row(environment: Environment, collected_at: datetime, **kwargs: Any) -> Sample:
    """A healthy sample to be stored: of the baseline unless said otherwise."""
    return Sample(environment.pk, Metrics(**HEALTHY), collected_at, **kwargs)


def of_job(job: Job, environment_id: int, collected_at: datetime) -> Sample:
    """A healthy sample as the job collects it."""
    return Sample(environment_id, Metrics(**HEALTHY), collected_at, job.deployment_id, job.phase, job.sequence_index)
