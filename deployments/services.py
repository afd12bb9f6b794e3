"""Start and finish deployments. Each call is one transaction; unique constraints decide races."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from deployments.closing import earlier_attempt, supersede, why_closed
from deployments.commits import same_commit
from deployments.control import PRE_SAMPLES, PRE_SPACING_S, Control, is_configured, notes_about, takes_urls
from deployments.file_sources import apply_sources
from deployments.models import Deployment, DeploymentKey, Kind, PipelineResult, State
from deployments.outbox import event_about
from deployments.plan import analysis_due_at, post_samples, pre_sample_expires_at
from deployments.rollbacks import rolls_back_to
from events.outbox import emit
from explain.errors import ExplainedError
from explain.facts import Fact
from explain.rendering import render
from outbound.endpoints import origin_of, parse_endpoint
from projects.freezing import Frozen, frozen
from projects.guarding import refused_endpoint
from projects.models import Environment, PolicySource, Project
from projects.services import adopt_endpoint, set_policy
from scheduler.models import OPEN_STATUSES, JobStatus, ScheduledJob
from scheduler.queue import NewJob, enqueue
from security.redaction import redact_text

logger = structlog.get_logger(__name__)

# After a lost race the winner's deployment is found, unless it is finished by then: then the insert is retried.
INSERT_ATTEMPTS = 5


class EndpointConflict(ExplainedError):
    """The call's metrics endpoint is not the environment's. configured: "" where none is set or may be set."""


class ProjectArchived(ExplainedError):
    """The project is archived and takes no new deployments."""


class UnknownEnvironment(ExplainedError):
    """The project has no environment of that name."""


class DeploymentRunning(ExplainedError):
    """A deployment of the environment is still running, so that nothing else can be verified there."""


class EnvironmentFrozen(ExplainedError):
    """No deployment begins in the environment now. until: when the freeze ends, None: not before it is lifted."""

    def __init__(self, found: Frozen, name: str) -> None:
        until = found.until.astimezone(UTC).isoformat(timespec="seconds") if found.until else None
        code = "frozen_until" if until else "frozen"
        super().__init__(code, field="env", name=name, reason=found.reason, until=until)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A validated trigger call. Absent texts are empty, absent times None.

    facts: columns of the deployment; policy, sources: of its seqpulse.toml; force: supersede a running deployment,
    and with a reason begin in spite of a freeze; settle_s: seconds between finish and the window, None: as many as the
    environment says; control: where the old version is measured that runs beside the new one; deploys: false of a call
    that comes with no pipeline, which a freeze does not concern.
    """

    env: str
    idempotency_key: str | None = None
    metrics_endpoint: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] | None = None
    force: bool = False
    reason: str = ""
    settle_s: int | None = None
    control: Control | None = None
    sources: Any = None
    deploys: bool = True

    @property
    def brings_file(self) -> bool:
        """Return whether a seqpulse.toml came with the call."""
        return self.policy is not None or self.sources is not None


@dataclass(frozen=True, slots=True)
class Started:
    """The deployment of a trigger call; notes: for the caller.

    running: it is not this call's own but the one that is still running in the environment.
    """

    deployment: Deployment
    status: Literal["created", "existing"]
    notes: Sequence[Fact] = ()
    running: bool = False


def start_deployment(project: Project, trigger: Trigger) -> Started:
    """Return the deployment of this call: by its key, else the running one of the environment, else a new one.

    A running one is superseded by a new one where `supersedes` says so. The key leads to the same deployment from then
    on. Raises UnknownEnvironment, EnvironmentFrozen, EndpointConflict, ProjectArchived.
    """
    for _ in range(INSERT_ATTEMPTS):
        try:
            with transaction.atomic():
                return find_or_insert(project, trigger)
        except IntegrityError:
            # A concurrent call was faster: the next attempt finds its deployment.
            continue
    raise RuntimeError(f"no deployment could be written for {trigger.env!r} in {INSERT_ATTEMPTS} attempts")


