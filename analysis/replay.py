"""Judge deployments that have a verdict with another policy, from stored data."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from analysis.cases import result_of
from analysis.earlier_days import DAYS_USED
from analysis.evidence import Evidence, load_evidence
from analysis.judge.types import Miss
from analysis.models import Feedback
from analysis.recorded import JudgedOn
from analysis.services import Judgement, assess
from deployments.models import Deployment, DeploymentQuerySet, State
from metrics.levels import LEVELS_KEPT
from projects.policy import Policy


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replayed deployment.

    recorded: its verdict; of an early one the final verdict, which rests on the same samples; deserved: verdict named
    by a mark, or ""; complete: whether all data of the recorded verdict is still stored.
    """

    deployment: Deployment
    recorded: str
    deserved: str
    judgement: Judgement
    complete: bool

    @property
    def verdict(self) -> str:
        return self.judgement.verdict.verdict

    @property
    def changed(self) -> bool:
        return self.verdict != self.recorded

    def as_dict(self) -> dict[str, Any]:
        """Return the result of a case as backtest writes it, with the recorded verdict."""
        return {
            **result_of(str(self.deployment.uuid), self.judgement.verdict, self.judgement.hints),
            "number": self.deployment.number,
            "environment": self.deployment.environment.name,
            "recorded": self.recorded,
            "deserved": self.deserved or None,
            "changed": self.changed,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Recorded and replayed verdicts of many deployments.

    marked: those whose mark names the deserved verdict; right_before, right_after: how many each policy got right.
    """

    deployments: int
    changed: int
    moves: tuple[tuple[str, str, int], ...]
    marked: int
    right_before: int
    right_after: int


def judged(deployments: DeploymentQuerySet) -> DeploymentQuerySet:
    """Return deployments with a verdict (an early one with its final verdict), with all data for a replay."""
    return deployments.filter(verdict__isnull=False, state=State.ANALYZED).select_related(
        "environment", "policy_version", "verdict__feedback"
    )


def replay(deployments: Sequence[Deployment], policy: Policy | None = None) -> list[Replayed]:
    """Judges them again under this policy, each at the time of its verdict; None: under their own."""
    replayed = []
    for deployment in deployments:
        evidence, complete = evidence_on_record(deployment, policy)
        verdict = deployment.verdict
        feedback: Feedback | None = getattr(verdict, "feedback", None)
        replayed.append(
            Replayed(
                deployment,
                recorded=verdict.standing.verdict.verdict,
                deserved=feedback.label if feedback is not None else "",
                judgement=assess(evidence),
                complete=complete,
            )
        )
    return replayed


def evidence_on_record(deployment: Deployment, policy: Policy | None = None) -> tuple[Evidence, bool]:
    """Return the stored evidence of the recorded verdict, and whether it is complete. policy: replaces its own."""
    evidence = load_evidence([deployment], judged_at(deployment), policy=policy)[deployment.pk]
    recorded = deployment.verdict.standing.judged_on
    return with_expired(with_misses(evidence, recorded.misses), recorded), not is_less(evidence, recorded)


def judged_at(deployment: Deployment) -> datetime:
    """The judge's "now" of the recorded verdict: of its final verdict, where it was issued early."""
    recorded = deployment.verdict.standing
    # A final verdict that was given without a judgement has no "now" of its own, but its time.
    return recorded.judged_on.evaluated_at or recorded.at or deployment.verdict.created_at


def is_less(evidence: Evidence, recorded: JudgedOn) -> bool:
    """Return whether data of the recorded verdict is missing: samples expire."""
    origins = [sample.origin for sample in evidence.pre]
    known = recorded.pre_origins
    before = sum(known.get(origin, 0) for origin in ("pre", "baseline")) + len(recorded.excluded)
    still = len(origins) - origins.count("history") + len(evidence.excluded)
    # Of those that helped out, some may have been marked wrong since; where none is left, they are gone.
    helpers_gone = bool(known.get("history")) and "history" not in origins
    return len(evidence.post) < recorded.post_samples or still < before or helpers_gone


def with_misses(evidence: Evidence, recorded: Sequence[Miss]) -> Evidence:
    """The evidence with the misses of the recorded verdict, where their jobs are gone by now."""
    if evidence.window.misses or not recorded:
        return evidence
    window = evidence.window

    def due(miss: Miss) -> datetime | None:
        if miss.phase == "pre" or window.starts_at is None:
            return window.started_at
        return window.starts_at + timedelta(seconds=miss.sequence_index * window.interval_s)

    misses = tuple(replace(miss, scheduled_at=due(miss)) for miss in recorded)
    return replace(evidence, window=replace(window, misses=misses))


def with_expired(evidence: Evidence, recorded: JudgedOn) -> Evidence:
    """The evidence with what the verdict knew of the time before and is no longer stored (LEVELS_KEPT)."""
    window = evidence.window
    if window.started_at is None:
        return evidence
    # A day of which a part has expired has another level.
    kept = (window.started_at - timezone.now() + LEVELS_KEPT - timedelta(hours=1)).days
    days = {day.days_ago: day for day in window.earlier_days if day.days_ago <= kept}
    days |= {day.days_ago: day for day in recorded.earlier_days if day.days_ago > kept}
    earlier = tuple(days[number] for number in sorted(days)[:DAYS_USED])
    answered = window.endpoint_answered_before or bool(recorded.endpoint_answered_before)
    window = replace(window, earlier_days=earlier, endpoint_answered_before=answered)
    # Of journeys that were changed since, and of alerts that are not known any more.
    expectations, alerts = recorded.expectations or window.expectations, recorded.alerts or window.alerts
    return replace(evidence, window=replace(window, expectations=expectations, alerts=alerts))


def compare(replayed: Iterable[Replayed]) -> Comparison:
    """The sum of a replay."""
    rows = list(replayed)
    moves = Counter((row.recorded, row.verdict) for row in rows if row.changed)
    marked = [row for row in rows if row.deserved]
    return Comparison(
        deployments=len(rows),
        changed=sum(moves.values()),
        moves=tuple((before, after, count) for (before, after), count in moves.most_common()),
        marked=len(marked),
        right_before=sum(row.recorded == row.deserved for row in marked),
        right_after=sum(row.verdict == row.deserved for row in marked),
    )
