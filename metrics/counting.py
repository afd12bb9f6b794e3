"""Counters of collections: samples stored and samples lost."""

from collections import Counter
from collections.abc import Iterable, Sequence

from common import totals
from metrics.models import Phase
from scheduler.registry import Ended, Job

COLLECTED = totals.counter(
    "seqpulse_metrics_collected_total", "Samples stored.", ("phase",), [(phase,) for phase in Phase.values]
)
LOST = totals.counter(
    "seqpulse_collection_failures_total",
    "Samples that were given up, by the reason of the last attempt.",
    ("reason",),
)


def count_samples(jobs: Iterable[Job]) -> None:
    """Count the samples of these jobs, in the transaction that stores them."""
    COLLECTED.add(Counter((job.phase,) for job in jobs))


def count_lost(jobs: Sequence[Ended]) -> None:
    """Count the jobs among these that ended without a sample."""
    LOST.add(Counter((job.error_code or job.status,) for job in jobs if job.status != "completed"))
