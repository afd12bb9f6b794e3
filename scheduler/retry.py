"""When a failed job is tried again. Pure: a value and a decision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """delays_s: seconds to wait after the first, second, … failed run; after the last of them the job is given up."""

    delays_s: tuple[float, ...] = (30.0, 120.0, 300.0)

    def delay_after(self, retry_count: int) -> float | None:
        """Seconds until the next run of a job that was retried retry_count times and failed again; None: give up."""
        return self.delays_s[retry_count] if retry_count < len(self.delays_s) else None


NO_RETRY = RetryPolicy(())
