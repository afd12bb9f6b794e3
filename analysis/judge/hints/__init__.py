"""SeqPulse Debug Hints (SDH): what probably happened, what it does to users, what to do next. Pure.

One rule, one function, one file. A new hint is a file here and a line in RULES.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.judge.hints import (
    compute_saturation,
    cpu_spike,
    critical_finding,
    high_error_rate,
    high_latency,
    latency_improved,
    memory_above_limit,
    memory_growth,
    memory_near_limit,
    missing_data,
    partial_outage,
    persistent_breach,
    poor_data,
    service_degradation,
    service_unreachable,
    traffic_below_baseline,
)
from analysis.judge.hints.base import Findings, HintText, Rule
from analysis.judge.types import ROLLBACK, SEVERITIES, Hint, Sample, Verdict, Window

# Composites first: a hint is left out when an earlier one explains it. Also the order in which equally severe hints
# are shown.
RULES: tuple[Rule, ...] = (
    service_unreachable.rule,
    service_degradation.rule,
    partial_outage.rule,
    compute_saturation.rule,
    persistent_breach.rule,
    high_error_rate.rule,
    traffic_below_baseline.rule,
    high_latency.rule,
    memory_growth.rule,
    memory_above_limit.rule,
    cpu_spike.rule,
    memory_near_limit.rule,
    missing_data.rule,
    poor_data.rule,
    latency_improved.rule,
)

TEXTS: dict[str, HintText] = {
    text.key: text
    for text in (
        service_unreachable.TEXT,
        service_degradation.TEXT,
        partial_outage.TEXT,
        compute_saturation.TEXT,
        *persistent_breach.TEXTS,
        high_error_rate.TEXT,
        traffic_below_baseline.TEXT,
        high_latency.TEXT,
        *memory_growth.TEXTS,
        memory_above_limit.TEXT,
        cpu_spike.TEXT,
        memory_near_limit.TEXT,
        *missing_data.TEXTS,
        poor_data.TEXT,
        latency_improved.TEXT,
        critical_finding.TEXT,
    )
}


def hints(verdict: Verdict, pre: Sequence[Sample], post: Sequence[Sample], window: Window) -> list[Hint]:
    """The hints that go with a verdict, most severe first.

    A rollback always comes with a critical hint: every critical check is named by a rule, and a judge with a finding
    that no rule knows gets its own words shown (`critical_finding`). An ok never does: see `base.build`.
    """
    findings = Findings(verdict=verdict, pre=tuple(pre), post=tuple(post), window=window)
    found: list[Hint] = []
    for rule in RULES:
        hint = rule(findings)
        if hint is not None and not any(_explains(earlier, hint) for earlier in found):
            found.append(hint)
    if verdict.verdict == ROLLBACK and not any(hint.severity == "critical" for hint in found):
        found.append(critical_finding.hint(findings))
    return sorted(found, key=lambda hint: -SEVERITIES.index(hint.severity))


def _explains(earlier: Hint, hint: Hint) -> bool:
    return hint.code in TEXTS[earlier.text_key].replaces and set(hint.metrics) <= set(earlier.metrics)
