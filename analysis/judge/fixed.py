"""Judge by the `fixed` policy: the same limits for every service. Pure.

Rules: a limited metric fails when the share of POST samples strictly above its secured limit (secured_factor × limit)
is strictly greater than its tolerance; traffic fails when the share of POST samples more than `drop` below the PRE
mean is strictly greater than its tolerance. Limits and shares are compared in decimals, because in binary floats
0.9 × 0.80 is above 0.72 and three times 0.1 above 0.3, and a verdict must not depend on that.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from statistics import median_low

from analysis.judge.adaptive.alerts import alert_checks
from analysis.judge.adaptive.custom import custom_checks
from analysis.judge.adaptive.journeys import expectation_checks
from analysis.judge.levels import decimal_of, mean_of
from analysis.judge.quality import assess
from analysis.judge.statements import Seen, stated
from analysis.judge.types import (
    CUSTOM,
    EXPECTATION,
    OK,
    ROLLBACK,
    WARNING,
    Basis,
    Check,
    CheckOutcome,
    Quality,
    QualityIssue,
    Sample,
    Verdict,
    VerdictName,
    Window,
    values_of,
)
from explain.facts import Fact
from projects.policy import LIMITED_METRICS, FixedPolicy

# Scores by verdict: ok 0..0.30, inconclusive 0.40, warning 0.45..0.65, rollback 0.70..1. They never overlap, so that
# sorting by score sorts by verdict.
OK_TOP = 0.30
INCONCLUSIVE_SCORE = 0.40
WARNING_BOTTOM, WARNING_TOP = 0.45, 0.65
ROLLBACK_BOTTOM, ROLLBACK_TOP = 0.70, 1.0

SECURED_LIMIT, TRAFFIC = "secured_limit", "below_pre_mean"

MAX_MARGIN = 100.0
MAX_CONFIDENCE = 0.99


def judge_fixed(pre: Sequence[Sample], post: Sequence[Sample], policy: FixedPolicy, window: Window) -> Verdict:
    """Judge by fixed limits: one check per metric in the order of METRICS, then custom metrics, journeys and alerts.

    Without PRE or POST the verdict is an inconclusive `warning`, whatever the POST samples show: it is unknown whether
    the deployment is the cause. A critical metric that fails on otherwise poor data is still `rollback_recommended`,
    not conclusive.
    """
    quality = assess(pre, post, window)
    quality = replace(quality, issues=(*quality.issues, *_of_control(window)))
    checks = (
        _check_traffic(pre, post, policy, shared=window.has_control),
        *(_check_limit(metric, pre, post, policy) for metric in LIMITED_METRICS),
        *custom_checks(pre, post, policy, window),
        *expectation_checks(pre, post, policy, window),
        *alert_checks(window, post),
    )
    failing = [check for check in checks if check.failed]
    comparable = bool(pre) and bool(post)
    conclusive = comparable and quality.score >= policy.min_quality
    name = _verdict_name(failing, comparable=comparable, conclusive=conclusive)
    verdict = Verdict(
        verdict=name,
        confidence=_confidence(name, checks, failing, quality, conclusive=conclusive),
        conclusive=conclusive,
        score=_score(name, checks, failing, quality),
        summary=_summary(name, failing, quality, len(post), conclusive=conclusive),
        checks=checks,
        quality=quality,
        policy=policy.as_dict(),
        basis=Basis(doubts=() if conclusive else tuple(_doubt(quality) or [Fact("low_quality")])),
    )
    return stated(verdict, Seen.of(pre, post, policy, window))


def _of_control(window: Window) -> list[QualityIssue]:
    """Return that limits are the same for everybody: the deployment's control group is compared with for others."""
    if not window.has_control or not window.final:
        return []
    return [QualityIssue("control_not_compared", Fact("quality.control_not_compared"), 0.0)]


def _verdict_name(failing: list[Check], *, comparable: bool, conclusive: bool) -> VerdictName:
    if not comparable:
        return WARNING
    if any(check.outcome == "critical" for check in failing):
        return ROLLBACK
    return WARNING if failing or not conclusive else OK


# --- the checks ---------------------------------------------------------------------------------------------------


