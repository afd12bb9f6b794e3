"""Stepwise rollouts: each step is measured from its call on, and gets a verdict of its own (docs/canary.md)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction

from analysis.evidence import PLACES_OF_STEP, Evidence, group, load_evidence, of_step
from analysis.models import Step
from analysis.recorded import verdict_json
from analysis.services import Judgement, assess, evidence_json
from deployments.closing import why_closed
from deployments.models import Deployment, State
from deployments.plan import analysis_due_at, post_samples
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.jobs import STEP_ANALYSIS, STEP_COLLECTION
from projects.models import Project
from scheduler.models import JobStatus, ScheduledJob
from scheduler.queue import NewJob, cancel, database_now, enqueue, wake_when_done
from scheduler.registry import Job, job_kind
from scheduler.retry import RetryPolicy

logger = structlog.get_logger(__name__)

# A step that began before finish gets its verdict, which may come after that of the deployment.
JUDGED_STILL = (State.RUNNING, State.FINISHED, State.ANALYZED)
MOST_SAMPLES = 60
MOST_SECONDS = 3600
RETRY = RetryPolicy((1.0, 5.0, 30.0))


class UnknownDeployment(LookupError):
    """The project has no deployment of this id."""


class NoStep(ExplainedError):
    """The deployment takes no such step now. state: "" or that of the deployment, which is over."""

    state = ""


@dataclass(frozen=True, slots=True)
class Stepped:
    """The step of a call; is_new: whether the call began it."""

    step: Step
    is_new: bool


def begin_step(project: Project, uuid: UUID, *, percent: int, seconds: float | None) -> Stepped:
    """Return the deployment's step of so many per cent, which this call begins if it is the first that names it.

    A step that is still measured ends with what it has. seconds: of its window, None: as long as that of a deployment.
    Raises UnknownDeployment, NoStep.
    """
    with transaction.atomic():
        rows = Deployment.objects.of(project).filter(uuid=uuid).select_related("superseded_by")
        deployment = rows.select_for_update(of=("self",), no_key=True).first()
        if deployment is None:
            raise UnknownDeployment(uuid)
        steps = list(Step.objects.filter(deployment=deployment).order_by("number"))
        known = next((step for step in steps if step.percent == percent), None)
        if known is not None and (known.verdict or deployment.state in JUDGED_STILL):
            return Stepped(known, is_new=False)
        if deployment.state != State.RUNNING:
            raise closed(deployment)
        last = steps[-1] if steps else None
        if last is not None and last.percent >= percent:
            raise NoStep("step_not_rising", field="percent", percent=percent / 100, last=last.percent / 100)
        if last is not None and not last.verdict:
            cancel([deployment.pk], [STEP_COLLECTION], Fact("step_overtaken", {"percent": percent / 100}))
            wake_when_done(STEP_ANALYSIS, [deployment.pk], awaited=(STEP_COLLECTION,))
        step = insert(deployment, project, percent, seconds, number=last.number + 1 if last else 1)
    ids = {"deployment_id": str(deployment.uuid), "project_id": str(project.uuid)}
    logger.info("step_started", **ids, percent=percent)
    return Stepped(step, is_new=True)


def closed(deployment: Deployment) -> NoStep:
    is_finished = deployment.state in (State.FINISHED, State.ANALYZED)
    fact = Fact("step_after_finish", {"number": deployment.number}) if is_finished else why_closed(deployment)
    params: dict[str, Any] = dict(fact.params)
    error = NoStep(fact.code, **params)
    error.state = deployment.state
    return error


def insert(deployment: Deployment, project: Project, percent: int, seconds: float | None, *, number: int) -> Step:
    """Insert a step with its jobs: one per sample, and its analysis."""
    interval_s = settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS
    usual = project.effective_window_minutes
    samples = usual if seconds is None else max(1, math.ceil(seconds / interval_s - 1e-9))
    samples = min(samples, MOST_SAMPLES)
    start = database_now() + timedelta(seconds=deployment.settle_s)
    step = Step.objects.create(
        deployment=deployment, number=number, percent=percent, samples=samples, interval_s=interval_s, starts_at=start
    )
    first = number * PLACES_OF_STEP
    enqueue(
        NewJob(
            STEP_COLLECTION,
            one.scheduled_at,
            deployment.pk,
            "step",
            first + one.sequence_index,
            one.expires_at,
            fair_key=project.pk,
        )
        for one in post_samples(start, samples, interval_s)
    )
    due_at = analysis_due_at(start, samples, interval_s)
    enqueue([NewJob(STEP_ANALYSIS, due_at, deployment.pk, sequence_index=number, fair_key=project.pk)])
    return step


def load_steps(jobs: Sequence[Job]) -> Mapping[int, Evidence]:
    """Return the evidence of each job's step, unless that has a verdict."""
    ids = {job.deployment_id for job in jobs if job.deployment_id is not None}
    rows = Step.objects.filter(deployment_id__in=ids, verdict="")
    steps = rows.select_related("deployment__environment", "deployment__policy_version")
    unjudged = {(step.deployment_id, step.number): step for step in steps}
    now = database_now()
    evidence = load_evidence(list({step.deployment_id: step.deployment for step in unjudged.values()}.values()), now)
    missed = (JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELLED)
    lost = group(
        ScheduledJob.objects.filter(deployment_id__in=ids, job_type=STEP_COLLECTION, status__in=missed),
        "deployment_id",
    )
    return {
        job.id: of_step(evidence[step.deployment_id], step, lost.get(step.deployment_id, []), now)
        for job in jobs
        if (step := unjudged.get((job.deployment_id or 0, job.sequence_index))) is not None
    }


def store_steps(done: Sequence[tuple[Job, Judgement | None]]) -> None:
    """Write the verdicts of steps that have none, and have everybody told who waits for them."""
    judged = []
    for job, judgement in done:
        if judgement is None:
            continue
        verdict = judgement.verdict
        outcome = {
            **verdict_json(verdict),
            "policy": verdict.policy,
            "evidence": evidence_json(judgement.evidence),
        }
        found = Step.objects.filter(deployment_id=job.deployment_id or 0, number=job.sequence_index, verdict="")
        found.update(
            verdict=verdict.verdict,
            confidence=verdict.confidence,
            conclusive=verdict.conclusive,
            shadow=bool(verdict.policy.get("shadow", False)),
            outcome=outcome,
            judged_at=database_now(),
        )
        judged.append(job.deployment_id)
    with connection.cursor() as cursor:
        cursor.execute("SELECT announce_changes(%s::bigint[], NULL, false)", [judged])


@job_kind(STEP_ANALYSIS, retry=RETRY, prepare=load_steps, record=store_steps)
def analyse_step(job: Job, evidence: Evidence | None) -> Judgement | None:
    """Judge a step as a deployment is judged, by what was measured since it began."""
    if evidence is None:
        return None
    judgement = assess(evidence)
    return replace(judgement, hints=())
