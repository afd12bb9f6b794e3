"""Absolute limits: those of the policy, and sanity limits for a service without PRE."""

from dataclasses import replace

from analysis.judge.adaptive.cpu import judge_cpu
from analysis.judge.adaptive.errors import counts, judge_errors, pool
from analysis.judge.adaptive.evidence import Evidence, Finding
from analysis.judge.adaptive.latency import judge_latency, measured
from analysis.judge.adaptive.levels import level
from analysis.judge.adaptive.memory import trend
from analysis.judge.adaptive.traffic import judge_traffic
from analysis.judge.statements import SANITY
from analysis.judge.types import METRICS, Check, samples_over, values_of

_FULL_SOON_MINUTES = 60.0
_EPSILON = 1e-9


def hard_limit(evidence: Evidence, metric: str, limit: float) -> Finding:
    """Judge by a limit of the policy: fails if more POST samples than tolerated exceed it (fall below it for traffic).

    A critical metric then recommends a rollback, another one warns. Warm-up does not count, and one sample is not
    enough if there are more than two.
    """
    values = values_of(evidence.body, metric)
    if not values:
        known = not evidence.post or any(sample.knows(metric) for sample in evidence.post)
        code = "no_usable_sample" if known else "not_known"
        return Finding(Check(metric=metric, rule="hard_limit", outcome="skipped", code=code))
    minimum = metric == "requests_per_sec"
    over = sum(value < limit if minimum else value > limit for value in values)
    share = over / len(values)
    tolerance = evidence.policy.tolerance(metric)
    failed = share > tolerance + _EPSILON and (over >= 2 or len(values) <= 2)
    critical = failed and evidence.policy.may_roll_back(metric)
    strength = (1.0 + share) if failed else min(0.95, 0.95 * share / (tolerance + 0.2))
    check = Check(
        metric=metric,
        rule="hard_limit",
        outcome="critical" if critical else "warning" if failed else "ok",
        code="within_hard_limit" if not over else "below_hard_limit" if minimum else "above_hard_limit",
        params={"samples_over": samples_over(over, len(values))},
        observed=level(values),
        limit=limit,
        share=share,
        tolerance=tolerance,
        margin=strength,
    )
    return Finding(check, strength, strength if critical else 0.0, strength if failed else 0.0)


def _sanity(metric: str, observed: float, minutes_left: float | None = None) -> Finding:
    warning, rollback = SANITY[metric]
    strength = observed / warning
    critical = observed / rollback if rollback else 0.0
    if minutes_left is not None:
        strength = max(strength, _FULL_SOON_MINUTES / max(1.0, minutes_left))
    limit = rollback if critical >= 1.0 else warning
    check = Check(
        metric=metric,
        rule="sanity_limit",
        outcome="critical" if critical >= 1.0 else "warning" if strength >= 1.0 else "ok",
        code="absolute_limit",
        observed=observed,
        limit=limit,
        margin=critical if critical >= 1.0 else strength,
    )
    return Finding(check, strength, critical, strength)


def _on_itself(evidence: Evidence) -> list[Finding]:
    """Compare the last part of the window with the earlier part, to find what broke meanwhile."""
    itself = evidence.on_itself()
    if itself is None:
        return []
    rules = {"error_rate": judge_errors, "latency_p95": judge_latency, "cpu_usage": judge_cpu}
    judged = (rule(itself.knowing(metric)) for metric, rule in {**rules, "requests_per_sec": judge_traffic}.items())
    return [
        replace(finding, check=replace(finding.check, rule=finding.check.rule + "_within_window"))
        for finding in judged
        if finding is not None
    ]


def judge_first(evidence: Evidence) -> list[Finding]:
    """Judge a deployment without PRE: by sanity limits, and its last part against its first."""
    body = evidence.body
    if not body:
        return []
    findings = []
    total = counts(evidence, body)
    if total:
        calm = pool(sorted(total, key=lambda item: item.rate)[: max(1, len(total) - len(total) // 4)])
        findings.append(_sanity("error_rate", calm.rate if calm.errors >= 2.0 or calm.rate > 0.5 else 0.0))
    with_latency = measured(body)
    if with_latency:
        findings.append(_sanity("latency_p95", level([body[i].latency for i in with_latency])))
    if busy := values_of(body, "cpu_usage"):
        findings.append(_sanity("cpu_usage", level(busy)))
    if memory := values_of(body, "memory_usage"):
        line = trend(memory, evidence.knowing("memory_usage").body_minutes)
        soon = None
        if line and len(memory) >= 4 and line.clear >= 1.0 and line.slope * line.minutes > 0.03:
            soon = max(0.0, 1.0 - line.end) / line.slope
        findings.append(_sanity("memory_usage", level(memory), soon))
    return [*findings, *_on_itself(evidence)]


def limited_metrics(evidence: Evidence) -> tuple[str, ...]:
    """Return the metrics decided by limits of the policy."""
    return tuple(m for m in METRICS if m in evidence.policy.limits and m not in evidence.policy.left_out)
