"""Delivery figures: what they are made of. Pure; dashboard/overview/delivery.py counts, docs/dashboard.md defines."""

from __future__ import annotations

from dataclasses import dataclass

# Days that people may look back; the first is what they get who ask for none of them.
DEFAULT_DAYS = 30
PERIODS = (7, 30, 90)


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations in s; None where there is none. count: of how many."""

    median: float | None = None
    p90: float | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the deployments whose finish lies in the last `days`.

    deployed: those with the result success; judged: those with a verdict; failed: of these, those that were to be
    rolled back (a person's mark counts instead of the verdict); unrestored: failures that no ok has followed yet.
    """

    days: int
    deployed: int = 0
    judged: int = 0
    failed: int = 0
    to_verdict: Spread = Spread()
    to_restore: Spread = Spread()
    unrestored: int = 0
    lead: Spread = Spread()

    @property
    def per_day(self) -> float:
        return self.deployed / self.days

    @property
    def per_day_digits(self) -> int:
        """Of few deployments a fraction matters, of many it does not."""
        return 0 if self.per_day >= 10 else 1 if self.per_day >= 1 else 2

    @property
    def failure_rate(self) -> float | None:
        """0..1, None where nothing was judged."""
        return self.failed / self.judged if self.judged else None

    @property
    def failure_percent(self) -> float | None:
        rate = self.failure_rate
        return None if rate is None else rate * 100


def days_of(value: str | None) -> int:
    """The period that an address names, else the default."""
    return next((days for days in PERIODS if value == str(days)), DEFAULT_DAYS)
