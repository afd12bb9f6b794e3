"""Hints about the service as a whole, and about two or more metrics together."""

from analysis.judge.hints.base import Findings, from_checks, when_failed
from analysis.judge.reasons import reasons
from analysis.judge.types import METRICS, ROLLBACK, Check, Hint
from explain.facts import Fact

# Meaning of "persistent", not a limit of a metric: enough samples, nearly all of them beyond the judge's threshold.
MIN_SAMPLES = 3
MIN_SHARE = 0.8
PERSISTENT = ("error_rate", "requests_per_sec", "latency_p95")


def service_unreachable(findings: Findings) -> Hint | None:
    """Report failed collections that indicate an outage."""
    check = findings.unreachable()
    if check is None:
        return None
    missing, expected = check.details.get("missing", 0), check.details.get("expected", findings.window.expected)
    misses = [miss for miss in findings.window.misses if miss.phase == "post"]
    return Hint(
        "service_unreachable",
        severity="critical" if check.outcome == "critical" else "warning",
        # The judge's confidence: there is no level to measure a deviation by.
        confidence=findings.verdict.confidence,
        observed=float(missing),
        evidence=(check.fact,),
        params={"missing": missing, "expected": expected, "reasons": reasons(misses) or [Fact("no_reason_on_record")]},
    )


service_degradation = when_failed("service_degradation", "error_rate", "latency_p95")
partial_outage = when_failed("partial_outage", "requests_per_sec", "error_rate")
compute_saturation = when_failed("compute_saturation", "cpu_usage", "latency_p95")


def persistent_breach(findings: Findings) -> Hint | None:
    """Report critical checks that failed in at least 80 % of at least three samples, with a rollback."""
    if findings.verdict.verdict != ROLLBACK or len(findings.post) < MIN_SAMPLES:
        return None
    checks = [check for metric in METRICS if (check := findings.failed(metric)) is not None and _persists(check)]
    if not checks:
        return None
    checks.sort(key=lambda check: PERSISTENT.index(check.metric) if check.metric in PERSISTENT else len(METRICS))
    variant = checks[0].metric if checks[0].metric in PERSISTENT else "other"
    return from_checks(findings, f"persistent_breach.{variant}", checks, params={"share": checks[0].share or 0.0})


def _persists(check: Check) -> bool:
    return check.outcome == "critical" and (check.share or 0.0) >= MIN_SHARE


def critical_finding(findings: Findings) -> Hint:
    """Build a critical hint from the verdict's critical checks, or from its summary without any.

    Not in RULES: `hints()` adds it if a rollback has no critical hint.
    """
    critical = [check for check in findings.verdict.checks if check.outcome == "critical"]
    found = tuple(check.fact for check in critical) or (findings.verdict.summary,)
    lead = critical[0] if critical else None
    return Hint(
        "critical_finding",
        metric=lead.metric if lead else None,
        metrics=tuple(check.metric for check in critical),
        severity="critical",
        confidence=findings.verdict.confidence,
        observed=lead.observed if lead else None,
        threshold=lead.limit if lead else None,
        evidence=found,
        params={"finding": list(found)},
    )