def find_or_insert(project: Project, trigger: Trigger) -> Started:
    """Attempt start_deployment in the caller's transaction. Raises IntegrityError where another call was faster."""
    environment, is_taken = environment_of(project, trigger)
    locks_more = changes_more(environment, trigger)
    if locks_more:
        lock(project)
    found = existing(environment, trigger) if is_taken or locks_more else None
    if found is not None and supersedes(trigger, found) and not locks_more:
        lock(project)
        found = existing(environment, trigger)
    if found is not None and not supersedes(trigger, found):
        if found.running and trigger.idempotency_key is not None:
            DeploymentKey.objects.create(
                environment=environment, key=trigger.idempotency_key, deployment=found.deployment
            )
        if trigger.control is not None and trigger.control.as_json() != found.deployment.control:
            found = replace(found, notes=[*found.notes, Fact("control_of_another")])
        return count_attempt(found)
    applied = apply_sources(environment, trigger.sources)
    check_endpoint(project, environment, trigger.metrics_endpoint)
    forced = pass_freeze(project, environment, trigger)
    deployment, notes = insert_after(found.deployment if found else None, project, environment, trigger)
    if forced is not None:
        notes.append(record_forced(deployment, forced, trigger.reason))
    logger.info("deployment_started", deployment_id=str(deployment.uuid), project_id=str(project.uuid))
    return Started(deployment, "created", [*applied, *notes])


def pass_freeze(project: Project, environment: Environment, trigger: Trigger) -> Frozen | None:
    """Return the freeze that the call passes by force. None: there is none, or it is a rollback or deploys nothing.

    Raises EnvironmentFrozen.
    """
    found = frozen(environment, project.team_id)
    if found is None or not trigger.deploys or trigger.facts.get("kind") == Kind.ROLLBACK:
        return None
    if not trigger.facts.get("kind") and rolls_back_to(environment, trigger.facts.get("commit_sha", "")) is not None:
        return None
    if not (trigger.force and trigger.reason):
        raise EnvironmentFrozen(found, environment.name)
    return found


def record_forced(deployment: Deployment, freeze: Frozen, reason: str) -> Fact:
    """Record that a deployment began in spite of a freeze; return the note for the caller."""
    event = event_about(deployment, "freeze_forced", frozen=freeze.reason, reason=redact_text(reason))
    emit(event)
    ids = {"deployment_id": str(deployment.uuid), "project_id": str(deployment.project.uuid)}
    logger.warning("freeze_forced", **ids, reason=reason)
    return Fact("freeze_forced", {"reason": freeze.reason})


def count_attempt(found: Started) -> Started:
    """Count a call whose key got a deployment that is closed by now: a re-run of its pipeline. Says so in the notes.

    While it is running, the call may just as well be the repetition of one whose answer was lost.
    """
    if found.deployment.state == State.RUNNING:
        return found
    Deployment.objects.filter(pk=found.deployment.pk).update(attempts=F("attempts") + 1)
    found.deployment.attempts += 1
    return replace(found, notes=[*found.notes, *earlier_attempt(found.deployment)])


def verify(project: Project, trigger: Trigger) -> Started:
    """Verify the service from now on, although nothing is deployed: trigger and finish in one transaction.

    A repetition with the same key gets the same deployment. Raises DeploymentRunning, UnknownEnvironment,
    EndpointConflict, ProjectArchived.
    """
    trigger = replace(trigger, facts={**trigger.facts, "kind": Kind.VERIFICATION}, force=False, deploys=False)
    with transaction.atomic():
        started = start_deployment(project, trigger)
        if started.status == "created":
            finished = finish_deployment(project, started.deployment.uuid, result=PipelineResult.SUCCESS)
            return replace(started, notes=[*started.notes, *finished.notes])
        if started.running or started.deployment.state == State.RUNNING:
            number = started.deployment.number
            raise DeploymentRunning("running_now", field="env", number=number, environment=trigger.env)
        return started


