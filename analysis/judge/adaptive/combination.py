"""Combine findings to one verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.judge.adaptive.evidence import Finding
from analysis.judge.adaptive.knobs import Knobs
from analysis.judge.types import ALERTS, METRICS, OK, ROLLBACK, UNREACHABLE, WARNING, Check, VerdictName
from explain.facts import Fact
from projects.policy import AdaptivePolicy

USER_FACING = ("error_rate", "latency_p95", "requests_per_sec")

# Strength of a clear regression, and the sufficient strength of a second one.
CLEAR = 1.5
BELIEVABLE = 0.85


@dataclass(frozen=True, slots=True)
class Combined:
    """Combined result.

    verdict: its name; strength, critical: strongest evidence for a warning and for a rollback (1.0 = at the threshold);
    checks: all; suspicious: some metric's plain mean exceeds its threshold, warm-up included.
    """

    verdict: VerdictName
    strength: float
    critical: float
    checks: tuple[Check, ...]
    suspicious: bool = False


def capped(finding: Finding, policy: AdaptivePolicy) -> Finding:
    """Limit a metric that is not critical to a warning; an endpoint that is down and an alert are none."""
    if policy.may_roll_back(finding.check.metric) or finding.check.rule in (UNREACHABLE, ALERTS):
        return finding
    check = finding.check
    if check.outcome == "critical":
        check = replace(check, outcome="warning")
    return replace(finding, check=check, critical=0.0)


def _with_line(finding: Finding) -> Check:
    """Return the check with its line of the decision: the strengths that the verdict is the largest of."""
    line = {"strength": round(finding.strength, 3), "critical_strength": round(finding.critical, 3)}
    return replace(finding.check, details={**finding.check.details, **line})


def _pair(findings: Sequence[Finding], policy: AdaptivePolicy) -> tuple[float, tuple[str, ...]]:
    """Return the strength of two simultaneous user-facing regressions (1.0 = at the threshold), and the metrics.

    With a clear regression a second one counts slightly below its threshold.
    """
    best: dict[str, float] = {}
    for finding in findings:
        metric = finding.check.metric
        if metric in USER_FACING:
            best[metric] = max(best.get(metric, 0.0), finding.together)
    ranked = sorted(best, key=lambda metric: -best[metric])[:2]
    if len(ranked) < 2 or not any(metric in policy.critical_metrics for metric in ranked):
        return 0.0, ()
    first, second = (best[metric] for metric in ranked)
    pair = max(second, min(first / CLEAR, second / BELIEVABLE))
    return pair, tuple(metric for metric in METRICS if metric in ranked)


def _counted(check: Check, metrics: tuple[str, ...]) -> Check:
    """Change the outcome of a check on which a rollback rests from ok."""
    counts = check.metric in metrics and check.outcome == "ok" and (check.margin or 0.0) > 0.5
    return replace(check, outcome="warning") if counts else check


def _together(checks: Sequence[Check], metrics: tuple[str, ...], pair: float) -> Check:
    """Return the check of two regressions, with the numbers of the first metric."""
    first = max((c for c in checks if c.metric == metrics[0]), key=lambda check: check.margin or 0.0)
    return replace(
        first,
        rule="together",
        outcome="critical",
        margin=pair,
        code="two_regressions",
        params={"both": [Fact(f"regression.{metric}") for metric in metrics]},
        details={**first.details, "metrics": list(metrics)},
    )


def combine(findings: Sequence[Finding], policy: AdaptivePolicy, knobs: Knobs) -> Combined:
    """Combine: a critical finding or two user-facing regressions give a rollback, any other finding a warning."""
    counted = [capped(finding, policy) for finding in findings]
    strength = max((finding.strength for finding in counted), default=0.0)
    critical = max((finding.critical for finding in counted), default=0.0)
    checks = [_with_line(finding) for finding in counted]
    if knobs.together:
        pair, metrics = _pair(counted, policy)
        if pair >= 1.0:
            checks = [_counted(check, metrics) for check in checks]
            checks.append(_together(checks, metrics, pair))
        critical = max(critical, pair)
    verdict: VerdictName = OK
    if critical >= 1.0:
        verdict = ROLLBACK
    elif strength >= 1.0:
        verdict = WARNING
    suspicious = any(finding.suspicion >= 1.0 for finding in counted)
    return Combined(verdict, max(strength, critical), critical, tuple(checks), suspicious)


def score(verdict: VerdictName, strength: float, critical: float) -> float:
    """Return 0 (healthy) … 1 (roll back): a third of the scale per verdict, rising with the evidence."""
    if verdict == ROLLBACK:
        return min(1.0, 1.0 - 1.0 / (3.0 * max(1.0, critical)))
    if verdict == WARNING:
        inside = max(min(critical, 1.0), 0.5 * (1.0 - 1.0 / max(1.0, strength)))
        return (1.0 + 0.99 * inside) / 3.0
    return max(0.0, min(strength, 0.99)) / 3.0
