"""Attempts to have a deployment rolled back: asked, approved, sent once, followed up.

    asked → approved → sending → sent | failed | unknown
                 └→ withdrawn

There is one attempt per deployment (a unique constraint). `sending` is committed before the request leaves, and only an
approved attempt becomes `sending`: whatever dies when, there is at most one request. An attempt that is found in
`sending` when its job runs again, or later by the sweep, is `unknown`, and its event is emitted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import User
from analysis.acknowledging import announce, readable
from analysis.judge.types import OK, ROLLBACK
from analysis.models import DeploymentVerdict
from common.batches import together_or_each
from deployments.models import NEVER_JUDGED, Deployment, Kind, PipelineResult, State
from deployments.outbox import event_about
from events.models import Event
from events.outbox import emit
from explain.errors import ExplainedError
from explain.facts import Fact
from notifications.models import AttemptState, Result, RollbackAttempt
from notifications.rollbacks.payload import Outcome, Request, body_of, request_for
from projects.models import RollbackMode, RollbackPolicy
from scheduler.models import ScheduledJob
from scheduler.queue import NewJob, database_now, enqueue
from scheduler.registry import Ended, Job

logger = structlog.get_logger(__name__)

ROLL_BACK = "roll_back"
AUTOMATIC = "automatic"
# A request takes 10 s at most, and its poller renews the lease meanwhile.
SENT_WITHIN = timedelta(minutes=2)
# Of an environment whose settings are gone.
VERIFY_WITHIN_MINUTES = 30
STARTED_WITHIN = timedelta(minutes=1)
SWEPT_AT_ONCE = 200
# A recommendation or an approval that waited longer, as while no poller ran, is about a service that has moved on.
FRESH = timedelta(minutes=15)
# Attempts whose rollback is still to come or to be judged.
UNVERIFIED = Q(state__in=(AttemptState.SENT, AttemptState.UNKNOWN), result="")
RECOMMENDING = ("verdict_issued", "early_rollback")


class CannotRollBack(ExplainedError):
    """The deployment cannot be rolled back by the webhook now."""


@dataclass(frozen=True, slots=True)
class Approved:
    """The attempt, and whether this approval is the one that starts it."""

    attempt: RollbackAttempt
    is_new: bool


def newer_than() -> Exists:
    """Return whether something else was deployed since a deployment; a verification changes nothing."""
    later = Deployment.objects.filter(environment=OuterRef("environment"), pk__gt=OuterRef("pk"))
    return Exists(later.exclude(kind=Kind.VERIFICATION))


def candidates() -> QuerySet[Deployment]:
    """Return deployments with all that decides whether they may be rolled back."""
    rows = Deployment.objects.select_related(
        "project", "environment__rollback_policy", "verdict__feedback", "rollback_attempt"
    )
    return rows.annotate(is_replaced=newer_than())


def why_not(deployment: Any) -> Fact | None:
    """Return why a deployment is not to be rolled back by the webhook, None if it may be. deployment: of candidates."""
    policy: RollbackPolicy | None = getattr(deployment.environment, "rollback_policy", None)
    if policy is None or not policy.fires:
        return Fact("rollback.off")
    project = deployment.project
    if any(at is not None for at in (deployment.environment.deleting_at, project.deleting_at, project.archived_at)):
        return Fact("rollback.deleted")
    return why_not_recommended(deployment) or (Fact("rollback.replaced") if deployment.is_replaced else None)


def why_not_recommended(deployment: Deployment) -> Fact | None:
    if deployment.kind != Kind.DEPLOYMENT:
        return Fact("rollback.kind")
    if deployment.state in NEVER_JUDGED:
        return Fact("rollback.closed")
    verdict: DeploymentVerdict | None = getattr(deployment, "verdict", None)
    if verdict is None or verdict.standing.verdict.verdict != ROLLBACK:
        return Fact("rollback.not_recommended")
    if not verdict.standing.verdict.conclusive:
        return Fact("rollback.inconclusive")
    if verdict.shadow:
        return Fact("rollback.shadow")
    feedback = getattr(verdict, "feedback", None)
    return Fact("rollback.marked_wrong") if feedback is not None and not feedback.right else None


# --- asked for -------------------------------------------------------------------------------------------------------


def handle_events(events: Sequence[Event]) -> None:
    """Ask for rollbacks, or begin them, where these events recommend them; update earlier attempts.

    In the caller's transaction.
    """
    said_at = {event.deployment_id: event.occurred_at for event in events if event.kind in RECOMMENDING}
    ids = [pk for pk in said_at if pk is not None]
    if ids:
        rows = candidates().filter(pk__in=ids, rollback_attempt=None, environment__rollback_policy__isnull=False)
        for deployment in rows.exclude(environment__rollback_policy__mode=RollbackMode.OFF).order_by("pk"):
            if why_not(deployment) is None:
                begin(deployment, said_at[deployment.pk])
    environments = {event.environment_id for event in events if event.environment_id}
    if environments:
        in_pages(follow_up, RollbackAttempt.objects.filter(UNVERIFIED, environment__in=environments))


def begin(deployment: Deployment, recommended_at: datetime) -> None:
    """Make the attempt of a deployment: approved where its environment needs no person, else asked.

    An old recommendation is never carried out without a person.
    """
    mode = deployment.environment.rollback_policy.mode
    now = database_now()
    by_itself = mode == RollbackMode.AUTOMATIC and now - recommended_at < FRESH
    automatic = {"state": AttemptState.APPROVED, "via": AUTOMATIC, "approved_at": now}
    attempt = made(deployment, **(automatic if by_itself else {"state": AttemptState.ASKED}))
    if attempt is None:
        return
    if attempt.state == AttemptState.APPROVED:
        enqueue([job_of(attempt)])
    else:
        emit_event(attempt, "rollback_asked")


def made(deployment: Deployment, **fields: Any) -> RollbackAttempt | None:
    """Write the attempt of a deployment; None where there is one already."""
    good = Deployment.objects.filter(environment=deployment.environment_id, pk__lt=deployment.pk).restorable()
    new = RollbackAttempt(
        deployment=deployment, environment=deployment.environment, last_good=good.order_by("-pk").first(), **fields
    )
    RollbackAttempt.objects.bulk_create([new], ignore_conflicts=True)
    return rows_with_names().filter(uuid=new.uuid).first()


def approve(deployment: Deployment, *, who: str, via: str, by: User | None = None) -> Approved:
    """Have a deployment rolled back: the request is sent within seconds. A second approval changes nothing.

    Raises: CannotRollBack, Deployment.DoesNotExist.
    """
    with transaction.atomic():
        # Of two approvals at once, the second one finds the first one's attempt.
        Deployment.objects.select_for_update(no_key=True).only("pk").get(pk=deployment.pk)
        found = candidates().get(pk=deployment.pk)
        attempt: RollbackAttempt | None = getattr(found, "rollback_attempt", None)
        if attempt is not None and attempt.state != AttemptState.ASKED:
            return Approved(attempt, is_new=False)
        if (why := why_not(found)) is not None:
            raise CannotRollBack(why.code)
        fields = {"who": readable(who, 150), "via": via, "by": by, "approved_at": database_now()}
        if attempt is None:
            attempt = made(found, state=AttemptState.APPROVED, **fields)
        else:
            RollbackAttempt.objects.filter(pk=attempt.pk, state=AttemptState.ASKED).update(
                state=AttemptState.APPROVED, **fields
            )
            attempt.refresh_from_db()
        if attempt is None:
            return Approved(RollbackAttempt.objects.get(deployment=found), is_new=False)
        enqueue([job_of(attempt)])
        announce(found)
    logger.info("rollback_approved", deployment_id=str(found.uuid), via=via)
    return Approved(attempt, is_new=True)


def job_of(attempt: RollbackAttempt) -> NewJob:
    return NewJob(
        ROLL_BACK,
        deployment_id=attempt.deployment_id,
        fair_key=attempt.environment_id,
        metadata={"attempt": attempt.pk},
    )


# --- sent ------------------------------------------------------------------------------------------------------------


def rows_with_names() -> QuerySet[RollbackAttempt]:
    return RollbackAttempt.objects.select_related(
        "deployment__project", "deployment__environment", "environment__project", "last_good"
    )


def prepare(jobs: Sequence[Job]) -> Mapping[int, Request | Fact]:
    """Commit that the attempts are being sent, and load the requests; a fact where there is none to send."""
    prepared: dict[int, Request | Fact] = {}
    wanted = {job.metadata.get("attempt"): job for job in jobs}
    with transaction.atomic():
        now = database_now()
        wait_for_disk()
        rows = rows_with_names().select_for_update(of=("self",)).filter(pk__in=[pk for pk in wanted if pk])
        for attempt in rows.order_by("pk"):
            if attempt.state == AttemptState.SENDING:
                # Its poller died: this job ran before.
                end(attempt, AttemptState.UNKNOWN, now)
            if attempt.state != AttemptState.APPROVED:
                continue
            deployment = candidates().get(pk=attempt.deployment_id)
            why = why_not(deployment)
            if why is None and attempt.approved_at is not None and now - attempt.approved_at > FRESH:
                why = Fact("rollback.too_late", {"minutes": FRESH.total_seconds() // 60})
            if why is not None:
                end(attempt, AttemptState.WITHDRAWN, now, error=why.to_json())
                continue
            body = body_of(attempt, deployment.verdict, now)
            request = request_for(deployment.environment.rollback_policy, str(attempt.uuid), body)
            if isinstance(request, Request):
                change(attempt, state=AttemptState.SENDING, sending_at=now)
            prepared[wanted[attempt.pk].id] = request
    return prepared


def wait_for_disk() -> None:
    """Have this transaction's commit survive a crash of the database, also where commits do not wait for the disk.

    Else the attempt would be approved again after it was sent, and sent again.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
        )


