"""Judging a deployment: the job kind analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.services import Evidence, Judgement, assess, load_evidence, store_judgement, store_unjudged
from deployments.models import Deployment
from scheduler.queue import database_now
from scheduler.registry import Ended, Job, JobError, job_kind
from scheduler.retry import RetryPolicy


def load(jobs: Sequence[Job]) -> Mapping[int, Evidence]:
    """The evidence of each job's deployment."""
    deployments = Deployment.objects.select_related("environment").in_bulk(
        [job.deployment_id for job in jobs if job.deployment_id is not None]
    )
    evidence = load_evidence(list(deployments.values()), database_now())
    return {job.id: evidence[job.deployment_id] for job in jobs if job.deployment_id in evidence}


def store(done: Sequence[tuple[Job, Judgement]]) -> None:
    for job, judgement in done:
        if job.deployment_id is not None:
            store_judgement(job.deployment_id, judgement)


def after_analyses(jobs: Sequence[Ended]) -> None:
    """Every finished deployment gets a verdict, also where its analysis was given up or cancelled."""
    for job in jobs:
        if job.status != "completed" and job.deployment_id is not None:
            store_unjudged(job.deployment_id, f"its analysis ended as {job.status}")


RETRY = RetryPolicy((1.0, 5.0, 30.0, 120.0, 300.0))


@job_kind("analysis", retry=RETRY, prepare=load, record=store, ended=after_analyses)
def analyse(job: Job, evidence: Evidence | None) -> Judgement:
    if evidence is None:
        raise JobError("no_deployment", "this analysis has no deployment to judge", retry=False)
    return assess(evidence)
