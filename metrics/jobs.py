"""The job kinds pre_collect and post_collect: collect the samples of a deployment."""

from collections.abc import Mapping, Sequence

from django.db import connection

from common.arrays import array
from explain.facts import Fact
from metrics import alerting, baseline, deletion, filling, levels, partitions, pushed, retention
from metrics.collecting import ENDPOINT_COLUMNS, NAMED, collect_for, endpoint_of_row, with_named
from metrics.counting import count_lost
from metrics.outages import note_failures
from metrics.sources.http_endpoint import Endpoint
from metrics.storing import store_samples
from scheduler.queue import NewJob, cancel, enqueue, wake_when_done
from scheduler.registry import Ended, Job, JobError, RunEnded, job_kind

__all__ = ["alerting", "baseline", "deletion", "filling", "levels", "partitions", "pushed", "retention"]

COLLECTIONS = ("pre_collect", "post_collect")
# One sample alone brings no verdict (analysis/judge/adaptive/early.py).
EARLIEST_LOOK = 2


ENDPOINTS = f"""
SELECT deployments.id, {NAMED}, deployments.version, deployments.commit_sha, deployments.finished_at,
    {ENDPOINT_COLUMNS}
FROM deployments
JOIN projects_environment AS environment ON environment.id = environment_id
JOIN projects_project AS project ON project.id = deployments.project_id
WHERE deployments.id = ANY(%s::bigint[])
"""  # noqa: S608  (names of our own columns)


def load_endpoints(jobs: Sequence[Job]) -> Mapping[int, Endpoint]:
    """Return the endpoint of each job, as its environment has it now."""
    ids = array({job.deployment_id for job in jobs if job.deployment_id is not None})
    with connection.cursor() as cursor:
        # Planned anew for each batch, with its ids: a plan for any number of them joins one by one.
        cursor.execute(ENDPOINTS, [ids])
        rows = cursor.fetchall()
    endpoints, named = {}, {}
    for pk, targets, version, commit_sha, finished_at, *row in rows:
        endpoints[pk] = endpoint_of_row(row)
        endpoints[pk].release = {"version": version, "commit_sha": commit_sha}
        endpoints[pk].since = finished_at
        if targets is not None:
            named[pk] = targets
    found = {job.id: endpoints[job.deployment_id] for job in jobs if job.deployment_id in endpoints}
    for job in jobs:
        if job.deployment_id in named:
            found[job.id] = with_named(found[job.id], named[job.deployment_id], job.phase)
    return found


def after_collections(jobs: Sequence[Ended]) -> None:
    """Make the analysis due after the last collection; cancel the others once the secret is known to be wrong."""
    count_lost(jobs)
    note_failures(jobs)
    refused = [job.deployment_id for job in jobs if job.error_code == "unauthorized" and job.deployment_id is not None]
    if refused:
        cancel(refused, COLLECTIONS, Fact("refused_before"), code="unauthorized")
    observed = [job.deployment_id for job in jobs if job.job_type == "post_collect" and job.deployment_id is not None]
    judged_now = wake_when_done("analysis", observed, awaited=("post_collect",))
    enqueue_early_analysis([job for job in jobs if job.deployment_id not in judged_now])


def enqueue_early_analysis(jobs: Sequence[Ended]) -> None:
    """Enqueue an early analysis after each sample of an unfinished window, stored or lost."""
    enqueue(
        NewJob(
            "early_analysis",
            deployment_id=job.deployment_id,
            sequence_index=job.sequence_index,
            fair_key=job.fair_key,
        )
        for job in jobs
        if job.job_type == "post_collect"
        and job.sequence_index >= EARLIEST_LOOK
        and job.status in ("completed", "failed")
        and job.deployment_id is not None
    )


def collect_sample(job: Job, endpoint: Endpoint | None, ended: RunEnded) -> None:
    """Collect one sample of a deployment."""
    if endpoint is None:
        ended(JobError("no_deployment", retry=False))
    else:
        collect_for(job, endpoint, ended)


for name in COLLECTIONS:
    job_kind(name, prepare=load_endpoints, record=store_samples, on_finished=after_collections, external=True)(
        collect_sample
    )


STEP_COLLECTION, STEP_ANALYSIS = "step_collect", "step_analysis"


def after_step_collections(jobs: Sequence[Ended]) -> None:
    """Make the analysis of a step due after its last collection."""
    count_lost(jobs)
    note_failures(jobs)
    ids = [job.deployment_id for job in jobs if job.deployment_id is not None]
    wake_when_done(STEP_ANALYSIS, ids, awaited=(STEP_COLLECTION,))


job_kind(
    STEP_COLLECTION, prepare=load_endpoints, record=store_samples, on_finished=after_step_collections, external=True
)(collect_sample)
