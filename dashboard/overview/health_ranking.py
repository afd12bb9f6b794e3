"""The health of environments and its order: trouble first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.judge.types import OK, ROLLBACK, WARNING

OBSERVING, NONE = "observing", "none"
ORDER = (ROLLBACK, OBSERVING, WARNING, OK, NONE)


def health_of(verdict: str | None, *, in_progress: bool) -> str:
    """Return one of ORDER, by the last verdict and whether a deployment or its observation is in progress.

    A recommended rollback stays first until the next verdict.
    """
    if verdict == ROLLBACK:
        return ROLLBACK
    if in_progress:
        return OBSERVING
    return verdict if verdict in (WARNING, OK) else NONE


def rank(health: str) -> int:
    """Return the place in the order; the lowest comes first."""
    return ORDER.index(health)


@dataclass(frozen=True, slots=True)
class HealthSummary:
    """The number of environments by health."""

    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def gravest(self) -> str:
        """Return what the headline is about: a verdict before an observation, which has no outcome yet."""
        for health in (ROLLBACK, WARNING, OBSERVING, OK):
            if self.counts[health]:
                return health
        return NONE

    @property
    def of_gravest(self) -> int:
        return self.counts[self.gravest]


def summary_of(environments: Iterable[str]) -> HealthSummary:
    """Count the environments by health."""
    counted = Counter(environments)
    return HealthSummary({health: counted[health] for health in ORDER})