def lock(project: Project) -> None:
    """Lock the project's row. Lock order against deadlocks, where a call locks more than its new deployment: project,
    running deployment, environment.
    """
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def changes_more(environment: Environment, trigger: Trigger) -> bool:
    """Return whether the call itself says that it may also change the running deployment or the environment."""
    wanted = environment.asks_endpoint and not environment.metrics_endpoint
    brings_endpoint = bool(trigger.metrics_endpoint) and wanted
    return trigger.force or trigger.brings_file or brings_endpoint


def supersedes(trigger: Trigger, found: Started) -> bool:
    """Return whether the call supersedes the running deployment.

    It does by force, and as the call of another pipeline run: with a new key and another commit, where both name one.
    """
    if not found.running:
        return False
    own, other = trigger.facts.get("commit_sha", ""), found.deployment.commit_sha
    is_other_run = trigger.idempotency_key is not None and own and other and not same_commit(own, other)
    return trigger.force or bool(is_other_run)


# In SQL for speed, as in projects/authentication.py.
ENVIRONMENT = """
SELECT id, project_id, name, metrics_endpoint, source_kinds, settle_s, origins,
    EXISTS (SELECT FROM deployments WHERE environment_id = environment.id AND state = 'running')
    OR EXISTS (SELECT FROM deployment_keys WHERE environment_id = environment.id AND key = %(key)s)
    OR EXISTS (SELECT FROM deployments WHERE environment_id = environment.id AND idempotency_key = %(key)s)
FROM projects_environment AS environment WHERE project_id = %(project)s AND name = %(name)s AND deleting_at IS NULL
"""


def environment_of(project: Project, trigger: Trigger) -> tuple[Environment, bool]:
    """Return the environment of the call, and whether a deployment of the call may exist already.

    Raises UnknownEnvironment.
    """
    with connection.cursor() as cursor:
        values = {"key": trigger.idempotency_key, "project": project.pk, "name": trigger.env}
        cursor.execute(ENVIRONMENT, values)
        row = cursor.fetchone()
    if row is None:
        raise unknown_environment(project, trigger.env)
    *columns, is_taken = row
    return environment_from(columns), is_taken


def unknown_environment(project: Project, name: str) -> UnknownEnvironment:
    """Return the error of a call that names this environment, with those that the project has."""
    names = project.environments.not_deleted().order_by("name").values_list("name", flat=True)
    known = ", ".join(names) or Fact("none_yet")
    return UnknownEnvironment("unknown_environment", field="env", name=name, known=known)


def environment_from(columns: Sequence[Any]) -> Environment:
    """Return an environment of which only these columns are loaded, in the model's order."""
    *others, kinds, settle_s, origins = columns
    names = ["id", "project_id", "name", "metrics_endpoint", "source_kinds", "settle_s", "origins"]
    return Environment.from_db(connection.alias, names, [*others, json.loads(kinds), settle_s, json.loads(origins)])


def existing(environment: Environment, trigger: Trigger) -> Started | None:
    """Return the existing deployment of the call, if any: by its key, else the running one."""
    if trigger.idempotency_key is not None:
        same_key = Deployment.objects.with_key(environment, trigger.idempotency_key)
        if same_key is not None:
            return Started(same_key, "existing", [Fact("same_key", {"number": same_key.number})])
    running = Deployment.objects.running_in(environment).first()
    if running is not None:
        note = Fact("still_running", {"number": running.number, "environment": environment.name})
        return Started(running, "existing", [note], running=True)
    return None


def check_endpoint(project: Project, environment: Environment, given: str) -> None:
    """Raise EndpointConflict where the call's endpoint neither is the environment's nor may become it.

    Clients send one with every call: where other sources measure the environment, it is of no use and no fault.
    """
    if not given or not environment.asks_endpoint:
        return
    if environment.metrics_endpoint:
        if parse_endpoint(given) != parse_endpoint(environment.metrics_endpoint):
            raise conflict(environment, given)
    elif not project.adopt_endpoints:
        raise conflict(environment, given)


