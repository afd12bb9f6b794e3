"""What CI makes happen: start and finish. Each call is one transaction; the database's constraints decide races."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from deployments.closing import supersede, why_closed
from deployments.models import Deployment, State
from deployments.plan import analysis_due_at, post_samples, pre_sample_expires_at
from deployments.waiting import hold
from projects.models import Environment, PolicySource, Project
from projects.services import adopt_endpoint, set_policy
from scheduler.models import OPEN_STATUSES, JobStatus, ScheduledJob
from scheduler.queue import NewJob, database_now, enqueue
from security.outbound import parse_endpoint

logger = structlog.get_logger(__name__)

# Losing a race to insert shows a winner, unless that one has finished meanwhile: then we try again.
INSERT_ATTEMPTS = 5


class EndpointConflict(Exception):
    """The metrics endpoint of a call is not the environment's; configured is "" where none is set and none may come."""

    def __init__(self, environment: Environment, given: str) -> None:
        self.configured = environment.metrics_endpoint
        self.given = given
        if self.configured:
            message = (
                f"The environment {environment.name!r} has the metrics endpoint {self.configured!r}, but this call "
                f"names {given!r}. Leave metrics_endpoint out, or change the environment's."
            )
        else:
            message = (
                f"The environment {environment.name!r} has no metrics endpoint (configured: none, given: {given!r}), "
                "and the project takes none from calls. Set it in the environment."
            )
        super().__init__(message)


class UnknownEnvironment(Exception):
    """The project has no environment of that name."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"This project has no environment {name!r}. It has: {', '.join(known) or 'none yet'}.")


@dataclass(frozen=True, slots=True)
class Trigger:
    """What a trigger call says, checked. Empty strings where it says nothing.

    policy: what its seqpulse.toml gives; force: supersede a deployment that is still running.
    """

    env: str
    idempotency_key: str | None = None
    metrics_endpoint: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    policy: dict[str, Any] | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """The deployment a trigger call ends up with; message tells what the caller should know.

    running: it is not this call's own, but the environment's, which is still running.
    """

    deployment: Deployment
    status: Literal["created", "existing"]
    message: str | None
    running: bool = False


def start_deployment(project: Project, trigger: Trigger) -> Started:
    """The deployment of this call: by its key, else the running one of the environment, else a new one.

    With force a running one is superseded by a new one. Raises UnknownEnvironment, EndpointConflict.
    """
    with transaction.atomic():
        environment = environment_of(project, trigger.env)
        notes = settle_endpoint(project, environment, trigger.metrics_endpoint)
        if trigger.force:
            # What every new deployment locks, before the running deployment is: else two of us deadlock.
            Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        for _ in range(INSERT_ATTEMPTS):
            found = existing(project, environment, trigger)
            if found is not None and not (trigger.force and found.running):
                return found
            try:
                with transaction.atomic():
                    deployment = insert_after(found.deployment if found else None, project, environment, trigger)
            except IntegrityError:
                continue
            if found is not None:
                notes.append(f"Deployment #{found.deployment.number} was still running and is superseded by this one.")
            logger.info("deployment_started", deployment_id=str(deployment.uuid), project_id=str(project.uuid))
            return Started(deployment, "created", " ".join(notes) or None)
    raise RuntimeError(f"no deployment could be written for {environment} in {INSERT_ATTEMPTS} attempts")


def environment_of(project: Project, name: str) -> Environment:
    environments = {environment.name: environment for environment in project.environments.defer("hmac_secret")}
    if name not in environments:
        raise UnknownEnvironment(name, sorted(environments))
    return environments[name]


def existing(project: Project, environment: Environment, trigger: Trigger) -> Started | None:
    """The deployment that the call already has, if there is one."""
    if trigger.idempotency_key is not None:
        same_key = Deployment.objects.of(project).filter(idempotency_key=trigger.idempotency_key).first()
        if same_key is not None:
            return Started(same_key, "existing", f"Deployment #{same_key.number} has this idempotency key already.")
    running = Deployment.objects.running_in(environment).first()
    if running is not None:
        message = f"Deployment #{running.number} of {environment.name} is still running; finish it first."
        return Started(running, "existing", message, running=True)
    return None


def settle_endpoint(project: Project, environment: Environment, given: str) -> list[str]:
    """Compares the endpoint of a call with the environment's, or adopts it; returns what to tell the caller."""
    if not given:
        if environment.metrics_endpoint:
            return []
        return ["This environment has no metrics endpoint yet, so nothing can be measured: send metrics_endpoint."]
    if environment.metrics_endpoint:
        if parse_endpoint(given) != parse_endpoint(environment.metrics_endpoint):
            raise EndpointConflict(environment, given)
        return []
    if not project.adopt_endpoints:
        raise EndpointConflict(environment, given)
    if parse_endpoint(adopt_endpoint(environment, given)) != parse_endpoint(given):
        raise EndpointConflict(environment, given)
    return [f"The environment {environment.name!r} has taken {given} as its metrics endpoint."]