def _check_limit(metric: str, pre: Sequence[Sample], post: Sequence[Sample], policy: FixedPolicy) -> Check:
    rule = policy.limit_of(metric)
    line = float(decimal_of(rule.limit) * decimal_of(policy.secured_factor))
    values = values_of(post, metric)
    before = values_of(pre, metric)
    baseline = mean_of(before) if before else None
    if not values:
        return _skipped(
            metric,
            SECURED_LIMIT,
            Fact(_why_without(metric, post)),
            baseline=baseline,
            limit=line,
            tolerance=rule.tolerance,
        )
    over = [value for value in values if value > line]
    worst = max(values)
    return Check(
        metric=metric,
        rule=SECURED_LIMIT,
        outcome=_outcome(metric, policy, failed=_exceeds(len(over), len(values), rule.tolerance)),
        code="above_secured_limit" if baseline is None else "above_secured_limit_before_known",
        observed=mean_of(values),
        baseline=baseline,
        limit=line,
        share=len(over) / len(values),
        tolerance=rule.tolerance,
        margin=min((mean_of(over) if over else worst) / line, MAX_MARGIN),
        details={
            "configured_limit": rule.limit,
            "secured_factor": policy.secured_factor,
            **_counts(values, over, worst=worst),
        },
    )


def _why_without(metric: str, post: Sequence[Sample]) -> str:
    """Return why no sample after the deployment has a value of the metric."""
    return "no_samples_after" if not post or any(one.knows(metric) for one in post) else "not_measured_by_source"


def _check_traffic(pre: Sequence[Sample], post: Sequence[Sample], policy: FixedPolicy, *, shared: bool) -> Check:
    """Check the traffic. shared: with a control group, which gets a part of it."""
    metric, rule = "requests_per_sec", policy.requests_per_sec
    # Compare the sum instead of the mean, because division would round.
    before, after = values_of(pre, metric), values_of(post, metric)
    total = sum(map(decimal_of, before), Decimal(0))
    comparable = before and after and not shared
    if comparable and total > 0 and total >= decimal_of(rule.min_pre_mean) * len(before):
        return _compare_traffic(total, len(before), after, policy)
    mean = float(total / len(before)) if before else None
    if not pre:
        why = Fact("quality.no_pre")
    elif not post:
        why = Fact("no_samples_after")
    elif not before or not after:
        why = Fact("measured_only_before" if before else "measured_only_after" if after else "not_measured_by_source")
    elif shared:
        why = Fact("shared_by_rollout")
    else:
        why = Fact("too_little_traffic", {"level": mean})
    return _skipped(metric, TRAFFIC, why, baseline=mean, limit=None, tolerance=rule.tolerance)


def _compare_traffic(total: Decimal, count: int, values: Sequence[float], policy: FixedPolicy) -> Check:
    metric, rule = "requests_per_sec", policy.requests_per_sec
    kept = total * (1 - decimal_of(rule.drop))
    mean, line = float(total / count), float(kept / count)
    lost = [value for value in values if decimal_of(value) * count < kept]
    drop = 1 - decimal_of(mean_of(lost) if lost else min(values)) / (total / count)
    return Check(
        metric=metric,
        rule=TRAFFIC,
        outcome=_outcome(metric, policy, failed=_exceeds(len(lost), len(values), rule.tolerance)),
        code="traffic_below_mean",
        observed=mean_of(values),
        baseline=mean,
        limit=line,
        share=len(lost) / len(values),
        tolerance=rule.tolerance,
        margin=min(max(float(drop / decimal_of(rule.drop)), 0.0), MAX_MARGIN),
        details={
            "drop": rule.drop,
            "min_pre_mean": rule.min_pre_mean,
            "pre_samples": count,
            **_counts(values, lost, worst=min(values)),
        },
    )


def _counts(values: Sequence[float], over: Sequence[float], *, worst: float) -> dict[str, float]:
    return {"samples": len(values), "over": len(over), "worst": worst, "median": median_low(values)}


def _skipped(
    metric: str, rule: str, why: Fact, *, baseline: float | None, limit: float | None, tolerance: float
) -> Check:
    return Check(
        metric=metric,
        rule=rule,
        outcome="skipped",
        code="not_judged",
        params={"reason": why},
        baseline=baseline,
        limit=limit,
        tolerance=tolerance,
    )


def _exceeds(count: int, samples: int, tolerance: float) -> bool:
    return Decimal(count) > decimal_of(tolerance) * samples


