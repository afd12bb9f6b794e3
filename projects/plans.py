"""What a plan allows. Pure: numbers only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """window_minutes: how long a deployment is observed; retention_days: how long samples are kept."""

    name: str
    window_minutes: int
    retention_days: int


PLANS = {
    plan.name: plan
    for plan in (
        Plan("free", window_minutes=5, retention_days=7),
        Plan("pro", window_minutes=10, retention_days=30),
        Plan("enterprise", window_minutes=15, retention_days=90),
    )
}
PLAN_CHOICES = [(name, name.capitalize()) for name in PLANS]
