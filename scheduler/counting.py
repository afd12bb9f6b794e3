"""Counters of the scheduler: how jobs ended, and how late they started."""

from collections import Counter
from collections.abc import Iterable, Sequence

from common import totals
from scheduler.registry import Ended, Job

JOBS_ENDED = totals.counter(
    "seqpulse_scheduler_jobs_ended_total", "Jobs that came to their end, by how.", ("job_type", "status")
)
JOBS_RETRIED = totals.counter(
    "seqpulse_scheduler_jobs_retried_total", "Failed runs that are to be tried again.", ("job_type",)
)
# The objective is 1 s (p99); beyond a minute details do not matter.
START_DELAY = totals.histogram(
    "seqpulse_scheduler_job_start_delay_seconds",
    "From the time a job was due to its start.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300),
    labels=("job_type",),
)


def count_ended(jobs: Sequence[Ended]) -> None:
    """Count jobs that ended, inside the transaction that ends them."""
    JOBS_ENDED.add(Counter((job.job_type, job.status) for job in jobs))


def count_retries(jobs: Iterable[Ended]) -> None:
    """Count failed runs that will be retried, inside the transaction that plans the retry."""
    JOBS_RETRIED.add(Counter((job.job_type,) for job in jobs))


def count_runs(jobs: Iterable[Job]) -> None:
    """Count how late the runs started, inside the transaction that records them."""
    START_DELAY.observe(
        ((job.job_type,), max(0.0, (job.claimed_at - job.scheduled_at).total_seconds())) for job in jobs
    )
