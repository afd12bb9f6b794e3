"""Compute figures of merit of a judge on labelled cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from analysis.judge.types import OK, ROLLBACK, VERDICTS, WARNING
from benchmarks.verdicts.labels import Case

# Cost of an answer by (label, answer); right answers cost nothing.
COST = {
    (ROLLBACK, OK): 10.0,
    (ROLLBACK, WARNING): 3.0,
    (WARNING, OK): 2.0,
    (WARNING, ROLLBACK): 1.0,
    (OK, ROLLBACK): 5.0,
    (OK, WARNING): 1.0,
}
BINS = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict of a judge on a case."""

    case: Case
    verdict: str
    confidence: float = 1.0

    @property
    def right(self) -> bool:
        return self.verdict in self.case.accepted

    @property
    def cost(self) -> float:
        return 0.0 if self.right else COST[self.case.label, self.verdict]


@dataclass(slots=True)
class Figures:
    """All rates are 0..1, None where there is no such case; cost is per case."""

    cases: int
    right: float | None = None
    false_alarms: float | None = None
    false_rollbacks: float | None = None
    missed_criticals: float | None = None
    critical_as_warning: float | None = None
    recall_degraded: float | None = None
    calibration_error: float | None = None
    cost: float | None = None
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)


def _share(answers: Sequence[Answer], good: Iterable[bool]) -> float | None:
    return sum(good) / len(answers) if answers else None


def calibration_error(answers: Sequence[Answer]) -> float:
    """Return the expected calibration error: mean distance of confidence and share of right answers, over ten bins."""
    bins: dict[int, list[Answer]] = {}
    for answer in answers:
        bins.setdefault(min(BINS - 1, int(answer.confidence * BINS)), []).append(answer)
    total = 0.0
    for members in bins.values():
        claimed = sum(answer.confidence for answer in members)
        total += abs(claimed - sum(answer.right for answer in members))
    return total / len(answers)


def figures(answers: Sequence[Answer]) -> Figures:
    """Return the figures over `answers`.

    False alarms: healthy (label ok) not answered ok; false rollbacks: healthy answered rollback; missed criticals:
    label rollback answered ok; recall of degraded: label warning answered warning or rollback. A case with two accepted
    answers counts by its label, and both answers are right.
    """
    if not answers:
        return Figures(cases=0)
    healthy = [a for a in answers if a.case.label == OK]
    degraded = [a for a in answers if a.case.label == WARNING]
    critical = [a for a in answers if a.case.label == ROLLBACK]
    seen = Counter((a.case.label, a.verdict) for a in answers)
    return Figures(
        cases=len(answers),
        right=_share(answers, (a.right for a in answers)),
        false_alarms=_share(healthy, (not a.right for a in healthy)),
        false_rollbacks=_share(healthy, (a.verdict == ROLLBACK and not a.right for a in healthy)),
        missed_criticals=_share(critical, (a.verdict == OK and not a.right for a in critical)),
        critical_as_warning=_share(critical, (a.verdict == WARNING and not a.right for a in critical)),
        recall_degraded=_share(degraded, (a.verdict != OK or a.right for a in degraded)),
        calibration_error=calibration_error(answers),
        cost=sum(a.cost for a in answers) / len(answers),
        confusion={label: {verdict: seen[label, verdict] for verdict in VERDICTS} for label in VERDICTS},
    )
