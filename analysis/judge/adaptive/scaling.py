"""Recognize scaling: each answer is of one process, and more of them share the same traffic.

Where samples say how many instances they cover, their traffic is that of all instances, and scaling loses none.
"""

from collections.abc import Sequence
from dataclasses import replace

from analysis.judge.adaptive.evidence import ALMOST, Evidence, Finding
from analysis.judge.adaptive.levels import level
from analysis.judge.types import Sample, values_of

# cpu falls by about the factor of the traffic (not all work depends on requests), and p95 stays.
SAME_FACTOR = 1.3
SAME_LATENCY = 1.25
# More than so many times the processes at once is no scaling but lost traffic.
MOST = 8.0
# Strength from which latency or errors may have changed.
CHANGED = 0.85
USER_FACING = ("latency_p95", "error_rate")


def explained_by_scaling(evidence: Evidence, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, with lost traffic that looks like scaling as a warning that says so."""
    shares = _shares(evidence)
    unchanged = all(max(f.strength, f.together) < CHANGED for f in findings if f.check.metric in USER_FACING)
    counted = all(any(sample.instances is not None for sample in side) for side in (evidence.pre, evidence.body))
    if shares is None or not unchanged or counted:
        return list(findings)
    return [_named(finding, *shares) if finding.check.metric == "requests_per_sec" else finding for finding in findings]


def _shares(evidence: Evidence) -> tuple[float, float] | None:
    """Return the shares of traffic and cpu that are left, by the part of the window that has lost more; None if they
    differ, if hardly anything is left, or if p95 changed."""
    if not evidence.pre or not evidence.body:
        return None
    traffic, cpu, latency = (_left(evidence, m) for m in ("requests_per_sec", "cpu_usage", "latency_p95"))
    if traffic is None or cpu is None or latency is None or not 1.0 / MOST <= traffic < 1.0:
        return None
    alike = 1.0 / SAME_FACTOR <= cpu / traffic <= SAME_FACTOR
    stayed = 1.0 / SAME_LATENCY <= latency <= SAME_LATENCY
    return (traffic, cpu) if alike and stayed else None


def _left(evidence: Evidence, metric: str) -> float | None:
    before = values_of(evidence.pre, metric)
    parts: list[Sequence[Sample]] = [evidence.last] if metric == "latency_p95" else [evidence.body, evidence.last]
    after = [level(values) for part in parts if (values := values_of(part, metric))]
    return min(after) / level(before) if after and before and level(before) > 0.0 else None


def _named(finding: Finding, traffic: float, cpu: float) -> Finding:
    if not finding.check.failed:
        return finding
    check = replace(
        finding.check,
        code="traffic_like_scaling",
        outcome="warning",
        params={"finding": finding.check.fact, "cpu_left": cpu},
        details={**finding.check.details, "scaling": round(1.0 / traffic, 2)},
    )
    return replace(finding, check=check, critical=min(finding.critical, ALMOST), together=min(finding.together, ALMOST))
