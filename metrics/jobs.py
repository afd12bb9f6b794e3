"""Collecting samples: the job kinds pre_collect and post_collect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployments.models import Deployment
from metrics import baseline
from metrics.collecting import Collected, Target, as_sample, collect_from, database_time, target_of
from metrics.models import MetricSample
from scheduler.queue import NewJob, cancel, enqueue, wake_when_done
from scheduler.registry import Ended, Job, job_kind

__all__ = ["baseline"]

COLLECTIONS = ("pre_collect", "post_collect")


def load_targets(jobs: Sequence[Job]) -> Mapping[int, Target]:
    """The endpoint of each job, as its environment has it now."""
    deployments = Deployment.objects.select_related("environment__project").in_bulk(
        [job.deployment_id for job in jobs if job.deployment_id is not None]
    )
    return {job.id: target_of(deployments[job.deployment_id].environment) for job in jobs}


def store_samples(done: Sequence[tuple[Job, Collected]]) -> None:
    """Writes the samples; the one of a job that ran twice is kept once, by the table's constraints."""
    MetricSample.objects.bulk_create([as_sample(job, collected) for job, collected in done], ignore_conflicts=True)


def after_collections(jobs: Sequence[Ended]) -> None:
    """Once nothing more can come, the analysis is due; once the secret is known to be wrong, nothing more is asked."""
    refused = [job.deployment_id for job in jobs if job.error_code == "unauthorized" and job.deployment_id is not None]
    if refused:
        reason = "not collected: an earlier request was refused with 401 or 403, so the HMAC secret is wrong"
        cancel(refused, COLLECTIONS, code="unauthorized", reason=reason)
    look_early(jobs)
    observed = [job.deployment_id for job in jobs if job.job_type == "post_collect" and job.deployment_id is not None]
    wake_when_done("analysis", observed, awaited=("post_collect",))


def look_early(jobs: Sequence[Ended]) -> None:
    """After each sample of a window that goes on, and after each that could not be taken, the judge looks again."""
    enqueue(
        NewJob("early_analysis", deployment_id=job.deployment_id, sequence_index=job.sequence_index)
        for job in jobs
        if job.job_type == "post_collect" and job.status in ("completed", "failed")
    )


async def collect_sample(job: Job, target: Target) -> Collected:
    """Asks the endpoint; the sample's time is the database's clock."""
    metrics = await collect_from(target, job)
    return Collected(target.environment_id, metrics, database_time(job))


for name in COLLECTIONS:
    job_kind(name, prepare=load_targets, record=store_samples, ended=after_collections)(collect_sample)