def insert_after(
    running: Deployment | None, project: Project, environment: Environment, trigger: Trigger
) -> Deployment:
    """A new running deployment, which supersedes `running`. Raises IntegrityError where another call was faster."""
    superseded = running is not None and supersede(running)
    deployment = insert(project, environment, trigger)
    if running is not None and superseded:
        Deployment.objects.filter(pk=running.pk).update(superseded_by=deployment)
    return deployment


def insert(project: Project, environment: Environment, trigger: Trigger) -> Deployment:
    """A new running deployment with its pre_collect job. Raises IntegrityError where another call was faster."""
    # The counter's row lock queues the triggers of a project, so that their numbers have no gaps.
    Project.objects.filter(pk=project.pk).update(last_number=F("last_number") + 1)
    number = Project.objects.values_list("last_number", flat=True).get(pk=project.pk)
    version = None
    if trigger.policy is not None:
        version = set_policy(environment, trigger.policy, source=PolicySource.FILE)
    now = database_now()
    deployment = Deployment.objects.create(
        project=project,
        environment=environment,
        number=number,
        idempotency_key=trigger.idempotency_key,
        started_at=now,
        window_samples=project.effective_window_minutes,
        interval_s=settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS,
        policy_version=version,
        **trigger.facts,
    )
    expires_at = pre_sample_expires_at(now, deployment.window_samples, deployment.interval_s)
    enqueue([NewJob("pre_collect", now, deployment.pk, "pre", expires_at=expires_at, fair_key=project.pk)], now=now)
    return deployment


@dataclass(frozen=True, slots=True)
class PreSample:
    """How far the sample from before is; message: why it failed."""

    status: Literal["collected", "failed", "pending"]
    message: str | None = None


def settled_pre_sample(deployment: Deployment) -> PreSample | None:
    """The sample from before, once it is in or its first try has failed."""
    job = ScheduledJob.objects.filter(deployment=deployment, job_type="pre_collect").first()
    if job is None:
        return PreSample("failed", "This deployment has no job for the sample from before.")
    if job.status == JobStatus.COMPLETED:
        return PreSample("collected")
    if job.status not in OPEN_STATUSES or job.retry_count:
        return PreSample("failed", job.last_error)
    return None


def wait_for_pre_sample(deployment: Deployment, seconds: float) -> PreSample:
    """The sample from before, waiting for it for so many seconds at most."""
    return hold(lambda: settled_pre_sample(deployment), seconds) or PreSample(
        "pending", f"The sample from before was not in after {seconds:g} s. Is a poller running?"
    )


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a finish call."""

    status: Literal["accepted", "ignored", "not_found"]
    message: str


def finish_deployment(project: Project, uuid: UUID, *, result: str, metrics_endpoint: str = "") -> Finished:
    """Closes the running deployment and plans its samples and its analysis, once, however many calls come.

    Raises EndpointConflict.
    """
    with transaction.atomic():
        deployment = (
            Deployment.objects.of(project)
            .select_related("environment", "project")
            .defer("environment__hmac_secret")
            .filter(uuid=uuid)
            .first()
        )
        if deployment is None:
            return Finished("not_found", "This project has no deployment with this id.")
        notes = settle_endpoint(project, deployment.environment, metrics_endpoint)
        if deployment.state != State.RUNNING:
            return ignored(deployment)
        now = database_now()
        closed = Deployment.objects.filter(pk=deployment.pk, state=State.RUNNING).update(
            state=State.FINISHED,
            pipeline_result=result,
            finished_at=now,
            duration_ms=round((now - deployment.started_at).total_seconds() * 1000),
            window_samples=project.effective_window_minutes,
            interval_s=settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS,
        )
        if closed != 1:
            return ignored(deployment)
        plan_observation(deployment, now, project.effective_window_minutes)
    logger.info("deployment_finished", deployment_id=str(uuid), project_id=str(project.uuid), result=result)
    seconds = project.effective_window_minutes * settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS
    return Finished("accepted", " ".join([f"Under observation; the verdict stands in about {seconds:g} s.", *notes]))


def ignored(deployment: Deployment) -> Finished:
    return Finished("ignored", why_closed(deployment))


def plan_observation(deployment: Deployment, finished_at: datetime, samples: int) -> None:
    """Writes one post_collect job per sample and the analysis job."""
    interval_s = settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS
    common: dict[str, Any] = {"deployment_id": deployment.pk, "fair_key": deployment.project_id}
    jobs = [
        NewJob(
            "post_collect",
            sample.scheduled_at,
            phase="post",
            sequence_index=sample.sequence_index,
            expires_at=sample.expires_at,
            **common,
        )
        for sample in post_samples(finished_at, samples, interval_s)
    ]
    due_at = analysis_due_at(finished_at, samples, interval_s)
    enqueue([*jobs, NewJob("analysis", due_at, **common)], now=finished_at)
