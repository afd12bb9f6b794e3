"""Early verdicts: recommend a rollback before the end of the window, on overwhelming evidence only."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.judge.adaptive.errors import counts, pool
from analysis.judge.adaptive.evidence import Evidence
from analysis.judge.adaptive.levels import level, median
from analysis.judge.adaptive.missing import no_answers
from analysis.judge.reasons import SERVICE_DOWN, distinct_reasons
from analysis.judge.types import Check, Sample, values_of
from explain.facts import Param

# Two samples with mostly errors, or three with many.
ERRORS_ONLY = 0.8
MANY_ERRORS = 0.3
MANY_ERRORS_SAMPLES = 3
FEW_REQUESTS_EACH = 5.0

# Three samples at ×8 and +1.5 s, not decreasing like a cold start.
SLOW_SAMPLES = 3
SLOW_RATIO = 8.0
SLOW_MS = 1_500.0

# 95 % of the traffic lost in three samples, with enough expected requests to exclude chance.
GONE_SHARE = 0.95
GONE_SAMPLES = 3
GONE_REQUESTS = 100.0

FULL = 0.98
FULL_SAMPLES = 2
DOWN_SAMPLES = 2

# Overwhelming evidence counts as twice the threshold of a rollback.
MARGIN = 2.0


def _check(metric: str, rule: str, *, observed: float, baseline: float | None, limit: float, **params: Param) -> Check:
    return Check(
        metric=metric,
        rule=rule,
        outcome="critical",
        observed=observed,
        baseline=baseline,
        limit=limit,
        share=1.0,
        margin=MARGIN,
        code=rule,
        params=params,
    )


def _errors(evidence: Evidence, post: Sequence[Sample]) -> Check | None:
    before = pool(counts(evidence, evidence.pre)).rate
    for needed, line in ((2, ERRORS_ONLY), (MANY_ERRORS_SAMPLES, MANY_ERRORS)):
        latest = post[-needed:]
        if len(latest) < needed or before > line / 3:
            continue
        if all(s.error_rate >= line and evidence.requests(s) >= FEW_REQUESTS_EACH for s in latest):
            return _check(
                "error_rate",
                "early_errors",
                observed=min(s.error_rate for s in latest),
                baseline=before if evidence.pre else None,
                limit=line,
                n=needed,
                before=before,
            )
    return None


def _latency(evidence: Evidence, post: Sequence[Sample]) -> Check | None:
    base = values_of(evidence.pre, "latency_p95")
    latest = post[-SLOW_SAMPLES:]
    if len(base) < 3 or len(latest) < SLOW_SAMPLES:
        return None
    expected = max(level(base), median(base))
    line = max(SLOW_RATIO * expected, expected + SLOW_MS)
    values = [s.latency for s in latest]
    if min(values) < line or values[-1] < 0.8 * values[0]:
        return None
    return _check(
        "latency_p95",
        "early_latency",
        observed=min(values),
        baseline=expected,
        limit=line,
        n=SLOW_SAMPLES,
    )


def _traffic(evidence: Evidence, post: Sequence[Sample]) -> Check | None:
    rates = [s.requests_per_sec for s in evidence.pre]
    latest = post[-GONE_SAMPLES:]
    if len(rates) < 3 or len(latest) < GONE_SAMPLES:
        return None
    usual = min(sorted(rates)[len(rates) // 10], median(rates))
    expected = usual * max(1.0, evidence.window.interval_s) * GONE_SAMPLES
    observed = max(s.requests_per_sec for s in latest)
    if expected < GONE_REQUESTS or observed > (1.0 - GONE_SHARE) * usual:
        return None
    return _check(
        "requests_per_sec",
        "early_traffic",
        observed=observed,
        baseline=usual,
        limit=(1.0 - GONE_SHARE) * usual,
        n=GONE_SAMPLES,
    )


def _memory(evidence: Evidence, post: Sequence[Sample]) -> Check | None:
    before = max((s.memory_usage for s in evidence.pre), default=1.0)
    latest = post[-FULL_SAMPLES:]
    if before > FULL - 0.08 or len(latest) < FULL_SAMPLES or min(s.memory_usage for s in latest) < FULL:
        return None
    return _check(
        "memory_usage",
        "early_memory",
        observed=latest[-1].memory_usage,
        baseline=before,
        limit=FULL,
    )


def _down(evidence: Evidence, post: Sequence[Sample]) -> Check | None:
    """Check for an endpoint that answered before the deployment and not since."""
    misses = [m for m in evidence.window.misses if m.phase == "post"]
    before = any(m.phase == "pre" and m.reason in SERVICE_DOWN for m in evidence.window.misses)
    if post or before or not evidence.fresh_pre or len(misses) < DOWN_SAMPLES:
        return None
    if any(miss.reason not in SERVICE_DOWN for miss in misses):
        return None
    return no_answers(
        "all_collections_failed",
        len(misses),
        len(misses),
        margin=MARGIN,
        outcome="critical",
        reasons=distinct_reasons(misses),
    )


_METRIC_RULES = {
    "error_rate": _errors,
    "latency_p95": _latency,
    "requests_per_sec": _traffic,
    "memory_usage": _memory,
}


def early_checks(evidence: Evidence) -> tuple[Check, ...]:
    """Return the overwhelming breaches so far; empty: wait."""
    post = evidence.post
    policy = evidence.policy
    found = []
    for metric, rule in _METRIC_RULES.items():
        if metric in policy.critical_metrics and metric not in policy.left_out and metric not in policy.limits:
            check = rule(evidence, post)
            if check is not None:
                found.append(check)
    down = _down(evidence, post)
    if down is not None:
        found.append(down)
    return tuple(replace(check, details={**check.details, "early": True}) for check in found)
