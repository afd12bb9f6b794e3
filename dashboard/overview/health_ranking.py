"""How environments stand and in which order people look at them: trouble first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.types import OK, ROLLBACK, WARNING

OBSERVING, NONE = "observing", "none"
ORDER = (ROLLBACK, OBSERVING, WARNING, OK, NONE)


def standing_of(verdict: str | None, *, in_progress: bool) -> str:
    """One of ORDER. verdict: the last one of the environment; in_progress: a deployment or its observation is going on.

    A recommended rollback stays in front of everything until the next verdict.
    """
    if verdict == ROLLBACK:
        return ROLLBACK
    if in_progress:
        return OBSERVING
    return verdict if verdict in (WARNING, OK) else NONE


def rank(standing: str) -> int:
    """Its place in the order; the lowest comes first."""
    return ORDER.index(standing)


@dataclass(frozen=True, slots=True)
class Sum:
    """How many environments stand how."""

    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def gravest(self) -> str:
        """What the headline is about: a verdict goes before an observation, because that one has no outcome yet."""
        for standing in (ROLLBACK, WARNING, OBSERVING, OK):
            if self.counts[standing]:
                return standing
        return NONE

    @property
    def of_gravest(self) -> int:
        return self.counts[self.gravest]


def sum_of(standings: Iterable[str]) -> Sum:
    """Counts them all."""
    counted = Counter(standings)
    return Sum({standing: counted[standing] for standing in ORDER})
