"""Changes to an environment's baseline: its interval and excluded windows."""

from datetime import datetime

from accounts.models import User
from projects.models import Environment, ExcludedWindow


def set_baseline_interval(environment: Environment, seconds: int | None) -> None:
    """Set the seconds between two baseline samples; None: the plan's; 0: none."""
    Environment.objects.filter(pk=environment.pk).update(baseline_interval_s=seconds)
    environment.baseline_interval_s = seconds


def exclude_window(
    environment: Environment, starts_at: datetime, ends_at: datetime, *, reason: str = "", by: User | None = None
) -> ExcludedWindow:
    """Exclude a time from the environment's baseline, for later verdicts.

    Raises ValidationError that names the field.
    """
    window = ExcludedWindow(environment=environment, starts_at=starts_at, ends_at=ends_at, reason=reason, created_by=by)
    window.full_clean(validate_constraints=False)
    window.save()
    return window


def include_window(environment: Environment, window_id: int) -> bool:
    """Remove an excluded window; return False where the environment does not have it."""
    return environment.excluded_windows.filter(pk=window_id).delete()[0] > 0
