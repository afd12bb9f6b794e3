"""Rerun the analysis of a deployment on stored data, with the current policy and judge.

A preview writes nothing. Storing the result revises the verdict (docs/verdicts.md): the earlier one is kept in
`revisions`, hints are replaced, and the deserved verdict named by a mark stays. An early verdict was acted on while the
window was open, so it stays: its final verdict is revised.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

import structlog
from django.db import transaction

from accounts.models import User
from analysis.evidence import load_evidence, observed_until
from analysis.judge.types import OK, Verdict
from analysis.models import STORED, DeploymentVerdict, Feedback
from analysis.models import Hint as StoredHint
from analysis.outbox import MOST_HINTS, Stance, emit_revised, hint_facts, neighbours, verdict_facts
from analysis.recorded import verdict_json
from analysis.replay import evidence_on_record
from analysis.services import (
    Judgement,
    assess,
    final_json,
    hint_rows,
    named,
    statement_time,
    store_judgement,
    verdict_row,
)
from deployments.models import NEVER_JUDGED, Deployment, State
from projects.policy import Policy
from scheduler.models import ScheduledJob
from scheduler.queue import database_now

logger = structlog.get_logger(__name__)

# Each keeps what it replaced; a verdict is not a place to try policies (that is what a replay is for).
MOST_REVISIONS = 20
# Of the model: everything that a judgement says.
KEPT_COLUMNS = ("id", "deployment", "early", "final", "revisions", "created_at")


class Refusal(StrEnum):
    """Why an analysis cannot run result."""

    NOT_FINISHED = "not_finished"
    NEVER_JUDGED = "never_judged"
    WINDOW_OPEN = "window_open"
    UNDER_WAY = "under_way"
    SAMPLES_GONE = "samples_gone"
    TOO_OFTEN = "too_often"
    NOTHING_NEW = "nothing_new"
    CHANGED_MEANWHILE = "changed_meanwhile"


class CannotRerun(Exception):
    """The analysis cannot run again; nothing was written."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class RerunResult:
    """Result of a rerun.

    recorded: current verdict, None if there is none; token: identifies the result and what it replaces, so that exactly
    what was shown is stored.
    """

    deployment: Deployment
    recorded: DeploymentVerdict | None
    judgement: Judgement
    token: str

    @property
    def is_news(self) -> bool:
        """Return whether the result differs from the stored one in anything, even only in confidence."""
        return self.recorded is None or self.judgement.verdict != self.recorded.standing.verdict


def rejudge(deployment: Deployment, *, policy: Policy | None = None) -> Judgement:
    """The judgement on a deployment with a verdict, at the time of that; policy: instead of its own. Writes nothing.

    Raises CannotRerun where the samples that the verdict rests on are not all there any more.
    """
    evidence, complete = evidence_on_record(deployment, policy)
    if not complete:
        raise CannotRerun(Refusal.SAMPLES_GONE)
    return assess(evidence)


def judge_as(deployment: Deployment, policy: Policy) -> Judgement:
    """Judge a deployment whose window is over with this policy. Writes nothing. Raises CannotRerun."""
    check_state(deployment)
    if is_analyzed(deployment) and hasattr(deployment, "verdict"):
        return rejudge(deployment, policy=policy)
    return assess(load_evidence([deployment], database_now(), policy=policy)[deployment.pk])


def preview_rerun(deployment: Deployment) -> RerunResult:
    """Return the result of a rerun. A fixed number of queries; writes nothing. Raises CannotRerun.

    deployment: with environment, policy_version and verdict__feedback.
    """
    check_state(deployment)
    # An early verdict whose final verdict is still to be had waits for that, as one without any waits for its verdict.
    recorded: DeploymentVerdict | None = getattr(deployment, "verdict", None) if is_analyzed(deployment) else None
    if recorded is not None:
        if len(recorded.revisions or []) >= MOST_REVISIONS:
            raise CannotRerun(Refusal.TOO_OFTEN)
        judgement = rejudge(deployment)
    else:
        judgement = assess(load_evidence([deployment], database_now())[deployment.pk])
    return RerunResult(deployment, recorded, judgement, token_of(recorded, judgement))


def is_analyzed(deployment: Deployment) -> bool:
    return deployment.state == State.ANALYZED


def check_state(deployment: Deployment) -> None:
    """Raises CannotRerun unless everything that was to come of the window has come, and no analysis is under way."""
    if deployment.state in NEVER_JUDGED:
        raise CannotRerun(Refusal.NEVER_JUDGED)
    if deployment.finished_at is None:
        raise CannotRerun(Refusal.NOT_FINISHED)
    open_jobs = ScheduledJob.objects.open().filter(deployment=deployment, job_type__in=("post_collect", "analysis"))
    kinds = set(open_jobs.values_list("job_type", flat=True))
    over = is_analyzed(deployment) or database_now() >= observed_until(deployment)
    if "post_collect" in kinds or not over:
        raise CannotRerun(Refusal.WINDOW_OPEN)
    if "analysis" in kinds:
        raise CannotRerun(Refusal.UNDER_WAY)


