"""The scheduler's own recurring work."""

from __future__ import annotations

from common import totals
from scheduler import operations
from scheduler.recurring import recurring

FOLD_EVERY_S = 60.0
PRUNE_EVERY_S = 3600.0
# Longer than anybody asks for the errors of a job; verdicts keep what they are based on themselves.
KEEP_DAYS = 30


@recurring("fold_totals", every_s=FOLD_EVERY_S)
def fold_totals() -> None:
    """Keeps the table of totals as small as the number of its series."""
    totals.fold()


@recurring("prune_jobs", every_s=PRUNE_EVERY_S)
def prune_jobs() -> None:
    """Deletes jobs that ended a month ago."""
    operations.prune(KEEP_DAYS)
