"""The job kinds pre_collect and post_collect: collect the samples of a deployment."""

from collections.abc import Mapping, Sequence

from deployments.models import Deployment
from explain.facts import Fact
from metrics import baseline, deletion, levels, partitions, retention
from metrics.collecting import collect_for
from metrics.counting import count_lost
from metrics.sources.http_endpoint import Endpoint
from metrics.storing import store_samples
from projects.units import METRICS_WITH_UNITS, Units
from scheduler.queue import NewJob, cancel, enqueue, wake_when_done
from scheduler.registry import Ended, Job, JobError, RunEnded, job_kind

__all__ = ["baseline", "deletion", "levels", "partitions", "retention"]

COLLECTIONS = ("pre_collect", "post_collect")
# One sample alone brings no verdict (analysis/judge/adaptive/early.py).
EARLIEST_LOOK = 2


def load_endpoints(jobs: Sequence[Job]) -> Mapping[int, Endpoint]:
    """Return the endpoint of each job, as its environment has it now."""
    # Values, not model instances: those were the most expensive step between claim and request.
    rows = Deployment.objects.filter(pk__in={job.deployment_id for job in jobs}).values_list(
        "pk",
        "environment_id",
        "environment__metrics_endpoint",
        "project__uuid",
        "environment__hmac_secret",
        "environment__previous_hmac_secret",
        "environment__previous_hmac_until",
        "environment__endpoint_blocked_at",
        *(f"environment__{metric}_unit" for metric in METRICS_WITH_UNITS),
    )
    endpoints = {
        pk: Endpoint(
            url, str(project), secret.open(), previous, until, blocked is not None, environment_id, Units(*units)
        )
        for pk, environment_id, url, project, secret, previous, until, blocked, *units in rows
    }
    return {job.id: endpoints[job.deployment_id] for job in jobs if job.deployment_id in endpoints}


def after_collections(jobs: Sequence[Ended]) -> None:
    """Make the analysis due after the last collection; cancel the others once the secret is known to be wrong."""
    count_lost(jobs)
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
    job_kind(name, prepare=load_endpoints, record=store_samples, on_finished=after_collections)(collect_sample)
