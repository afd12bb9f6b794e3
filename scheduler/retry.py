"""Decide when a failed job is retried. Pure: a value and a decision."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retry delays. delays_s: seconds to wait after the first, second, … failed run; after the last the job fails."""

    delays_s: tuple[float, ...] = (30.0, 120.0, 300.0)

    def delay_after(self, retry_count: int) -> float | None:
        """Return the seconds until the next run of a job that failed after retry_count retries; None: give up."""
        return self.delays_s[retry_count] if retry_count < len(self.delays_s) else None


NO_RETRY = RetryPolicy(())
