"""Hints about memory: growth, nearly full memory, and the limit."""

from decimal import Decimal

from analysis.judge.hints.base import Findings, from_checks, hard_limit
from analysis.judge.levels import decimal_of
from analysis.judge.types import Check, Hint

VARIANTS = {"memory_leak": "leak", "memory_full": "leak", "memory_step": "step"}
# "Approaching" by the definition of the hint; the limit itself is the judge's.
NEAR = Decimal("0.9")


def memory_growth(findings: Findings) -> Hint | None:
    """Report a leak, a step, or nearly full memory, found by a judge that follows memory over time."""
    check = findings.failed("memory_usage")
    variant = VARIANTS.get(check.rule) if check is not None else None
    if check is None or variant is None:
        return None
    minutes = check.details.get("minutes_until_full")
    if minutes is None:
        # Full without a trend: it got there in one step.
        return from_checks(findings, "memory_growth.step", (check,))
    return from_checks(findings, f"memory_growth.{variant}", (check,), params={"time_left": 60.0 * minutes})


def memory_above_limit(findings: Findings) -> Hint | None:
    """Report memory_usage with more samples than tolerated above the limit itself."""
    check = findings.failed("memory_usage")
    if check is None or not _above_limit(findings, check):
        return None
    return from_checks(findings, "memory_above_limit", (check,), threshold=hard_limit(check))


def memory_near_limit(findings: Findings) -> Hint | None:
    """Report memory_usage that failed below its limit, or is at 90 % of the limit or more."""
    check = findings.check("memory_usage")
    limit = hard_limit(check) if check else None
    if check is None or limit is None or check.observed is None:
        return None
    if check.failed and _above_limit(findings, check):
        return None
    near = NEAR * decimal_of(limit) <= decimal_of(check.observed) <= decimal_of(limit)
    if not check.failed and not near:
        return None
    return from_checks(
        findings, "memory_near_limit", (check,), threshold=limit, severity=None if check.failed else "info"
    )


def _above_limit(findings: Findings, check: Check) -> bool:
    """Return whether the failed memory check is about the limit itself.

    It is, if the judge's threshold is not below the limit, or there is no limit (a leak found by its trend).
    """
    limit = hard_limit(check)
    if limit is None or check.limit is None or limit <= check.limit:
        return True
    over = sum(1 for sample in findings.post if sample.memory_usage > limit)
    return over > (check.tolerance or 0.0) * len(findings.post)
