"""Types of the delivery figures. Pure; delivery.py computes them, docs/dashboard.md defines them."""

from __future__ import annotations

from dataclasses import dataclass

# Days that people may look back; the first is what they get who ask for none of them.
DEFAULT_DAYS = 30
PERIODS = (7, 30, 90)


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations in s, None without values. count: number of values."""

    median: float | None = None
    p90: float | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of the deployments finished in the last `days`.

    deployed: with the result success; judged: with a verdict; failed: of these, with a deserved rollback (a mark
    overrides the verdict); unrestored: failures not followed by an ok yet.
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
        """Return the decimals to show: more for few deployments."""
        return 0 if self.per_day >= 10 else 1 if self.per_day >= 1 else 2

    @property
    def failure_rate(self) -> float | None:
        """Return 0..1, None if nothing was judged."""
        return self.failed / self.judged if self.judged else None

    @property
    def failure_percent(self) -> float | None:
        rate = self.failure_rate
        return None if rate is None else rate * 100


def days_of(value: str | None) -> int:
    """Return the period named in the URL, else the default."""
    return next((days for days in PERIODS if value == str(days)), DEFAULT_DAYS)