def conflict(environment: Environment, given: str) -> EndpointConflict:
    configured = environment.metrics_endpoint
    code = "endpoint_conflict" if configured else "endpoint_not_taken"
    return EndpointConflict(code, field="metrics_endpoint", name=environment.name, configured=configured, given=given)


def take_endpoint(environment: Environment, given: str) -> list[Fact]:
    """Set a checked endpoint of a call where the environment has none; return notes for the caller."""
    if environment.measured or not given:
        return missing_endpoint(environment.measured)
    taken = adopt_endpoint(environment, given)
    if not taken:
        return missing_endpoint(False)
    if parse_endpoint(taken) != parse_endpoint(given):
        raise conflict(environment, given)
    refused = refused_endpoint(given)
    notes = [Fact("endpoint_taken", {"name": environment.name, "url": given})]
    return notes if refused is None else [*notes, refused]


def insert_after(
    running: Deployment | None, project: Project, environment: Environment, trigger: Trigger
) -> tuple[Deployment, list[Fact]]:
    """Insert a running deployment that supersedes `running`; return it with notes for the caller.

    Raises IntegrityError where another call was faster, EndpointConflict where it brought another endpoint.
    """
    superseded = running is not None and supersede(running)
    notes = take_endpoint(environment, trigger.metrics_endpoint)
    notes += notes_about(trigger.control, environment)
    given = trigger.facts.get("kind")
    may_roll_back = given in ("", None, Kind.ROLLBACK)
    earlier = rolls_back_to(environment, trigger.facts.get("commit_sha", "")) if may_roll_back else None
    if not given:
        kind = Kind.DEPLOYMENT if earlier is None else Kind.ROLLBACK
        trigger = replace(trigger, facts={**trigger.facts, "kind": kind})
        notes += [] if earlier is None else [Fact("rolls_back", {"number": earlier.number})]
    deployment = insert(project, environment, trigger)
    if deployment.kind == Kind.ROLLBACK:
        restored = None if earlier is None else {"number": earlier.number, "commit": earlier.commit_sha}
        emit(event_about(deployment, "rolled_back", rolls_back_to=restored))
    if running is not None and superseded:
        Deployment.objects.filter(pk=running.pk).update(superseded_by=deployment)
        notes.append(Fact("supersedes", {"number": running.number}))
    return deployment, notes


def missing_endpoint(measured: bool) -> list[Fact]:
    """Return the note for the caller where nothing measures the environment."""
    return [] if measured else [Fact("endpoint_missing")]


def insert(project: Project, environment: Environment, trigger: Trigger) -> Deployment:
    """Insert a running deployment with its pre_collect job.

    Raises IntegrityError where another call was faster, ProjectArchived.
    """
    version = None
    if trigger.policy is not None:
        version = set_policy(environment, trigger.policy, source=PolicySource.FILE)
    deployment = Deployment(
        project=project,
        environment=environment,
        idempotency_key=trigger.idempotency_key,
        window_samples=project.effective_window_minutes,
        interval_s=settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS,
        settle_s=environment.settle_s if trigger.settle_s is None else trigger.settle_s,
        policy_version=version,
        control=None if trigger.control is None else trigger.control.as_json(),
        **trigger.facts,
    )
    write_with_number(deployment)
    now = deployment.started_at
    expires_at = pre_sample_expires_at(now, deployment.window_samples, deployment.interval_s)
    spacing = timedelta(seconds=min(deployment.interval_s, PRE_SPACING_S))
    enqueue(
        NewJob("pre_collect", now + number * spacing, deployment.pk, "pre", number, expires_at, fair_key=project.pk)
        for number in range(1 if trigger.control is None else PRE_SAMPLES)
    )
    return deployment


