"""Judging a deployment: the job kinds analysis and early_analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from time import perf_counter

import structlog
from django.db.models import Exists, OuterRef, QuerySet, Subquery

from analysis import backfill, steps
from analysis.evidence import Evidence, group, load_evidence, observed_until
from analysis.services import (
    Judgement,
    assess,
    assess_early,
    store_early,
    store_judgements,
    store_unjudged,
    take_back_unjudged,
)
from deployments.models import Deployment, State
from deployments.plan import analysis_due_at
from explain.facts import Fact
from metrics.filling import begin_filling
from scheduler.models import ScheduledJob
from scheduler.queue import NewJob, database_now, enqueue, expire
from scheduler.recurring import recurring
from scheduler.registry import Ended, Job, JobError, job_kind
from scheduler.retry import NO_RETRY, RetryPolicy

__all__ = ["backfill", "steps"]

logger = structlog.get_logger(__name__)

ANALYSIS = "analysis"
# A verdict is issued within 2 s of the last sample.
VERDICT_WITHIN_S = 2.0
RETRY = RetryPolicy((1.0, 5.0, 30.0, 120.0, 300.0))
# So many retries wait for the verdict of a predecessor: its own analysis may fail for long.
PATIENCE = 2


def evidence_by_job(jobs: Sequence[Job], deployments: QuerySet[Deployment]) -> dict[int, Evidence]:
    rows = deployments.select_related("environment", "policy_version")
    evidence = load_evidence(list(rows), database_now())
    return {job.id: evidence[job.deployment_id] for job in jobs if job.deployment_id in evidence}


def load(jobs: Sequence[Job]) -> Mapping[int, Evidence | JobError]:
    """Return the evidence of each job's deployment, once its window is complete.

    At the latest time of judging, a collection may still be running, or was never claimed: the verdict must include the
    sample of the former, and report the latter as missing. Then sources that know the past are asked once for what the
    samples lack (metrics/filling.py). A deployment that began in the window of another one that is
    to be judged as well, as after an outage, is judged after that.
    """
    ids = [job.deployment_id for job in jobs if job.deployment_id is not None]
    expire(ids, ["post_collect"])
    collecting = ScheduledJob.objects.open().filter(deployment_id__in=ids, job_type="post_collect")
    waiting = set(collecting.values_list("deployment_id", flat=True))
    waiting |= begin_filling([pk for pk in ids if pk not in waiting])
    errors = {job.id: JobError("collecting") for job in jobs if job.deployment_id in waiting}
    later = judged_later([job.deployment_id for job in jobs if job.deployment_id and job.retry_count < PATIENCE])
    errors |= {job.id: JobError("predecessor_unjudged") for job in jobs if job.deployment_id in later - waiting}
    evidence = evidence_by_job(jobs, Deployment.objects.filter(pk__in=ids).exclude(pk__in=waiting | later))
    return {**evidence, **errors}


def judged_later(deployment_ids: Sequence[int]) -> set[int]:
    """Return those that began in the window of another deployment that is over and has no verdict yet."""
    rows = Deployment.objects.filter(pk__in=deployment_ids)
    unjudged = Deployment.objects.filter(
        environment_id__in=rows.values("environment_id"), state=State.FINISHED, verdict__isnull=True
    )
    now = database_now()
    return {
        one.pk
        for others in group(unjudged, "environment_id").values()
        for one in others
        for other in others
        if one.pk in deployment_ids
        and other.started_at < one.started_at <= observed_until(other)
        and observed_until(other) <= now
    }


def store(done: Sequence[tuple[Job, Judgement]]) -> None:
    store_judgements({job.deployment_id: judgement for job, judgement in done if job.deployment_id is not None})


def after_analyses(jobs: Sequence[Ended]) -> None:
    """Every finished deployment gets a verdict, also where its analysis was given up or cancelled."""
    for job in jobs:
        if job.status != "completed" and job.deployment_id is not None:
            store_unjudged(job.deployment_id, Fact("analysis_ended", {"status": job.status}))


def reopen(jobs: Sequence[Ended]) -> None:
    """Remove the verdict of a deployment that could not be judged, because its analysis is retried."""
    take_back_unjudged([job.deployment_id for job in jobs if job.deployment_id is not None])


@job_kind(ANALYSIS, retry=RETRY, prepare=load, record=store, on_finished=after_analyses, on_retry=reopen)
def analyse(job: Job, evidence: Evidence | JobError | None) -> Judgement:
    if isinstance(evidence, JobError):
        raise evidence
    if evidence is None:
        raise JobError("no_deployment", retry=False)
    began = perf_counter()
    judgement = assess(evidence)
    return replace(judgement, took_s=perf_counter() - began)


@recurring("reconcile_missing_verdicts", every_s=300)
def reconcile_missing_verdicts() -> int:
    """Sees to finished deployments for which no analysis is open: rows were deleted by hand, or storing them failed.

    Where there is no analysis it is planned; where one has ended the deployment gets its verdict without it. Returns
    how many there were.
    """
    analyses = ScheduledJob.objects.filter(deployment=OuterRef("pk"), job_type=ANALYSIS)
    forgotten = list(
        Deployment.objects.filter(~Exists(analyses.open()), state=State.FINISHED)
        .annotate(ended_as=Subquery(analyses.values("status")[:1]))
        .values_list("pk", "uuid", "project_id", "ended_as", "finished_at", "settle_s", "window_samples", "interval_s")
    )
    planned = []
    for pk, uuid, project_id, status, finished_at, settle_s, samples, interval_s in forgotten:
        logger.warning("verdict_missing", deployment_id=str(uuid), analysis=status or "none")
        if status is None and finished_at is not None:
            due = analysis_due_at(finished_at + timedelta(seconds=settle_s), samples, interval_s)
            planned.append(NewJob(ANALYSIS, due, deployment_id=pk, fair_key=project_id))
            continue
        try:
            store_unjudged(pk, Fact("analysis_without_verdict", {"status": str(status)}))
        except Exception:
            # The others must not wait for this one; it is tried again with the next sweep.
            logger.exception("verdict_missing", deployment_id=str(uuid))
    enqueue(planned)
    return len(forgotten)


def load_early(jobs: Sequence[Job]) -> Mapping[int, Evidence]:
    """The evidence so far of each deployment whose window goes on and that has no verdict yet."""
    ids = [job.deployment_id for job in jobs if job.deployment_id is not None]
    going_on = ScheduledJob.objects.open().filter(deployment_id__in=ids, job_type="post_collect")
    observed = Deployment.objects.filter(pk__in=going_on.values("deployment_id"), state=State.FINISHED)
    return evidence_by_job(jobs, observed.filter(verdict__isnull=True))


def record_early(done: Sequence[tuple[Job, Judgement | None]]) -> None:
    found = {job.deployment_id: judgement for job, judgement in done if judgement is not None and job.deployment_id}
    # In the order in which everybody locks deployments.
    for deployment_id in sorted(found):
        store_early(deployment_id, found[deployment_id])


@job_kind("early_analysis", retry=NO_RETRY, prepare=load_early, record=record_early)
def analyse_early(job: Job, evidence: Evidence | None) -> Judgement | None:
    return assess_early(evidence) if evidence is not None else None
