"""Plans and their limits. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """window_minutes: of observation after a deployment; retention_days: of samples; baseline_interval_s: between
    two baseline samples."""

    name: str
    window_minutes: int
    retention_days: int
    baseline_interval_s: int


# Of new projects: with plans, and where people do not meet them (SEQPULSE_PLANS).
FIRST_PLAN, ONLY_PLAN = "free", "pro"

PLANS = {
    plan.name: plan
    for plan in (
        Plan("free", window_minutes=5, retention_days=7, baseline_interval_s=300),
        Plan("pro", window_minutes=10, retention_days=30, baseline_interval_s=60),
        Plan("enterprise", window_minutes=15, retention_days=90, baseline_interval_s=60),
    )
}
