"""A recorded verdict beside what another analysis says, check by check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from analysis.judge.types import METRICS
from analysis.models import DeploymentVerdict
from analysis.rerun import what_stands
from analysis.services import Judgement
from dashboard import words
from dashboard.deployments.basis import PolicyUsed, policy_used
from dashboard.deployments.detail import by_gravity, gravest
from dashboard.words import Status


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two verdicts. checks: as they are stored, the gravest first."""

    status: Status
    confidence: float
    conclusive: bool
    summary: str
    policy: PolicyUsed
    checks: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """The gravest check of a metric on either side, None where it has none."""

    metric: str
    recorded: Mapping[str, Any] | None
    again: Mapping[str, Any] | None

    @property
    def changed(self) -> bool:
        return _told(self.recorded) != _told(self.again)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """recorded: None where no verdict stands."""

    recorded: Side | None
    again: Side
    rows: list[MetricRow]

    @property
    def changed(self) -> bool:
        """Whether the verdict would be another one."""
        return self.recorded is None or self.recorded.status != self.again.status


def side_by_side(verdict: DeploymentVerdict | None, judgement: Judgement) -> SideBySide:
    """verdict: what is recorded; of an early one its final verdict is compared, which is about the same samples."""
    recorded = side_of_stored(what_stands(verdict)) if verdict is not None else None
    again = side_of(judgement)
    known = gravest(recorded.checks) if recorded is not None else {}
    now = gravest(again.checks)
    rows = [MetricRow(metric, known.get(metric), now.get(metric)) for metric in METRICS if metric in {**known, **now}]
    return SideBySide(recorded, again, rows)


def side_of_stored(stood: Mapping[str, Any]) -> Side:
    return Side(
        status=words.VERDICTS.get(stood.get("verdict", ""), words.UNKNOWN),
        confidence=stood.get("confidence", 0.0),
        conclusive=stood.get("conclusive", False),
        summary=stood.get("summary", ""),
        policy=policy_used(stood.get("policy") or {}, None),
        checks=by_gravity(stood.get("checks") or []),
    )


def side_of(judgement: Judgement) -> Side:
    verdict = judgement.verdict
    return Side(
        status=words.VERDICTS[verdict.verdict],
        confidence=verdict.confidence,
        conclusive=verdict.conclusive,
        summary=verdict.summary,
        policy=policy_used(verdict.policy, None),
        checks=by_gravity([asdict(check) for check in verdict.checks]),
    )


def _told(check: Mapping[str, Any] | None) -> tuple[Any, ...]:
    return tuple((check or {}).get(name) for name in ("outcome", "rule", "limit", "observed", "baseline"))
