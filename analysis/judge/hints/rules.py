"""Rules of hints: one function each, or metrics whose checks failed together. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from analysis.judge.hints.base import Findings, Rule, from_checks, hard_limit, when_failed
from analysis.judge.levels import decimal_of, mean_of
from analysis.judge.reasons import reasons
from analysis.judge.statements import UNHEALTHY_AS_BEFORE
from analysis.judge.types import (
    ALERTS,
    CUSTOM,
    EXPECTATION,
    METRICS,
    NOT_SET_UP,
    ROLLBACK,
    TOO_GOOD,
    Check,
    Hint,
    Miss,
    Severity,
    values_of,
)
from explain.facts import Fact, Param

# Of a persistent breach and of a gain: enough samples, nearly all of them beyond the threshold. No limit of a metric.
MIN_SAMPLES = 3
MIN_SHARE = 0.8
PERSISTENT = ("error_rate", "requests_per_sec", "latency_p95")
# Expectations of journeys that one hint names.
MOST_FOUND = 5
# A gain is reported from a fifth faster, by more than timer noise. No verdict depends on these numbers.
MIN_DROP = 0.20
MIN_DROP_MS = 10.0
VARIANTS = {"memory_leak": "leak", "memory_full": "leak", "memory_step": "step"}
# "Approaching" by the definition of the hint; the limit itself is the judge's.
NEAR = Decimal("0.9")
# Quality issues, and refusals of values, that say which other unit a metric seems to be in.
OTHER_UNIT, REFUSED_UNIT = ("looks_like_seconds",), "metric_looks_like_"
MISSING = ("no_post", "no_pre", "few_post_samples", "incomplete_window", "expired_jobs", "failed_collections")


# --- units ----------------------------------------------------------------------------------------------------------


def looks_like_other_unit(findings: Findings) -> Hint | None:
    """Report metrics that seem to be answered in another unit: refused values, and issues of the data."""
    issues = [issue for issue in findings.verdict.quality.issues if issue.code in OTHER_UNIT]
    refusals = [_refused_unit(miss.detail) for miss in findings.window.misses]
    by_metric = {why.params.get("name"): why for why in refusals if why is not None}
    found = (*by_metric.values(), *(issue.fact for issue in issues))
    if not found:
        return None
    return Hint(
        # Where nothing but units is wrong with an endpoint, the service neither stopped answering nor misses a poller.
        "looks_like_other_unit.refused" if refusals and None not in refusals else "looks_like_other_unit.some",
        severity="info" if findings.verdict.conclusive else "warning",
        confidence=0.9 if refusals else 0.7,
        evidence=found,
        params={"found": list(found)},
    )


def _refused_unit(detail: Fact | None) -> Fact | None:
    """Return the refusal of a value that seems to be in another unit, from the failure of a collection."""
    while detail is not None and not detail.code.startswith(REFUSED_UNIT):
        inner = detail.params.get("failure", detail.params.get("problem"))
        detail = inner if isinstance(inner, Fact) else None
    return detail


# --- the service as a whole -----------------------------------------------------------------------------------------


def service_unreachable(findings: Findings) -> Hint | None:
    """Report failed collections that indicate an outage, or an endpoint that answers with something else."""
    check = findings.unreachable()
    if check is None:
        return None
    missing, expected = check.details.get("missing", 0), check.details.get("expected", findings.window.expected)
    misses = [miss for miss in findings.window.misses if miss.phase == "post"]
    return Hint(
        "service_unreachable.answers" if check.code == "no_metrics_answered" else "service_unreachable",
        severity="critical" if check.outcome == "critical" else "warning",
        # The judge's confidence: there is no level to measure a deviation by.
        confidence=findings.verdict.confidence,
        observed=float(missing),
        evidence=(check.fact, *_last_failure(misses)),
        params={"missing": missing, "expected": expected, "reasons": reasons(misses) or [Fact("no_reason_on_record")]},
    )


def _last_failure(misses: Sequence[Miss]) -> tuple[Fact, ...]:
    """Return what the endpoint answered last instead of metrics, or how it failed; nothing where that is not known."""
    known = [(miss.phase == "post", miss.sequence_index, miss.detail) for miss in misses if miss.detail is not None]
    return (max(known, key=lambda one: one[:2])[2],) if known else ()


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


def not_set_up(findings: Findings) -> Hint | None:
    """Report an endpoint that never answered, neither before the deployment nor since."""
    check = findings.by_rule(NOT_SET_UP)
    if check is None:
        return None
    missing = check.details.get("missing", 0)
    return Hint(
        "not_set_up",
        severity="warning",
        confidence=0.9,
        observed=float(missing),
        evidence=(check.fact,),
        params={"missing": missing},
    )


def too_good_to_be_true(findings: Findings) -> Hint | None:
    """Report a service that does next to nothing for as many requests, or nothing at all if it counts none."""
    check = findings.by_rule(TOO_GOOD)
    if check is None:
        return None
    variant = "answers" if check.metric == "latency_p95" else "work"
    return from_checks(findings, f"too_good_to_be_true.{variant}", (check,))


def journey_broken(findings: Findings) -> Hint | None:
    """Report what journeys expect and do not find, that of the gravest check first."""
    hint = _of_expectations(findings, "journey_broken.some", release=False)
    return hint and (replace(hint, text_key="journey_broken.critical") if hint.severity == "critical" else hint)


def other_release(findings: Findings) -> Hint | None:
    """Report that at the end of the window another release than the deployed one answers."""
    return _of_expectations(findings, "other_release", release=True)


def _of_expectations(findings: Findings, text_key: str, *, release: bool) -> Hint | None:
    checks = [check for check in findings.verdict.checks if check.rule == EXPECTATION and check.failed]
    checks = [check for check in checks if (check.code == "expectation_release") == release]
    checks.sort(key=lambda check: (check.outcome != "critical", -(check.margin or 0.0)))
    if not checks:
        return None
    params: dict[str, Param] = {
        **{name: checks[0].params[name] for name in ("what", "n", "asks", "n_before", "asks_before")},
        "found": [check.fact for check in checks[:MOST_FOUND]],
    }
    return from_checks(findings, text_key, checks[:MOST_FOUND], params=params)


def alerts_fire(findings: Findings) -> Hint | None:
    """Report alerts of others that began with the deployment."""
    check = next((one for one in findings.verdict.checks if one.rule == ALERTS and one.failed), None)
    if check is None:
        return None
    severity: Severity = "critical" if check.outcome == "critical" else "warning"
    return Hint("alerts_fire", severity, 0.9, evidence=(check.fact,), params=dict(check.params))


def looks_like_scaling(findings: Findings) -> Hint | None:
    """Report lost traffic whose cpu went with it, while p95 and errors stayed."""
    check = findings.failed("requests_per_sec")
    if check is None or "scaling" not in check.details:
        return None
    return from_checks(findings, "looks_like_scaling", (check,), params={"factor": check.details["scaling"]})


def instances_changed(findings: Findings) -> Hint | None:
    """Report another number of instances at the end of the window than before the deployment."""
    basis = findings.verdict.basis
    before, now = basis.instances_before, basis.instances
    if before is None or now is None or before == now:
        return None
    fewer = now < before
    changed = Fact("instances_went", {"before": before, "now": now})
    return Hint(
        "instances_changed.fewer" if fewer else "instances_changed.more",
        severity="warning" if fewer else "info",
        confidence=0.95,
        observed=float(now),
        threshold=float(before),
        evidence=(changed,),
        params={"before": before, "now": now},
    )


# --- one metric -----------------------------------------------------------------------------------------------------


def latency_improved(findings: Findings) -> Hint | None:
    """Report a p95 lower by a fifth in nearly all samples, unless errors or traffic failed: failing fast is no gain."""
    if len(findings.post) < MIN_SAMPLES or not findings.pre:
        return None
    if any(findings.failed(metric) for metric in ("error_rate", "requests_per_sec", "latency_p95")):
        return None
    known, values = values_of(findings.pre, "latency_p95"), values_of(findings.post, "latency_p95")
    if not known or not values:
        return None
    check = findings.check("latency_p95")
    # The levels that the check names, so that both say the same.
    before = check.baseline if check is not None and check.baseline else mean_of(known)
    now = check.observed if check is not None and check.observed is not None else mean_of(values)
    line = before - max(before * MIN_DROP, MIN_DROP_MS)
    share = sum(1 for value in values if value <= line) / len(values)
    if now > line or share < MIN_SHARE:
        return None
    gain = 1 - now / before
    thin = 0.1 if len(findings.pre) < MIN_SAMPLES else 0.0
    levels = {"observed": now, "baseline": before}
    return Hint(
        "latency_improved",
        metric="latency_p95",
        metrics=("latency_p95",),
        severity="info",
        confidence=(0.5 + 0.3 * gain + 0.2 * share - thin) * (0.5 + 0.5 * findings.verdict.quality.score),
        observed=now,
        threshold=line,
        evidence=(Fact("latency_level", {**levels, "samples": Fact("samples", {"n": len(values)})}),),
        numbers={"latency_p95": {**levels, "limit": line, "share": share}},
        params={**levels, "change": gain},
    )


def unhealthy_before(findings: Findings) -> Hint | None:
    """Report metrics that no healthy service shows, before and after, if the deployment made none of them worse.

    After a bad deployment whose window was still open, "before" was that one's work: rolling back may help.
    """
    reasons = [fact for fact in findings.verdict.health.reasons if fact.code == UNHEALTHY_AS_BEFORE]
    found = {str(fact.params["metric"]): fact for fact in reasons if not findings.failed(str(fact.params["metric"]))}
    if not found:
        return None
    metric, lead = next(iter(found.items()))
    predecessor = findings.window.bad_predecessor
    return Hint(
        "unhealthy_before" if predecessor is None else "unhealthy_before.predecessor",
        metric=metric,
        metrics=tuple(found),
        severity="warning",
        # The levels are measured; only poor data makes them doubtful.
        confidence=0.95 * (0.5 + 0.5 * findings.verdict.quality.score),
        observed=_number(lead, "observed"),
        threshold=_number(lead, "limit"),
        evidence=tuple(found.values()),
        numbers={
            name: {key: fact.params[key] for key in ("observed", "before", "limit")} for name, fact in found.items()
        },
        params={**lead.params, "found": list(found.values()), **({"number": predecessor} if predecessor else {})},
    )


def _number(fact: Fact, name: str) -> float | None:
    value = fact.params.get(name)
    return float(value) if isinstance(value, int | float) else None


# --- memory ---------------------------------------------------------------------------------------------------------


def memory_growth(findings: Findings) -> Hint | None:
    """Report a leak, a step, or nearly full memory, found by a judge that follows memory over time."""
    check = findings.failed("memory_usage")
    variant = VARIANTS.get(check.rule) if check is not None else None
    if check is None or variant is None:
        return None
    minutes = check.details.get("minutes_until_full")
    if minutes is None:
        # Full without a trend: it got there in one step.
        return from_checks(findings, "memory_growth.step", (check,))
    return from_checks(findings, f"memory_growth.{variant}", (check,), params={"time_left": 60.0 * minutes})


def memory_above_limit(findings: Findings) -> Hint | None:
    """Report memory_usage with more samples than tolerated above the limit itself."""
    check = findings.failed("memory_usage")
    if check is None or not _above_limit(findings, check):
        return None
    return from_checks(findings, "memory_above_limit", (check,), threshold=hard_limit(check))


def memory_near_limit(findings: Findings) -> Hint | None:
    """Report memory_usage that failed below its limit, or is at 90 % of the limit or more."""
    check = findings.check("memory_usage")
    limit = hard_limit(check) if check else None
    if check is None or limit is None or check.observed is None:
        return None
    if check.failed and _above_limit(findings, check):
        return None
    near = NEAR * decimal_of(limit) <= decimal_of(check.observed) <= decimal_of(limit)
    if not check.failed and not near:
        return None
    return from_checks(
        findings, "memory_near_limit", (check,), threshold=limit, severity=None if check.failed else "info"
    )


def _above_limit(findings: Findings, check: Check) -> bool:
    """Return whether the failed memory check is about the limit itself.

    It is, if the judge's threshold is not below the limit, or there is no limit (a leak found by its trend).
    """
    limit = hard_limit(check)
    if limit is None or check.limit is None or limit <= check.limit:
        return True
    values = values_of(findings.post, "memory_usage")
    return sum(value > limit for value in values) > (check.tolerance or 0.0) * len(values)


# --- custom metrics -------------------------------------------------------------------------------------------------


def custom_metrics(findings: Findings) -> list[Hint]:
    """Report each custom metric that moved in its bad direction."""
    checks = (check for check in findings.verdict.checks if check.rule == CUSTOM and check.failed)
    return [_custom_metric(findings, check) for check in checks]


def _custom_metric(findings: Findings, check: Check) -> Hint:
    variant = "fell" if check.details.get("moves") == "down" else "rose"
    return from_checks(findings, f"custom_metric.{variant}", (check,), params=check.params)


# --- the data -------------------------------------------------------------------------------------------------------


def missing_data(findings: Findings) -> Hint | None:
    """Report missing samples; a warning if the verdict is inconclusive, else info."""
    issues = [issue for issue in findings.verdict.quality.issues if issue.code in MISSING]
    if not issues:
        return None
    variant = "no_post" if not findings.post else "no_pre" if not findings.pre else "partial"
    collected, expected = len(findings.post), findings.window.expected
    return Hint(
        f"missing_data.{variant}",
        severity="info" if findings.verdict.conclusive else "warning",
        # That samples are missing is certain; how much it matters is not.
        confidence=0.6 + sum(issue.penalty for issue in issues) / 2,
        observed=float(collected),
        threshold=float(expected),
        evidence=(*(issue.fact for issue in issues), *_last_failure(findings.window.misses)),
        numbers={
            "collected": collected,
            "expected": expected,
            "pre": len(findings.pre),
            "quality": findings.verdict.quality.score,
            "issues": [issue.code for issue in issues],
        },
        params={
            "collected": collected,
            "expected": expected,
            "reasons": reasons(findings.window.misses) or [Fact("none_recorded")],
        },
    )


def poor_data(findings: Findings) -> Hint | None:
    """Report issues of order or time; gaps explained by missing samples are left to missing_data."""
    issues = findings.verdict.quality.issues
    missing = any(issue.code in MISSING for issue in issues)
    doubtful = [
        issue for issue in issues if issue.code not in (*MISSING, *OTHER_UNIT) and not (missing and issue.code == "gap")
    ]
    if not doubtful:
        return None
    score, found = findings.verdict.quality.score, [issue.fact for issue in doubtful]
    return Hint(
        "poor_data",
        severity="info" if findings.verdict.conclusive else "warning",
        confidence=0.6 + sum(issue.penalty for issue in doubtful) / 2,
        observed=score,
        evidence=tuple(found),
        numbers={"quality": score, "issues": [issue.code for issue in doubtful]},
        params={"quality": score, "issues": found},
    )


# --- saturation -----------------------------------------------------------------------------------------------------


def compute_saturation(findings: Findings) -> Hint | None:
    """CPU and latency failed together. Without a level before nothing is said of what changed."""
    checks = findings.all_failed("cpu_usage", "latency_p95")
    if not checks:
        return None
    known = all(check.baseline is not None for check in checks)
    return from_checks(findings, "compute_saturation" if known else "compute_saturation.no_before", checks)


# --- their order ----------------------------------------------------------------------------------------------------

# Composites first: a hint is left out when an earlier one explains it. Also the order in which equally severe hints
# are shown.
RULES: tuple[Rule, ...] = (
    looks_like_other_unit,
    not_set_up,
    service_unreachable,
    too_good_to_be_true,
    journey_broken,
    other_release,
    alerts_fire,
    looks_like_scaling,
    instances_changed,
    when_failed("service_degradation", "error_rate", "latency_p95"),
    when_failed("partial_outage", "requests_per_sec", "error_rate"),
    compute_saturation,
    persistent_breach,
    when_failed("high_error_rate", "error_rate"),
    when_failed("traffic_below_baseline", "requests_per_sec"),
    when_failed("high_latency", "latency_p95"),
    memory_growth,
    memory_above_limit,
    when_failed("cpu_spike", "cpu_usage"),
    memory_near_limit,
    missing_data,
    poor_data,
    latency_improved,
    unhealthy_before,
)

# Codes of hints that are explained by the key, if about the same metrics.
REPLACES = {
    "looks_like_other_unit.refused": ("not_set_up", "service_unreachable", "missing_data", "poor_data"),
    "service_unreachable": ("missing_data", "poor_data"),
    "service_unreachable.answers": ("missing_data", "poor_data"),
    "not_set_up": ("missing_data", "poor_data"),
    "too_good_to_be_true.answers": ("latency_improved",),
    "journey_broken.critical": ("persistent_breach", "high_error_rate"),
    "journey_broken.some": ("high_error_rate",),
    "looks_like_scaling": ("traffic_below_baseline",),
    "service_degradation": ("persistent_breach", "high_error_rate", "high_latency"),
    "partial_outage": ("persistent_breach", "high_error_rate", "traffic_below_baseline"),
    "compute_saturation": ("persistent_breach", "high_latency", "cpu_spike"),
    "compute_saturation.no_before": ("persistent_breach", "high_latency", "cpu_spike"),
    "persistent_breach.error_rate": ("high_error_rate",),
    "persistent_breach.requests_per_sec": ("traffic_below_baseline",),
    "persistent_breach.latency_p95": ("high_latency",),
    "memory_growth.leak": ("memory_above_limit", "memory_near_limit"),
    "memory_growth.step": ("memory_above_limit", "memory_near_limit"),
}
