"""What another policy would have said of deployments that have their verdict: from what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from analysis.cases import result_of
from analysis.evidence import load_evidence
from analysis.models import DeploymentVerdict, Feedback
from analysis.policy import Policy
from analysis.services import Judgement, assess
from deployments.models import Deployment, DeploymentQuerySet


@dataclass(frozen=True, slots=True)
class Replayed:
    """One deployment, judged again. recorded: its verdict; deserved: what a person says it should have been, or ""."""

    deployment: Deployment
    recorded: str
    deserved: str
    judgement: Judgement

    @property
    def verdict(self) -> str:
        return self.judgement.verdict.verdict

    @property
    def changed(self) -> bool:
        return self.verdict != self.recorded

    def as_dict(self) -> dict[str, Any]:
        """As backtest writes it: a case's result, and what stands on record."""
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
    """Recorded and replayed verdicts of many deployments. marked: those that a person marked with what they deserved;
    right_before and right_after: how many of them each policy got right."""

    deployments: int
    changed: int
    moves: tuple[tuple[str, str, int], ...]
    marked: int
    right_before: int
    right_after: int


def judged(deployments: DeploymentQuerySet) -> DeploymentQuerySet:
    """Those that have their verdict, with all that a replay reads."""
    return deployments.filter(verdict__isnull=False, finished_at__isnull=False).select_related(
        "environment", "policy_version", "verdict__feedback"
    )


def replay(deployments: Sequence[Deployment], policy: Policy | None = None) -> list[Replayed]:
    """Judges them again under this policy, each at the time of its verdict; None: under their own."""
    replayed = []
    for deployment in deployments:
        evidence = load_evidence([deployment], judged_at(deployment), policy=policy)[deployment.pk]
        verdict = deployment.verdict
        feedback: Feedback | None = getattr(verdict, "feedback", None)
        deserved = feedback.label if feedback is not None else ""
        replayed.append(Replayed(deployment, verdict.verdict, deserved, assess(evidence)))
    return replayed


def judged_at(deployment: Deployment) -> datetime:
    """The judge's "now" of the recorded verdict: of its final word, where it was issued early."""
    verdict = deployment.verdict
    return parse_datetime(recorded_evidence(verdict).get("evaluated_at") or "") or verdict.created_at


def recorded_evidence(verdict: DeploymentVerdict) -> dict[str, Any]:
    """What a verdict rests on: the final word's evidence where there is one, else that of the verdict itself."""
    found: dict[str, Any] = (verdict.final or {}).get("evidence") or verdict.evidence
    return found


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
