"""Recurring jobs of the scheduler."""

from common import totals
from scheduler import operations
from scheduler.recurring import recurring

FOLD_EVERY_S = 60.0
PRUNE_EVERY_S = 3600.0
# Long enough to look at errors of jobs; verdicts keep their evidence themselves.
KEEP_DAYS = 30


@recurring("fold_totals", every_s=FOLD_EVERY_S)
def fold_totals() -> None:
    """Fold the table of totals to about one row per series."""
    totals.fold()


@recurring("prune_jobs", every_s=PRUNE_EVERY_S)
def prune_jobs() -> None:
    """Delete jobs that ended a month ago, and ticks, which are many, earlier."""
    operations.prune(KEEP_DAYS)
    operations.prune_ticks()
