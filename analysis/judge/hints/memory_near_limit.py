"""Memory approaching its limit: 90 to 100 % of it."""

from __future__ import annotations

from decimal import Decimal

from analysis.judge.hints.base import Findings, HintText, from_checks, hard_limit
from analysis.judge.hints.memory_above_limit import above_limit
from analysis.judge.levels import decimal_of
from analysis.judge.types import Hint
from analysis.told import noop as _

# "Approaching" by the definition of this hint; the limit itself is the judge's.
NEAR = Decimal("0.9")

TEXT = HintText(
    key="memory_near_limit",
    title=_("Memory close to its limit: {observed} of {threshold}"),
    # xgettext:no-python-format
    cause=_(
        "Memory usage is at {observed} (worst {worst}, before {baseline}), between 90 and 100 % of the limit. Either "
        "the new version needs a little more and stays there, or it climbs and has not yet arrived."
    ),
    impact=_(
        "Nothing is broken yet; a peak of traffic or a slow leak takes it over the limit, and processes get killed."
    ),
    actions=(
        _("Look at the chart over the next half hour: flat is a footprint, climbing is a leak."),
        _(
            "Compare with the level before the deployment ({baseline}): no difference means that it was this close "
            "before."
        ),
        _("Check worker counts and cache sizes that this version changed."),
        _("Plan more memory or fewer workers per instance before the next peak."),
    ),
)


def rule(findings: Findings) -> Hint | None:
    """When memory_usage failed without being above its limit, or its level is at 90 % of the limit or more."""
    check = findings.check("memory_usage")
    limit = hard_limit(check) if check else None
    if check is None or limit is None or check.observed is None:
        return None
    failed = findings.failed("memory_usage") is not None
    if failed and above_limit(findings, check):
        return None
    near = NEAR * decimal_of(limit) <= decimal_of(check.observed) <= decimal_of(limit)
    if not failed and not near:
        return None
    return from_checks(findings, TEXT, (check,), threshold=limit, severity=None if failed else "info")