def record(done: Sequence[tuple[Job, Outcome | Fact | None]]) -> None:
    """Write what became of the requests."""
    endings = {job.metadata["attempt"]: ending for job, ending in done if ending is not None}
    now = database_now()
    open_states = (AttemptState.SENDING, AttemptState.APPROVED)
    rows = rows_with_names().select_for_update(of=("self",)).filter(pk__in=endings, state__in=open_states)
    for attempt in rows.order_by("pk"):
        ending = endings[attempt.pk]
        if isinstance(ending, Fact):
            end(attempt, AttemptState.FAILED, now, error=ending.to_json())
            continue
        failed = AttemptState.UNKNOWN if ending.unclear else AttemptState.FAILED
        end(
            attempt,
            AttemptState.SENT if ending.why is None else failed,
            now,
            error=ending.why.to_json() if ending.why else None,
            answer_status=ending.sent.status,
            answer=ending.sent.answer,
        )


def ended(jobs: Sequence[Ended]) -> None:
    """Find the attempts of jobs that ended without recording how, as where a lease ran out."""
    attempts = rows_with_names().filter(
        deployment__in=[job.deployment_id for job in jobs if job.status != "completed" and job.deployment_id]
    )
    lost(attempts)
    # No other job will be made for them: there is one per deployment.
    never_started(attempts)


