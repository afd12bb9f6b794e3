"""Collecting samples: the job kinds pre_collect and post_collect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from deployments.models import Deployment
from metrics.fetching import shared_fetcher
from metrics.models import MetricSample
from metrics.payload import Metrics
from metrics.sources.http_endpoint import Endpoint, collect
from scheduler.queue import cancel, wake_when_done
from scheduler.registry import Ended, Job, job_kind

COLLECTIONS = ("pre_collect", "post_collect")


@dataclass(frozen=True, slots=True)
class Collected:
    """A sample on its way into the database."""

    environment_id: int
    metrics: Metrics
    collected_at: datetime


@dataclass(frozen=True, slots=True)
class Target:
    """Where a job collects."""

    environment_id: int
    endpoint: Endpoint


def load_targets(jobs: Sequence[Job]) -> Mapping[int, Target]:
    """The endpoint of each job, as its environment has it now."""
    deployments = Deployment.objects.select_related("environment", "project").in_bulk(
        [job.deployment_id for job in jobs if job.deployment_id is not None]
    )
    targets = {}
    for job in jobs:
        deployment = deployments[job.deployment_id]
        environment = deployment.environment
        endpoint = Endpoint(environment.metrics_endpoint, str(deployment.project.uuid), environment.hmac_secret)
        targets[job.id] = Target(environment.pk, endpoint)
    return targets


def store_samples(done: Sequence[tuple[Job, Collected]]) -> None:
    """Writes the samples; the one of a job that ran twice is kept once, by the table's constraints."""
    MetricSample.objects.bulk_create(
        (
            MetricSample(
                environment_id=collected.environment_id,
                deployment_id=job.deployment_id,
                phase=job.phase,
                sequence_index=job.sequence_index,
                collected_at=collected.collected_at,
                **{name: getattr(collected.metrics, name) for name in Metrics.__slots__},
            )
            for job, collected in done
        ),
        ignore_conflicts=True,
    )


def after_collections(jobs: Sequence[Ended]) -> None:
    """Once nothing more can come, the analysis is due; once the secret is known to be wrong, nothing more is asked."""
    refused = [job.deployment_id for job in jobs if job.error_code == "unauthorized" and job.deployment_id is not None]
    if refused:
        reason = "not collected: an earlier request was refused with 401 or 403, so the HMAC secret is wrong"
        cancel(refused, COLLECTIONS, code="unauthorized", reason=reason)
    observed = [job.deployment_id for job in jobs if job.job_type == "post_collect" and job.deployment_id is not None]
    wake_when_done("analysis", observed, awaited=("post_collect",))


async def collect_sample(job: Job, target: Target) -> Collected:
    """Asks the endpoint. The times signed and stored are the database's clock, carried on from the claim."""
    metrics = await collect(shared_fetcher(), target.endpoint, now=lambda: database_time(job))
    return Collected(target.environment_id, metrics, database_time(job))


def database_time(job: Job) -> datetime:
    """What the database's clock shows now: its time at the claim and what has passed here since."""
    return job.claimed_at + timedelta(seconds=monotonic() - job.claimed_monotonic)


for name in COLLECTIONS:
    job_kind(name, prepare=load_targets, record=store_samples, ended=after_collections)(collect_sample)
