"""Compute figures of merit of a judge on labelled cases."""

import math
from bisect import bisect_right
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
# Deployments as teams have them; the benchmark draws more faults, to count them.
PRIOR = {OK: 0.92, WARNING: 0.05, ROLLBACK: 0.03}
# Lower ends of the bins of confidence: narrow where verdicts are acted on.
BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


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


def weights(labels: Sequence[str]) -> list[float]:
    """Return a weight per case, so that the labels have the shares of PRIOR; their sum is the number of cases."""
    counted = Counter(labels)
    known = sum(PRIOR[label] for label in counted)
    each = {label: PRIOR[label] / known * len(labels) / count for label, count in counted.items()}
    return [each[label] for label in labels]


def bin_of(confidence: float) -> float:
    """Return the lower end of the bin of a confidence."""
    return BINS[bisect_right(BINS, confidence) - 1]


def calibration(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return per verdict and bin of confidence: cases, mean confidence and share of right answers, under PRIOR.

    error: standard error of the share.
    """
    groups: dict[tuple[str, float], list[tuple[Answer, float]]] = defaultdict(list)
    for answer, weight in zip(answers, weights([answer.case.label for answer in answers]), strict=True):
        groups[answer.verdict, bin_of(answer.confidence)].append((answer, weight))
    found = []
    for (verdict, low), members in sorted(groups.items()):
        total = math.fsum(weight for _, weight in members)
        right = math.fsum(weight for answer, weight in members if answer.right) / total
        effective = total**2 / math.fsum(weight**2 for _, weight in members)
        found.append(
            {
                "verdict": verdict,
                "from": low,
                "cases": len(members),
                "weight": total / len(answers),
                "confidence": math.fsum(weight * answer.confidence for answer, weight in members) / total,
                "right": right,
                "error": math.sqrt(max(right * (1.0 - right), 1.0 / (effective + 2.0) / 4.0) / effective),
            }
        )
    return found


def calibration_error(answers: Sequence[Answer]) -> float:
    """Return the expected calibration error under PRIOR: mean distance of confidence and share of right answers."""
    return math.fsum(row["weight"] * abs(row["confidence"] - row["right"]) for row in calibration(answers))


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
        "cost_at_prior": _cost_at_prior(answers) if answers else None,
        "confusion": {label: {verdict: seen[label, verdict] for verdict in VERDICTS} for label in VERDICTS},
    }


def _cost_at_prior(answers: Sequence[Answer]) -> float:
    each = weights([answer.case.label for answer in answers])
    return math.fsum(weight * answer.cost for answer, weight in zip(answers, each, strict=True)) / len(answers)
