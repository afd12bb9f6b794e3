"""SeqPulse Debug Hints (SDH): probable cause, effect on users, next steps. Pure.

A hint is one function here, a line in RULES, and its texts in analysis/texts/hints.py.
"""

from collections.abc import Sequence

from analysis.judge.hints.base import Findings, Rule, agreeing
from analysis.judge.hints.data import missing_data, poor_data
from analysis.judge.hints.memory import memory_above_limit, memory_growth, memory_near_limit
from analysis.judge.hints.metrics import (
    cpu_spike,
    high_error_rate,
    high_latency,
    latency_improved,
    traffic_below_baseline,
)
from analysis.judge.hints.service import (
    compute_saturation,
    critical_finding,
    partial_outage,
    persistent_breach,
    service_degradation,
    service_unreachable,
)
from analysis.judge.types import ROLLBACK, SEVERITIES, Hint, Sample, Verdict, Window

# Composites first: a hint is left out when an earlier one explains it. Also the order in which equally severe hints
# are shown.
RULES: tuple[Rule, ...] = (
    service_unreachable,
    service_degradation,
    partial_outage,
    compute_saturation,
    persistent_breach,
    high_error_rate,
    traffic_below_baseline,
    high_latency,
    memory_growth,
    memory_above_limit,
    cpu_spike,
    memory_near_limit,
    missing_data,
    poor_data,
    latency_improved,
)

# Codes of hints that are explained by the key, if about the same metrics.
REPLACES = {
    "service_unreachable": ("missing_data", "poor_data"),
    "service_degradation": ("persistent_breach", "high_error_rate", "high_latency"),
    "partial_outage": ("persistent_breach", "high_error_rate", "traffic_below_baseline"),
    "compute_saturation": ("persistent_breach", "high_latency", "cpu_spike"),
    "persistent_breach.error_rate": ("high_error_rate",),
    "persistent_breach.requests_per_sec": ("traffic_below_baseline",),
    "persistent_breach.latency_p95": ("high_latency",),
    "memory_growth.leak": ("memory_above_limit", "memory_near_limit"),
    "memory_growth.step": ("memory_above_limit", "memory_near_limit"),
}


def hints(verdict: Verdict, pre: Sequence[Sample], post: Sequence[Sample], window: Window) -> list[Hint]:
    """Return the hints of a verdict, most severe first.

    A rollback always has a critical hint: every critical check has a rule, and a finding without one is shown by
    `critical_finding`. An ok never has one: see `base.agreeing`.
    """
    findings = Findings(verdict=verdict, pre=tuple(pre), post=tuple(post), window=window)
    found: list[Hint] = []
    for rule in RULES:
        hint = rule(findings)
        if hint is not None and not any(_explains(earlier, hint) for earlier in found):
            found.append(agreeing(verdict, hint))
    if verdict.verdict == ROLLBACK and not any(hint.severity == "critical" for hint in found):
        found.append(agreeing(verdict, critical_finding(findings)))
    return sorted(found, key=lambda hint: -SEVERITIES.index(hint.severity))


def _explains(earlier: Hint, hint: Hint) -> bool:
    return hint.code in REPLACES.get(earlier.text_key, ()) and set(hint.metrics) <= set(earlier.metrics)
