"""From single findings to one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.adaptive.evidence import Finding
from analysis.adaptive.knobs import Knobs
from analysis.adaptive.missing import ENDPOINT_DOWN
from analysis.adaptive.policy import AdaptivePolicy
from analysis.types import METRICS, OK, ROLLBACK, WARNING, Check, VerdictName

USER_FACING = ("error_rate", "latency_p95", "requests_per_sec")
_NAMES = {
    "error_rate": "errors",
    "latency_p95": "latency",
    "requests_per_sec": "lost traffic",
}


@dataclass(frozen=True, slots=True)
class Combined:
    """The verdict's name; the strongest evidence for a warning and for a rollback (1.0 = just enough); all checks;
    suspicious: some metric's plain mean is over its line, before anything is forgiven."""

    verdict: VerdictName
    strength: float
    critical: float
    checks: tuple[Check, ...]
    suspicious: bool = False


def _capped(finding: Finding, policy: AdaptivePolicy) -> Finding:
    """A metric that the team does not call critical warns at most; an endpoint that is down is no metric."""
    if finding.check.metric in policy.critical_metrics or finding.check.rule == ENDPOINT_DOWN:
        return finding
    check = finding.check
    if check.outcome == "critical":
        check = replace(check, outcome="warning")
    return replace(finding, check=check, critical=0.0)


def _pair(findings: Sequence[Finding], policy: AdaptivePolicy) -> tuple[float, tuple[str, ...]]:
    """The second strongest of the user-facing regressions, and the two metrics: both must be there."""
    best: dict[str, float] = {}
    for finding in findings:
        metric = finding.check.metric
        if metric in USER_FACING:
            best[metric] = max(best.get(metric, 0.0), finding.together)
    ranked = sorted(best, key=lambda metric: -best[metric])
    if len(ranked) < 2 or not any(metric in policy.critical_metrics for metric in ranked[:2]):
        return 0.0, ()
    return best[ranked[1]], tuple(metric for metric in METRICS if metric in ranked[:2])


def _together(checks: Sequence[Check], metrics: tuple[str, ...], pair: float) -> Check:
    """The check that says so; its numbers are those of the first of the two metrics."""
    words = " and ".join(_NAMES[metric] for metric in metrics)
    first = max((c for c in checks if c.metric == metrics[0]), key=lambda check: check.margin or 0.0)
    return replace(
        first,
        rule="together",
        outcome="critical",
        margin=pair,
        sentence=f"two user-facing regressions at once ({words}): together they are a reason to roll back",
        details={**first.details, "metrics": list(metrics)},
    )


def combine(findings: Sequence[Finding], policy: AdaptivePolicy, knobs: Knobs) -> Combined:
    """Any critical finding or two user-facing regressions at once: rollback; any other finding: warning."""
    capped = [_capped(finding, policy) for finding in findings]
    strength = max((finding.strength for finding in capped), default=0.0)
    critical = max((finding.critical for finding in capped), default=0.0)
    checks = [finding.check for finding in capped]
    if knobs.together:
        pair, metrics = _pair(capped, policy)
        if pair >= 1.0:
            checks.append(_together(checks, metrics, pair))
        critical = max(critical, pair)
    verdict: VerdictName = OK
    if critical >= 1.0:
        verdict = ROLLBACK
    elif strength >= 1.0:
        verdict = WARNING
    suspicious = any(finding.suspicion >= 1.0 for finding in capped)
    return Combined(verdict, max(strength, critical), critical, tuple(checks), suspicious)


def score(verdict: VerdictName, strength: float, critical: float) -> float:
    """0 = surely healthy … 1 = surely to roll back: a third of the scale per verdict, rising with the evidence."""
    if verdict == ROLLBACK:
        return min(1.0, 1.0 - 1.0 / (3.0 * max(1.0, critical)))
    if verdict == WARNING:
        inside = max(min(critical, 1.0), 0.5 * (1.0 - 1.0 / max(1.0, strength)))
        return (1.0 + 0.99 * inside) / 3.0
    return max(0.0, min(strength, 0.99)) / 3.0
