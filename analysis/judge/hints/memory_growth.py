"""Memory that keeps growing, or that is about to be full: found by its course, not by a limit."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, from_checks
from analysis.judge.types import Hint
from analysis.told import noop as _
from analysis.wording import duration

LEAK = HintText(
    key="memory_growth.leak",
    title=_("Memory keeps growing: {observed}, full in about {time_left}"),
    cause=_(
        "Memory usage went from {baseline} before the deployment to {observed} and rises from sample to sample, beyond "
        "what a restart explains. Typical: a cache or queue without a bound, connections or buffers that are never "
        "released, listeners added per request."
    ),
    impact=_("In about {time_left} the process is killed for lack of memory; requests in flight are lost, each time."),
    actions=(
        _("Take a heap profile of one instance now, before it restarts: what grows is the leak."),
        _("Look at what this version added that lives as long as the process: caches, pools, queues, listeners."),
        _("Compare with the old version under the same traffic: if that is flat, roll back."),
        _("To win time, restart the instances one by one, well before {time_left} are over."),
    ),
    replaces=("memory_above_limit", "memory_near_limit"),
)
STEP = HintText(
    key="memory_growth.step",
    title=_("Memory rose from {baseline} to {observed}"),
    cause=_(
        "Memory usage was at {baseline} before the deployment and is at {observed} since, without rising further: the "
        "new version holds more from the start. Typical: a bigger cache, more workers, data or models loaded at start."
    ),
    impact=_("There is less room for peaks: what fitted before may now be killed for lack of memory."),
    actions=(
        _("Compare the number of workers, cache sizes and data loaded at start with the old version's."),
        _("Check the highest peak of the last days against the room that is left."),
        _("If it was intended, raise the instances' memory; if not, roll back before the next peak."),
    ),
    replaces=("memory_above_limit", "memory_near_limit"),
)
TEXTS = (LEAK, STEP)
BY_RULE = {"memory_leak": LEAK, "memory_full": LEAK, "memory_step": STEP}


def rule(findings: Findings) -> Hint | None:
    """When a judge that follows memory over time found a leak, a step, or memory about to be full."""
    check = findings.failed("memory_usage")
    text = BY_RULE.get(check.rule) if check is not None else None
    if check is None or text is None:
        return None
    minutes = check.details.get("minutes_until_full")
    if text is LEAK and minutes is None:
        # Full without a trend: it got there in one step.
        text = STEP
    left = duration(60.0 * minutes) if minutes is not None else ""
    return from_checks(findings, text, (check,), values={"time_left": left})