# Columns that the database decides; all others, also later ones, come from the object.
DECIDED = ("id", "number", "started_at")
GIVEN = [field for field in Deployment._meta.concrete_fields if field.column not in DECIDED]
# The counter's row lock serializes the triggers of a project, so that numbers have no gaps. Archiving takes the same
# lock: a deployment either precedes it or is refused.
INSERT = f"""
WITH next AS (UPDATE projects_project SET last_number = last_number + 1
    WHERE id = %s AND archived_at IS NULL AND deleting_at IS NULL RETURNING last_number),
inserted AS (INSERT INTO deployments ({", ".join(str(field.column) for field in GIVEN)}, number, started_at)
    SELECT {", ".join(["%s"] * len(GIVEN))}, last_number, now() FROM next RETURNING *),
remembered AS (INSERT INTO deployment_keys (environment_id, key, deployment_id)
    SELECT environment_id, idempotency_key, id FROM inserted WHERE idempotency_key IS NOT NULL)
SELECT id, number, started_at FROM inserted
"""  # noqa: S608  (names of our own columns)


def write_with_number(deployment: Deployment) -> None:
    """Insert the deployment and its key with its project's next number and the database's time, in one statement.

    Raises ProjectArchived, IntegrityError where another call was faster.
    """
    values = [field.get_db_prep_save(getattr(deployment, field.attname), connection) for field in GIVEN]
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [deployment.project_id, *values])
        row = cursor.fetchone()
    if row is None:
        raise ProjectArchived("project_archived", name=deployment.project.name)
    deployment.pk, deployment.number, deployment.started_at = row
    deployment._state.adding, deployment._state.db = False, connection.alias


@dataclass(frozen=True, slots=True)
class PreSample:
    """The state of the PRE sample; message: why it failed."""

    status: Literal["collected", "failed", "pending"]
    message: str | None = None


def settled_pre_sample(deployment_id: int) -> PreSample | None:
    """Return the state of the PRE sample once it is stored or its first attempt has failed, else None."""
    jobs = ScheduledJob.objects.filter(deployment_id=deployment_id, job_type="pre_collect")
    job = jobs.order_by("sequence_index").first()
    if job is None:
        return PreSample("failed", render(Fact("pre_sample_without_job")))
    if job.status == JobStatus.COMPLETED:
        return PreSample("collected")
    if job.status not in OPEN_STATUSES or job.retry_count:
        return PreSample("failed", job.last_error)
    return None


def pending_pre_sample(seconds: float) -> PreSample:
    """Return the state of a PRE sample that did not come within so many seconds."""
    return PreSample("pending", render(Fact("pre_sample_pending", {"seconds": seconds})))


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a finish call. uuid: of the deployment, None where there is none."""

    status: Literal["accepted", "ignored", "not_found"]
    notes: Sequence[Fact]
    uuid: UUID | None = None


def finish_named(
    project: Project, env: str, key: str, *, result: str, metrics_endpoint: str = "", green: str = ""
) -> Finished:
    """Do as finish_deployment for the environment's deployment with this idempotency key, without one the running one.

    Raises UnknownEnvironment, EndpointConflict.
    """
    environment, _ = environment_of(project, Trigger(env=env, idempotency_key=key))
    rows = Deployment.objects
    found = rows.with_key(environment, key) if key else rows.running_in(environment).first()
    if found is None:
        return Finished("not_found", [Fact("unknown_key" if key else "none_running", {"environment": env})])
    return finish_deployment(project, found.uuid, result=result, metrics_endpoint=metrics_endpoint, green=green)


def finish_deployment(
    project: Project, uuid: UUID, *, result: str, metrics_endpoint: str = "", green: str = ""
) -> Finished:
    """Close the running deployment and plan its samples and its analysis; further calls change nothing.

    green: the endpoint of the new version, where its window is measured, instead of the environment's own.

    Raises EndpointConflict.
    """
    with transaction.atomic():
        closed = close(project, uuid, result)
        if closed is None:
            found = Deployment.objects.of(project).filter(uuid=uuid).first()
            if found is None:
                return Finished("not_found", [Fact("unknown_deployment")])
            return Finished("ignored", [why_closed(found), *earlier_attempt(found)], uuid)
        # Only the call that closes the deployment may set the endpoint; a conflict rolls the closing back.
        given = "" if closed.deleted else metrics_endpoint
        if not green and may_be_green(closed.environment, given):
            given, green = "", given
        check_endpoint(project, closed.environment, given)
        notes = measure_at(closed, green) if green else take_endpoint(closed.environment, given)
        plan_observation(closed.deployment_id, project, closed.finished_at + timedelta(seconds=closed.settle_s))
    logger.info("deployment_finished", deployment_id=str(uuid), project_id=str(project.uuid), result=result)
    observed = under_observation(closed.settle_s, project.effective_window_minutes)
    return Finished("accepted", [*observed, *notes], uuid)


def may_be_green(environment: Environment, given: str) -> bool:
    """Return whether a call's metrics endpoint is another one at an origin that a person lets calls name."""
    if not given or not environment.asks_endpoint or not environment.metrics_endpoint:
        return False
    is_other = parse_endpoint(given) != parse_endpoint(environment.metrics_endpoint)
    return is_other and origin_of(given) in map(origin_of, environment.origins)