def store_rerun(deployment_id: int, *, token: str, by: User | None) -> RerunResult:
    """Store the result if it is still the one identified by `token`, else raise CannotRerun.

    Judging and revising lock the row of the deployment first: of two concurrent calls the second has an outdated token.
    """
    rows = Deployment.objects.select_related("environment", "policy_version", "verdict__feedback", "project")
    with transaction.atomic():
        # Read only once the lock is ours: what a query that waits for it joins is from before the wait.
        Deployment.objects.select_for_update().get(pk=deployment_id)
        deployment = rows.get(pk=deployment_id)
        result = preview_rerun(deployment)
        if result.token != token:
            raise CannotRerun(Refusal.CHANGED_MEANWHILE)
        if not result.is_news:
            raise CannotRerun(Refusal.NOTHING_NEW)
        if result.recorded is None:
            # Also one whose verdict was deleted by hand.
            Deployment.objects.filter(pk=deployment_id, state=State.ANALYZED).update(state=State.FINISHED)
            store_judgement(deployment_id, result.judgement)
        else:
            revise(result.recorded, result.judgement, by)
    logger.info(
        "verdict_revised" if result.recorded is not None else "verdict_made_up_for",
        deployment_id=str(deployment.uuid),
        project_id=str(deployment.project.uuid),
        by=by.pk if by is not None else None,
        verdict=result.judgement.verdict.verdict,
        confidence=result.judgement.verdict.confidence,
    )
    return result


def revise(verdict: DeploymentVerdict, judgement: Judgement, by: User | None) -> None:
    """Replaces what the verdict's row says, in the caller's transaction, and keeps what it said."""
    now = statement_time().isoformat()
    was = verdict.standing.verdict
    replaced = {**as_revision(verdict), "replaced_at": now, "by": by.get_username() if by is not None else ""}
    verdict.revisions = [*(verdict.revisions or []), replaced]
    if verdict.early:
        # The row's own policy is the early verdict's.
        verdict.final = {**final_json(judgement), "policy": judgement.verdict.policy}
    else:
        fresh = verdict_row(verdict.deployment_id, judgement)
        for field in DeploymentVerdict._meta.concrete_fields:
            if field.name not in KEPT_COLUMNS:
                setattr(verdict, field.attname, getattr(fresh, field.attname))
        keep_mark(verdict, replaced)
    verdict.save()
    hints = StoredHint.objects.filter(deployment_id=verdict.deployment_id)
    hints.delete()
    StoredHint.objects.bulk_create(hint_rows(verdict.deployment_id, judgement.hints))
    # Hints keep the time of the verdict, so that lists and counts by day stay the same.
    hints.update(created_at=verdict.created_at)
    emit_rerun(verdict.deployment_id, was, judgement, by)


def emit_rerun(deployment_id: int, was: Verdict, judgement: Judgement, by: User | None) -> None:
    """Notify those who got the replaced verdict."""
    found = judgement.verdict
    emit_revised(
        named([deployment_id])[deployment_id],
        Stance(was.verdict, was.conclusive),
        Stance(found.verdict, found.conclusive),
        verdict=verdict_facts(found, judgement.evidence),
        hints=[hint_facts(hint) for hint in judgement.hints[:MOST_HINTS]],
        who=by.get_username() if by is not None else "",
        **({} if found.verdict == OK else neighbours([deployment_id])[deployment_id]),
    )


def as_revision(verdict: DeploymentVerdict) -> dict[str, Any]:
    """Return the current verdict (the final one of an early verdict) as a revision, with policy, hints and mark."""
    mark: Feedback | None = getattr(verdict, "feedback", None)
    return {
        "at": verdict.created_at.isoformat(),
        **what_stands(verdict),
        "shadow": verdict.shadow,
        "hints": list(verdict.deployment.hints.order_by("position").values_list("code", flat=True)),
        "feedback": None
        if mark is None
        else {"right": mark.right, "should_have_been": mark.should_have_been, "reason": mark.reason},
    }


def keep_mark(verdict: DeploymentVerdict, replaced: dict[str, Any]) -> None:
    """Apply the mark of the replaced verdict to the new one.

    The deserved verdict is the same, so right or wrong follows from it. A mark that only said "wrong" does not apply to
    another verdict; the revision keeps it.
    """
    mark: Feedback | None = getattr(verdict, "feedback", None)
    if mark is None or verdict.verdict == replaced["verdict"]:
        return
    deserved = replaced["verdict"] if mark.right else mark.should_have_been
    rows = Feedback.objects.filter(pk=mark.pk)
    if not deserved:
        rows.delete()
        return
    right = deserved == verdict.verdict
    # given_at stays: the mark is no new one.
    rows.update(right=right, should_have_been="" if right else deserved)


def what_stands(verdict: DeploymentVerdict) -> dict[str, Any]:
    """Return the verdict, or the final verdict of an early one, with the policy."""
    stood = dict(verdict.final or {}) if verdict.early else {name: getattr(verdict, name) for name in STORED}
    return {"policy": verdict.policy, **stood}


def token_of(recorded: DeploymentVerdict | None, judgement: Judgement) -> str:
    """Names a judgement and the state of the row that it would replace."""
    place = None if recorded is None else [recorded.pk, len(recorded.revisions or []), recorded.early]
    verdict = judgement.verdict
    text = json.dumps([place, verdict_json(verdict), verdict.policy], sort_keys=True)
    return sha256(text.encode()).hexdigest()