def _outcome(metric: str, policy: FixedPolicy, *, failed: bool) -> CheckOutcome:
    if not failed:
        return "ok"
    return "critical" if policy.may_roll_back(metric) else "warning"


# --- confidence, score, summary -----------------------------------------------------------------------------------


def _strength(check: Check) -> float:
    """Return 0..1 by the distance beyond the limit (0.5 = twice the limit) and the share of the window."""
    deviation = 1 - 1 / max(check.margin or 1.0, 1.0)
    tolerance = check.tolerance or 0.0
    persistence = ((check.share or 0.0) - tolerance) / (1 - tolerance) if tolerance < 1 else 0.0
    return 0.5 * deviation + 0.5 * max(persistence, 0.0)


def _closeness(checks: Sequence[Check]) -> float:
    """Return 0..1 by how near the worst sample of any metric is to its limit."""
    return max((min(check.margin, 1.0) for check in checks if check.margin is not None), default=1.0)


def _confidence(
    name: VerdictName, checks: Sequence[Check], failing: list[Check], quality: Quality, *, conclusive: bool
) -> float:
    """Return 0..1, growing with the deviation, the number of signals and the data quality.

    The weights are a plain ramp from even odds to near certainty. They are not calibrated.
    """
    if name == OK:
        raw = 0.60 + 0.39 * (1 - _closeness(checks))
    elif failing:
        strongest = max(_strength(check) for check in failing)
        raw = 0.50 + 0.40 * strongest + 0.05 * min(len(failing) - 1, 2)
    else:
        raw = 0.50
    # Half of it if inconclusive, except for an observed critical breach.
    certainty = 1.0 if conclusive or name == ROLLBACK else 0.5
    trust = certainty * (0.5 + 0.5 * quality.score)
    return round(min(raw * trust, MAX_CONFIDENCE), 4)


def _score(name: VerdictName, checks: Sequence[Check], failing: list[Check], quality: Quality) -> float:
    """Return 0 (healthy) … 1 (roll back) within the band of the verdict; low in the band with poor data."""
    if name == OK:
        return round(OK_TOP * _closeness(checks), 4)
    if not failing:
        return INCONCLUSIVE_SCORE
    bottom, top = (ROLLBACK_BOTTOM, ROLLBACK_TOP) if name == ROLLBACK else (WARNING_BOTTOM, WARNING_TOP)
    strongest = max(_strength(check) for check in failing)
    return round(bottom + (top - bottom) * strongest * (0.5 + 0.5 * quality.score), 4)


def _summary(name: VerdictName, failing: list[Check], quality: Quality, count: int, *, conclusive: bool) -> Fact:
    doubt = _doubt(quality)
    if not failing:
        return _nothing_failed(name, doubt, count)
    ordered = sorted(failing, key=lambda check: (check.outcome != "critical", -_strength(check)))
    found = [check.fact if check.rule in (CUSTOM, EXPECTATION) else _short(check) for check in ordered]
    if name == ROLLBACK and conclusive:
        return Fact("fixed.roll_back", {"found": found})
    if name == ROLLBACK:
        return Fact("fixed.roll_back_in_doubt", {"found": found, "doubt": doubt})
    if conclusive:
        return Fact("fixed.look_closer", {"found": found})
    return Fact("fixed.look_now", {"found": found, "doubt": doubt})


def _doubt(quality: Quality) -> list[Fact]:
    lowering = (issue for issue in quality.issues if issue.penalty > 0.0)
    worst = sorted(lowering, key=lambda issue: -issue.penalty)[:2]
    return [issue.fact for issue in worst]


def _short(check: Check) -> Fact:
    return Fact(SHORT.get(check.metric, "was_above"), check.fact.params)


SHORT = {"requests_per_sec": "traffic_was_below"}


def _nothing_failed(name: VerdictName, doubt: list[Fact], count: int) -> Fact:
    samples = Fact("samples", {"n": count})
    if name == OK:
        return Fact("fixed.keep", {"samples": samples})
    doubt = doubt or [Fact("low_quality")]
    if not count:
        return Fact("fixed.not_conclusive", {"doubt": doubt})
    return Fact("fixed.not_conclusive_but_within", {"doubt": doubt, "samples": samples})