def measure_at(closed: "Closed", green: str) -> list[Fact]:
    """Have the window of a deployment measured at its green endpoint; return notes for the caller."""
    environment = closed.environment
    if not takes_urls(environment):
        return [Fact("green_not_askable", {"kinds": ", ".join(environment.source_kinds)})]
    Deployment.objects.filter(pk=closed.deployment_id).update(green=green)
    refused = refused_endpoint(green)
    notes = [Fact("green_measured", {"url": green})]
    if not is_configured(green, environment):
        notes.append(Fact("green_unsigned"))
    return notes if refused is None else [*notes, refused]


def under_observation(settle_s: int, samples: int) -> list[Fact]:
    """Return the notes for the caller about an observation that starts now."""
    seconds = settle_s + samples * settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS
    settling = [Fact("settling", {"seconds": settle_s})] if settle_s else []
    return [Fact("under_observation", {"seconds": f"{seconds:g}"}), *settling]


@dataclass(frozen=True, slots=True)
class Closed:
    """A deployment that this call has closed. deleted: whether its environment is deleted."""

    deployment_id: int
    finished_at: datetime
    settle_s: int
    deleted: bool
    environment: Environment


# Only one call finds the deployment running. The database's clock may have been set back since trigger.
CLOSE = """
UPDATE deployments SET state = 'finished', pipeline_result = %s, finished_at = now(),
    duration_ms = greatest(0, round(extract(epoch FROM now() - started_at) * 1000)),
    window_samples = %s, interval_s = %s
FROM projects_environment AS environment
WHERE deployments.uuid = %s AND deployments.project_id = %s AND state = 'running' AND environment.id = environment_id
RETURNING deployments.id, finished_at, deployments.settle_s, environment.deleting_at IS NOT NULL,
    environment.id, environment.project_id, environment.name, environment.metrics_endpoint, environment.source_kinds,
    environment.settle_s, environment.origins
"""


def close(project: Project, uuid: UUID, result: str) -> Closed | None:
    """Close the deployment; return None where it is not the project's or no longer running."""
    window = [project.effective_window_minutes, settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS]
    with connection.cursor() as cursor:
        cursor.execute(CLOSE, [result, *window, uuid, project.pk])
        row = cursor.fetchone()
    if row is None:
        return None
    deployment_id, finished_at, settle_s, deleted, *columns = row
    return Closed(deployment_id, finished_at, settle_s, deleted, environment_from(columns))


def plan_observation(deployment_id: int, project: Project, start: datetime) -> None:
    """Enqueue one post_collect job per sample and the analysis job. start: of the window."""
    samples, interval_s = project.effective_window_minutes, settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS
    common: dict[str, Any] = {"deployment_id": deployment_id, "fair_key": project.pk}
    planned = [asdict(sample) for sample in post_samples(start, samples, interval_s)]
    jobs = [NewJob("post_collect", phase="post", **columns, **common) for columns in planned]
    due_at = analysis_due_at(start, samples, interval_s)
    enqueue([*jobs, NewJob("analysis", due_at, **common)])
