"""What changes an environment's baseline: how often it is sampled, and the times that are taken out of it."""

from __future__ import annotations

from datetime import datetime

from accounts.models import User
from projects.models import Environment, ExcludedWindow


def set_baseline_interval(environment: Environment, seconds: int | None) -> None:
    """Seconds between two baseline samples; None: what the plan gives; 0: none are taken."""
    Environment.objects.filter(pk=environment.pk).update(baseline_interval_s=seconds)
    environment.baseline_interval_s = seconds


def exclude_window(
    environment: Environment, starts_at: datetime, ends_at: datetime, *, reason: str = "", by: User | None = None
) -> ExcludedWindow:
    """Takes a time out of the environment's baseline, for the verdicts to come.

    Raises ValidationError that names the field.
    """
    window = ExcludedWindow(environment=environment, starts_at=starts_at, ends_at=ends_at, reason=reason, created_by=by)
    window.full_clean(validate_constraints=False)
    window.save()
    return window


def include_window(environment: Environment, window_id: int) -> bool:
    """Puts an excluded time back; False where the environment has no such window (any more)."""
    return environment.excluded_windows.filter(pk=window_id).delete()[0] > 0