def lost(attempts: QuerySet[RollbackAttempt]) -> int:
    """End those of the attempts that were being sent as unknown; return how many."""
    return end_all(attempts, AttemptState.SENDING, AttemptState.UNKNOWN)


def never_started(attempts: QuerySet[RollbackAttempt]) -> int:
    """End those of the attempts that were approved and not sent as failed; return how many."""
    why = Fact("rollback.not_started").to_json()
    return end_all(attempts, AttemptState.APPROVED, AttemptState.FAILED, error=why)


def end_all(attempts: QuerySet[RollbackAttempt], state: AttemptState, end_state: AttemptState, **fields: Any) -> int:
    now = database_now()
    found = list(attempts.select_for_update(of=("self",)).filter(state=state).order_by("pk"))
    for attempt in found:
        end(attempt, end_state, now, **fields)
    return len(found)


EVENT_OF = {
    AttemptState.SENT: "rollback_fired",
    AttemptState.FAILED: "rollback_failed",
    AttemptState.UNKNOWN: "rollback_unknown",
    AttemptState.WITHDRAWN: "rollback_failed",
}


def end(attempt: RollbackAttempt, state: AttemptState, now: datetime, **fields: Any) -> None:
    """Write the end of a locked attempt, and emit its event."""
    change(attempt, state=state, ended_at=now, **fields)
    emit_event(attempt, EVENT_OF[state])
    logger.info("rollback_attempt_ended", deployment_id=str(attempt.deployment.uuid), state=str(state))


