"""Latency and cpu together: requests queue for processor time."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, from_checks
from analysis.judge.types import Hint
from analysis.told import noop as _

TEXT = HintText(
    key="compute_saturation",
    title=_("CPU saturated: {cpu_usage_observed} CPU, p95 at {latency_p95_observed}"),
    cause=_(
        "CPU usage and latency are both over their lines: requests wait for processor time. Either a request costs "
        "more than before (CPU {cpu_usage_baseline} before at {traffic_before}, now {cpu_usage_observed} at "
        "{traffic_now}), or the new version runs with less CPU or fewer instances."
    ),
    impact=_(
        "Users wait {latency_p95_observed} at p95 (before: {latency_p95_baseline}). There is no headroom left: the "
        "next peak of traffic turns slowness into timeouts and errors."
    ),
    actions=(
        _("Compare traffic with before: about the same traffic and more CPU means that the code got more expensive."),
        _(
            "Check what the instances were given: CPU limits, number of instances and workers, throttling (kubectl top "
            "pods, container_cpu_cfs_throttled_periods_total)."
        ),
        _(
            "Take a profile of one busy instance for 30 s (py-spy, perf, pprof, async-profiler) and compare its top "
            "frames with the diff."
        ),
        _("Add instances to win time if rolling back has to wait."),
    ),
    last_resort=_("Roll back if p95 does not fall once caches are warm, within some minutes."),
    replaces=("persistent_breach", "high_latency", "cpu_spike"),
)


def rule(findings: Findings) -> Hint | None:
    """When both cpu_usage and latency_p95 failed; cpu leads."""
    checks = findings.all_failed("cpu_usage", "latency_p95")
    return from_checks(findings, TEXT, checks) if checks else None
