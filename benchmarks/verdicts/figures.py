"""Compute figures of merit of a judge on labelled cases."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

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


# Rates: the label of the cases that a rate is a share of (None: all), and which of their answers count. A case with two
# accepted answers has one label, and both answers are right.
RATES: dict[str, tuple[str | None, Callable[[Answer], bool]]] = {
    "right": (None, lambda a: a.right),
    "false_alarms": (OK, lambda a: not a.right),
    "false_rollbacks": (OK, lambda a: a.verdict == ROLLBACK and not a.right),
    "missed_criticals": (ROLLBACK, lambda a: a.verdict == OK and not a.right),
    "critical_as_warning": (ROLLBACK, lambda a: a.verdict == WARNING and not a.right),
    "recall_degraded": (WARNING, lambda a: a.verdict != OK or a.right),
}


def calibration_error(answers: Sequence[Answer]) -> float:
    """Return the expected calibration error: mean distance of confidence and share of right answers, over ten bins."""
    excess: dict[int, float] = defaultdict(float)
    for answer in answers:
        excess[min(BINS - 1, int(answer.confidence * BINS))] += answer.confidence - answer.right
    return sum(map(abs, excess.values())) / len(answers)


def figures(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the number of cases, rates (0..1), calibration error, cost per case and confusion; None without a case."""
    found: dict[str, Any] = {"cases": len(answers)}
    for name, (label, counts) in RATES.items():
        of_label = [counts(answer) for answer in answers if label in {None, answer.case.label}]
        found[name] = fmean(of_label) if of_label else None
    seen = Counter((answer.case.label, answer.verdict) for answer in answers)
    return {
        **found,
        "calibration_error": calibration_error(answers) if answers else None,
        "cost": fmean(answer.cost for answer in answers) if answers else None,
        "confusion": {label: {verdict: seen[label, verdict] for verdict in VERDICTS} for label in VERDICTS},
    }
