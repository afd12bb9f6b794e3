"""Judge journeys: how often something was not as expected, before the deployment and since.

A sample has few of them, so counts are compared: what failed before is not blamed on the deployment, and neither is
what chance explains.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from analysis.judge.adaptive.counts import Beta, log_tail, posterior
from analysis.judge.adaptive.evidence import Evidence, Finding, outcome, prepare
from analysis.judge.adaptive.knobs import ALL_ON
from analysis.judge.adaptive.lines import SENSITIVITY_SCALE
from analysis.judge.types import ERROR_ASKS, EXPECTATION, JOURNEYS, Check, Expectation, Sample, Window
from explain.facts import Fact, Param
from projects.policy import AdaptivePolicy, Policy

# By so much more of all times, for a warning and for a rollback.
MARGIN, ROLLBACK_MARGIN = 0.1, 0.25
MARGINS = {"warning_limit": MARGIN, "rollback_limit": ROLLBACK_MARGIN}
# So improbable, if nothing had changed: of the window, of its last part alone, and for a rollback.
IMPROBABLE, IMPROBABLE_LATE, IMPROBABLE_FOR_ROLLBACK = 0.005, 0.002, 0.0005
# The last part must still show this share of the effect for a rollback.
STILL_THERE = 0.4
# Nothing is known of a page before it is asked: any rate is as probable.
ANY_RATE = (Beta(1.0, 1.0, 1.0),)
# Failures of one minute come together. What is usual, and how many samples that is worth.
USUAL_DISPERSION, WORTH = 1.3, 2.0
# What fails so often for as long as it is known is broken, whoever broke it.
BROKEN = 0.5
# Of the new release: so many times another one may answer at the end.
OTHER_RELEASE, FEW_OF_OTHER_RELEASE = 0.1, 2.0
MOST = 100.0

# How often something was not as expected, and how often it was asked for, by sample.
Counts = Sequence[tuple[float, float]]
CountedOf = Callable[[Sample], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Compared:
    """Strengths as of Finding, and how often something was not as expected, of how many times."""

    strength: float
    critical: float
    before: tuple[float, float]
    after: tuple[float, float]

    @property
    def params(self) -> dict[str, Param]:
        """Return what sentences need."""
        (before, asks_before), (after, asks) = self.before, self.after
        return {"n": round(after), "asks": round(asks), "n_before": round(before), "asks_before": round(asks_before)}


def asks_of(sample: Sample) -> tuple[float, float]:
    """Return how many journeys of a sample failed, and how many there were."""
    asks = sample.custom.get(ERROR_ASKS, 0.0)
    return (round((sample.error_rate or 0.0) * asks), asks) if asks > 0.0 else (0.0, 0.0)


def of_journeys(evidence: Evidence) -> bool:
    """Return whether error rates are those of journeys: where they are known, on both sides."""
    rated = [sample for sample in (*evidence.pre, *evidence.post) if sample.error_rate is not None]
    return bool(rated) and all(ERROR_ASKS in sample.custom for sample in rated)


def judge_failed_journeys(evidence: Evidence) -> Finding | None:
    """Judge how many journeys fail; None where there are none after the deployment."""
    found = _compare(evidence, asks_of)
    if found is None:
        return None
    code = "journeys_failed" if found.strength >= 1.0 else "journeys_level"
    return _finding(found, JOURNEYS, code if found.before[1] else "journeys_without_before")


def judge_expectations(evidence: Evidence) -> list[Finding]:
    """Judge what was not as expected at least once, before the deployment or since."""
    found = [_judged(evidence, one) for one in evidence.window.expectations]
    return [finding for finding in found if finding is not None]


def expectation_checks(
    pre: Sequence[Sample], post: Sequence[Sample], policy: Policy, window: Window
) -> tuple[Check, ...]:
    """Return the checks of expectations, by the rules of this judge, for one that has no rule for them."""
    if not window.expectations or not post:
        return ()
    evidence = prepare(pre, post, policy=AdaptivePolicy(), window=window, knobs=ALL_ON)
    checks = [finding.check for finding in judge_expectations(evidence)]
    if policy.may_roll_back("error_rate"):
        return tuple(checks)
    return tuple(replace(one, outcome="warning") if one.outcome == "critical" else one for one in checks)


def _judged(evidence: Evidence, one: Expectation) -> Finding | None:
    if one.after_only:
        return _release(evidence, one)
    found = _compare(evidence, one.counted)
    if found is None or not (found.before[0] or found.after[0]):
        return None
    what = _what(one, evidence.post if found.after[0] else evidence.pre)
    if not found.before[1]:
        code = "expectation_without_before"
    elif found.strength >= 1.0:
        code = "expectation_broken"
    else:
        code = "expectation_as_before" if found.before[0] else "expectation_seldom"
    return _finding(found, EXPECTATION, code, what=what)


def _release(evidence: Evidence, one: Expectation) -> Finding | None:
    """Judge whether the new release answers, at the end of the window: others are replaced one by one."""
    after = _sum(map(one.counted, evidence.last))
    if not after[0]:
        return None
    strength = min(MOST, after[0] / after[1] / OTHER_RELEASE, after[0] / min(FEW_OF_OTHER_RELEASE, after[1]))
    found = _Compared(strength, 0.0, (0.0, 0.0), after)
    return _finding(found, EXPECTATION, "expectation_release", what=_what(one, evidence.last))


def _what(one: Expectation, samples: Iterable[Sample]) -> Fact:
    """Return what was not as expected, with the status of the latest answer of that kind."""
    statuses = [sample.custom.get(one.answered, 0.0) for sample in samples if one.counted(sample)[0]]
    return Fact(one.fact.code, {**one.fact.params, "status": round(statuses[-1]) if statuses else 0})


def _finding(found: _Compared, rule: str, code: str, **params: Param) -> Finding:
    (before, asks_before), (after, asks) = found.before, found.after
    observed, baseline = after / asks, before / asks_before if asks_before else None
    limits = {name: min(1.0, (baseline or 0.0) + margin) for name, margin in MARGINS.items()}
    check = Check(
        metric="error_rate",
        rule=rule,
        outcome=outcome(found.strength, found.critical),
        code=code,
        params={**params, **found.params},
        observed=observed,
        baseline=baseline,
        limit=limits["rollback_limit" if found.critical >= 1.0 else "warning_limit"],
        share=observed,
        margin=found.critical if found.critical >= 1.0 else found.strength,
        details=limits,
    )
    return Finding(check, found.strength, found.critical, suspicion=(observed - (baseline or 0.0)) / MARGIN)


def _compare(evidence: Evidence, counted: CountedOf) -> _Compared | None:
    pre, body, last = (
        [one for one in map(counted, samples) if one[1]] for samples in (evidence.pre, evidence.body, evidence.last)
    )
    body = body or [one for one in map(counted, evidence.post) if one[1]]
    if not body:
        return None
    before, after = _sum(pre), _sum(body)
    if not pre:
        # Whether it failed before is not known.
        failed, asks = _sum(last or body)
        return _Compared(min(after[0] / after[1], failed / asks) / BROKEN, 0.0, before, after)
    usual = before[0] / before[1]
    scale = SENSITIVITY_SCALE[evidence.policy.sensitivity]

    def found(part: Counts, margin: float, chance: float) -> float:
        failed, asks = _sum(part)
        dispersion = max(_dispersion(pre), _dispersion(part))
        known = posterior(before[0] / dispersion, before[1] / dispersion, ANY_RATE)
        improbable = log_tail(known, failed / dispersion, asks / dispersion) / math.log(chance)
        return min(MOST, (failed / asks - usual) / (margin * scale), improbable)

    strength = found(body, MARGIN, IMPROBABLE)
    critical = found(body, ROLLBACK_MARGIN, IMPROBABLE_FOR_ROLLBACK)
    if last:
        failed, asks = _sum(last)
        # Nothing is rolled back for what is over.
        critical = min(critical, (failed / asks - usual) / (STILL_THERE * ROLLBACK_MARGIN))
        critical = max(critical, found(last, ROLLBACK_MARGIN, IMPROBABLE_FOR_ROLLBACK))
        late = found(last, MARGIN, IMPROBABLE_LATE)
        if late > strength:
            strength, after = late, (failed, asks)
    return _Compared(max(0.0, strength), max(0.0, min(strength, critical)), before, after)


def _sum(counts: Iterable[tuple[float, float]]) -> tuple[float, float]:
    known = list(counts)
    return math.fsum(failed for failed, _ in known), math.fsum(asks for _, asks in known)


def _dispersion(counts: Counts) -> float:
    """Return the dispersion of counts by sample relative to chance; 1.0 = chance alone (Pearson's statistic)."""
    failed, asks = _sum(counts)
    rate = failed / asks
    if not 0.0 < rate < 1.0 or len(counts) < 2:
        return 1.0
    chi = math.fsum((one - rate * times) ** 2 / (rate * (1.0 - rate) * times) for one, times in counts)
    return max(1.0, (chi + WORTH * USUAL_DISPERSION) / (len(counts) - 1.0 + WORTH))