def change(attempt: RollbackAttempt, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(attempt, name, value)
    attempt.save(update_fields=list(fields))


def emit_event(attempt: RollbackAttempt, kind: str, *, why: Fact | None = None) -> None:
    """Emit an event about an attempt; once per attempt and kind."""
    good = attempt.last_good
    emit(
        event_about(
            attempt.deployment,
            kind,
            key=f"{kind} {attempt.uuid}",
            attempt=str(attempt.uuid),
            who=attempt.who,
            via=attempt.via,
            status=attempt.answer_status,
            why=why.to_json() if why else attempt.error,
            last_good={"number": good.number, "id": str(good.uuid), "commit": good.commit_sha} if good else None,
        )
    )
    announce(attempt.deployment)


# --- followed up -----------------------------------------------------------------------------------------------------


def follow_up(attempts: QuerySet[RollbackAttempt]) -> int:
    """Link attempts with the deployments by which they were done, emit failures; return how many ended.

    A rollback has to be there within the time that is set; its verdict has to be ok.
    """
    rows = attempts.filter(UNVERIFIED).select_for_update(of=("self",), skip_locked=True)
    rows = rows.select_related("deployment__project", "deployment__environment__rollback_policy", "last_good")
    found, now = 0, database_now()
    for attempt in rows.order_by("pk"):
        if attempt.rollback_id is None:
            link(attempt)
        result, why = result_of(attempt, now)
        if result:
            found += 1
            change(attempt, result=result)
            announce(attempt.deployment)
            if why is not None:
                emit_event(attempt, "rollback_failed", why=why)
    return found


def link(attempt: RollbackAttempt) -> None:
    """Find the first rollback since. One before the request would have withdrawn it."""
    later = Deployment.objects.filter(environment=attempt.environment_id, pk__gt=attempt.deployment_id)
    first = later.filter(kind=Kind.ROLLBACK).order_by("pk").first()
    if first is not None:
        change(attempt, rollback=first)
        announce(attempt.deployment)


def result_of(attempt: RollbackAttempt, now: datetime) -> tuple[str, Fact | None]:
    """Return the result of a rollback ("" while it is open), and the reason if it failed."""
    if attempt.rollback_id is not None:
        rollback = Deployment.objects.select_related("verdict").get(pk=attempt.rollback_id)
        why = why_not_ok(rollback)
        if why is not None:
            return Result.NOT_OK, Fact(why, {"number": rollback.number})
        return Result.WORKED if rollback.state == State.ANALYZED else "", None
    policy = getattr(attempt.deployment.environment, "rollback_policy", None)
    minutes = policy.verify_within_minutes if policy is not None else VERIFY_WITHIN_MINUTES
    if attempt.sending_at is None or now < attempt.sending_at + timedelta(minutes=minutes):
        return "", None
    return Result.MISSING, Fact("rollback.missing", {"minutes": minutes})


def why_not_ok(rollback: Deployment) -> str | None:
    """Return the code of what is wrong with a rollback; None where nothing is known to be."""
    if rollback.state in NEVER_JUDGED:
        return "rollback.not_judged"
    if rollback.pipeline_result not in ("", PipelineResult.SUCCESS):
        return "rollback.pipeline_failed"
    verdict: DeploymentVerdict | None = getattr(rollback, "verdict", None)
    if verdict is None:
        return None
    judged = verdict.standing.verdict
    return None if judged.verdict == OK and judged.conclusive else "rollback.verdict_not_ok"


def sweep() -> int:
    """Recover attempts whose job died, and close rollbacks past their deadline; return how many were handled."""
    now = database_now()
    # Without a result: those of the partial index.
    attempts = rows_with_names().filter(result="")
    jobs = ScheduledJob.objects.filter(job_type=ROLL_BACK, deployment=OuterRef("deployment"))
    waiting = attempts.filter(state=AttemptState.APPROVED, approved_at__lt=now - STARTED_WITHIN)
    stuck = attempts.filter(state=AttemptState.SENDING, sending_at__lt=now - SENT_WITHIN)
    return (
        in_pages(lost, stuck)
        # `ended` raised, or was not called.
        + in_pages(never_started, waiting.filter(Exists(jobs), ~Exists(jobs.open())))
        + in_pages(plan, waiting.filter(~Exists(jobs)))
        + in_pages(follow_up, attempts.filter(UNVERIFIED))
    )


def in_pages(work: Callable[[QuerySet[RollbackAttempt]], int], attempts: QuerySet[RollbackAttempt]) -> int:
    """Work on many attempts, each page in a transaction of its own; one that raises stops no other."""

    def on_page(ids: Sequence[int]) -> int:
        with transaction.atomic():
            return work(attempts.filter(pk__in=ids))

    found, last = 0, 0
    while ids := list(attempts.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:SWEPT_AT_ONCE]):
        found += sum(together_or_each(on_page, ids, not_swept))
        last = ids[-1]
    return found


def not_swept(attempt: int, error: Exception) -> None:
    logger.exception("rollback_attempt_not_swept", attempt=attempt)


def plan(attempts: QuerySet[RollbackAttempt]) -> int:
    """Enqueue the jobs of approved attempts that have none; return how many there were."""
    found = list(attempts.select_for_update(of=("self",)).filter(state=AttemptState.APPROVED).order_by("pk"))
    enqueue([job_of(attempt) for attempt in found])
    return len(found)
