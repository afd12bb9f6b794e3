"""Memory over its limit in more samples than tolerated."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, from_checks, hard_limit
from analysis.judge.types import Check, Hint
from analysis.told import noop as _

TEXT = HintText(
    key="memory_above_limit",
    title=_("Memory above its limit of {threshold}: {observed}"),
    cause=_(
        "Memory usage is at {observed} (worst {worst}, before {baseline}). A level that jumped with the deployment is "
        "something the new version holds from the start (bigger cache, more workers, data loaded into memory); one "
        "that climbs from sample to sample is a leak."
    ),
    impact=_(
        "The kernel or the orchestrator may kill the process at any moment: requests in flight are lost, and instances "
        "restart in turn."
    ),
    actions=(
        _(
            "Look at the chart: a step means a bigger footprint, a steady climb means a leak, and the slope tells how "
            "long it lasts."
        ),
        _("Look for kills that happened already: OOMKilled in kubectl describe pod, exit code 137, dmesg."),
        _("Compare the number of workers, cache sizes and memory limits of the new version with the old one's."),
        _("If it climbs, roll back, or restart instances one by one to win time; take a heap profile first."),
        _("If it is a step that was intended, raise the instance's memory and the limit in the policy."),
    ),
)


def rule(findings: Findings) -> Hint | None:
    """When memory_usage failed and more samples than tolerated lie above the limit itself, not just near it."""
    check = findings.failed("memory_usage")
    if check is None or not above_limit(findings, check):
        return None
    return from_checks(findings, TEXT, (check,), threshold=hard_limit(check))


def above_limit(findings: Findings, check: Check) -> bool:
    """Whether the failed memory check is about the limit itself. Where the judge's line is not below the limit, or
    there is no limit (a leak found by its trend), it is."""
    limit = hard_limit(check)
    if limit is None or check.limit is None or limit <= check.limit:
        return True
    over = sum(1 for sample in findings.post if sample.memory_usage > limit)
    return over > (check.tolerance or 0.0) * len(findings.post)
