"""The scheduler's own recurring work."""

from __future__ import annotations

from scheduler import totals
from scheduler.recurring import recurring

FOLD_EVERY_S = 60.0


@recurring("fold_totals", every_s=FOLD_EVERY_S)
def fold_totals() -> None:
    """Keeps the table of totals as small as the number of its series."""
    totals.fold()
