"""Judge the custom metrics of the policy: moves in the bad direction, beyond their margins and beyond the noise."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from analysis.judge.adaptive.control import controlled
from analysis.judge.adaptive.earlier import Shift, of_earlier_days
from analysis.judge.adaptive.evidence import ALMOST, ENOUGH_PRE, GUARD, Evidence, Finding, not_known, outcome, prepare
from analysis.judge.adaptive.knobs import ALL_ON
from analysis.judge.adaptive.levels import Contrast, Series, contrast, level
from analysis.judge.adaptive.lines import ROLLBACK_SHARE, SENSITIVITY_SCALE, WARNING_SHARE
from analysis.judge.adaptive.passed import TOLERATED, with_reason
from analysis.judge.types import CUSTOM, Check, EarlierDay, Sample, Window, amount, custom_name, values_of
from explain.facts import Fact, Param
from projects.policy import AdaptivePolicy, CustomMetric, Margin, Policy

# Usual scatter of single samples by kind: as a share of the level; that of shares depends on their level.
PRIOR_NOISE = {"gauge": 0.15, "rate": 0.15, "count": 0.1, "ratio": 0.0}
RATIO_NOISE, LEAST_RATIO_NOISE = 0.05, 0.005
# Standard errors of a rollback: one of a thousand by chance, as of errors.
ROLLBACK_GUARD = 3.0
# Few events are skewed, and a level without its outer fifth scatters more than their mean.
SKEWED = 1.15
# How far a level wanders by itself in a minute, as a share of it (as of latency).
WANDER = 0.012
# A relative margin of a share near 0 is no margin.
LEAST_OF_RATIO = 0.005
# So many events more or fewer than expected in the window, for a warning and for a rollback: as of errors.
FEW_EVENTS, FEW_FOR_ROLLBACK = 2.5, 6.0
# The strength of a move without a margin (from 0) has no bound of its own.
MOST = 100.0
_LEAST = 1e-9

# Seconds of the unit of time that a rate's unit ends in: "/s", "per minute", "1/h".
_PER = re.compile(r"(?:/|\bper )\s*(s|sec|second|m|min|minute|h|hour|d|day)$", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of one metric. events: how many events one unit of it is in a sample; None: it counts none."""

    pre: list[float]
    body: list[float]
    last: list[float]
    events: float | None


def judge_custom(evidence: Evidence, metric: CustomMetric) -> Finding:
    """Judge a custom metric; a skipped check where it is not known before and after."""
    unknown = not_known(evidence, metric.name)
    if unknown is not None:
        return Finding(_named(unknown, metric))
    view = evidence.knowing(metric.name)
    if not view.pre and (itself := view.on_itself()) is not None:
        # Without a level before, what broke within the window shows all the same.
        broken = _compared(itself, metric)
        if broken.check.failed:
            return broken
    if not view.pre or not view.body:
        code = "custom_without_before" if view.body else "no_usable_sample"
        return Finding(_named(Check(metric.name, "not_comparable", "skipped", code), metric))
    return _compared(view, metric)


def _compared(view: Evidence, metric: CustomMetric) -> Finding:
    pre, body, last = (values_of(part, metric.name) for part in (view.pre, view.body, view.last))
    values = _Values(pre, body, last, _events(metric, [*pre, *body], view.window.interval_s))
    signs = {"up_is_bad": (1.0,), "down_is_bad": (-1.0,), "either": (1.0, -1.0)}[metric.direction]
    return max((_judged(view, metric, values, sign) for sign in signs), key=lambda one: (one.critical, one.strength))


def custom_checks(pre: Sequence[Sample], post: Sequence[Sample], policy: Policy, window: Window) -> tuple[Check, ...]:
    """Return the checks of the custom metrics, by the rules of this judge, for one that has no rule for them."""
    if not policy.custom_metrics or not post:
        return ()
    adaptive = AdaptivePolicy(custom_metrics=policy.custom_metrics)
    compared = controlled(pre, post, adaptive, window)
    evidence = prepare(compared.pre, compared.post, policy=adaptive, window=compared.window, knobs=ALL_ON)
    return tuple(judge_custom(evidence, metric).check for metric in policy.custom_metrics)


def _judged(view: Evidence, metric: CustomMetric, values: _Values, sign: float) -> Finding:
    """Judge moves in one direction. sign: +1 where up is bad, -1 where down is bad."""
    result = _contrast(view, metric, values, sign)
    need = _needed(metric, metric.warning, result.base, few=FEW_EVENTS, values=values) * WARNING_SHARE
    need_rollback = _needed(metric, metric.rollback, result.base, few=FEW_FOR_ROLLBACK, values=values) * ROLLBACK_SHARE
    scale = SENSITIVITY_SCALE[view.policy.sensitivity]
    need, need_rollback = need * scale, max(need, need_rollback) * scale
    # Nothing is known of the metric beforehand: fewer standard errors, as where PRE is thin, would be too few here.
    strength = result.strength(need, GUARD, view.knobs)
    critical = min(strength, result.strength(need_rollback, ROLLBACK_GUARD, view.knobs)) if metric.critical else 0.0
    if view.knobs.last_part:
        # Nothing is rolled back for what is over.
        critical = min(critical, max(0.0, result.effects[-1] / need))
    strength = max(strength, result.recurring(need) if view.knobs.robust else 0.0)
    late = strength >= 1.0 and result.last > 1.5 * result.whole
    observed = level(values.last if late else values.body)
    small = max(observed if sign > 0.0 else result.base, 0.0) < metric.smallest
    if small:
        strength, critical = min(strength, ALMOST), min(critical, ALMOST)
    strength, critical = min(strength, MOST), min(critical, MOST)
    decided = need_rollback if critical >= 1.0 else need
    limit = result.base + sign * decided
    over = sum(sign * (value - limit) > 0.0 for value in values.body)
    share = over / len(values.body)
    line = _threshold(metric, result.base, strength, critical, margins=(sign * need, sign * need_rollback))
    if small:
        line = Fact(
            "passed_because", {"line": line, "why": Fact("passed.small", {"least": _amount(metric.smallest, metric)})}
        )
    else:
        line = with_reason(line, result, required=need, guard=GUARD, share=share, passed=strength < 1.0)
    check = Check(
        metric=metric.name,
        rule=CUSTOM,
        outcome=outcome(strength, critical),
        code="custom_level" if strength < 1.0 else "custom_rose" if sign > 0.0 else "custom_fell",
        params={
            "name": custom_name(metric.name),
            "before": _amount(result.base, metric),
            "after": _amount(observed, metric),
            "line": line,
        },
        observed=observed,
        baseline=result.base,
        spread=result.spread,
        limit=limit,
        share=share,
        tolerance=TOLERATED,
        margin=critical if critical >= 1.0 else strength,
        details={
            "over": over,
            "samples": len(values.body),
            **about(metric),
            "moves": "up" if sign > 0.0 else "down",
            "warning_limit": result.base + sign * need,
            **({"rollback_limit": result.base + sign * need_rollback} if metric.critical else {}),
        },
    )
    return Finding(check, strength, critical, suspicion=min(MOST, result.plain / need))


def _threshold(
    metric: CustomMetric, base: float, strength: float, critical: float, *, margins: tuple[float, float]
) -> Fact:
    """Return the reached and the next threshold. margins: of a warning and of a rollback."""
    warning, rollback = (_amount(base + margin, metric) for margin in margins)
    if strength < 1.0:
        return Fact("custom_warning", {"limit": warning})
    if not metric.critical:
        return Fact("custom_warning_only", {"limit": warning})
    if critical >= 1.0:
        return Fact("custom_rollback_reached", {"limit": rollback})
    return Fact("custom_warning_reached", {"limit": warning, "rollback": rollback})


def _needed(metric: CustomMetric, margin: Margin, base: float, *, few: float, values: _Values) -> float:
    """Return the least move that counts, in the metric's unit: its margin, and of events a few."""
    needed = margin.amount(base)
    if metric.kind == "ratio" and margin.absolute is None:
        needed = max(needed, LEAST_OF_RATIO)
    if values.events is not None:
        needed = max(needed, few / (values.events * len(values.body)))
    return max(needed, _LEAST)


def _contrast(view: Evidence, metric: CustomMetric, values: _Values, sign: float) -> Contrast:
    usual = level(values.pre)
    noise = PRIOR_NOISE[metric.kind] * abs(usual)
    if metric.kind == "ratio":
        noise = RATIO_NOISE * math.sqrt(max(0.0, usual * (1.0 - usual))) + LEAST_RATIO_NOISE
    chance = _chance(values)
    rise = _usual_move(view.window.earlier_days, metric.name, sign)
    series = Series(
        pre=values.pre,
        pre_minutes=view.pre_minutes,
        body=values.body,
        body_minutes=view.body_minutes,
        last=values.last,
        history=(*view.scatter(lambda samples: values_of(samples, metric.name)), *_steps(values)),
        age=view.pre_age / 60.0,
        rise=abs(usual * math.expm1(rise.change)),
        rise_error=abs(usual * math.exp(rise.change)) * rise.error,
    )
    result = contrast(
        series, sign=sign, prior_noise=math.hypot(noise, chance), wander=WANDER * abs(usual), knobs=view.knobs
    )

    def error(count: int, found: float) -> float:
        return max(found, SKEWED * chance * math.sqrt(1.0 / len(values.pre) + 1.0 / count))

    return replace(
        result,
        spread=max(result.spread, chance),
        whole_error=error(len(values.body), result.whole_error),
        last_error=error(len(values.last), result.last_error),
    )


def _usual_move(days: Sequence[EarlierDay], name: str, sign: float) -> Shift:
    """Return how far the metric moves in the bad direction at this hour; none if earlier days predict no such move."""
    found = of_earlier_days(days, name)
    return found if found is not None and sign * found.change > 0.0 else Shift()


def _steps(values: _Values) -> list[list[float]]:
    """Return the steps of POST as a series that shows the scatter where PRE is thin; without the largest, which may be
    the deployment's effect."""
    if len(values.pre) >= ENOUGH_PRE or len(values.body) < 3:
        return []
    steps = sorted((after - before for before, after in pairwise(values.body)), key=abs)
    return [[sign * step / math.sqrt(2.0) for step in steps[:-1] for sign in (1.0, -1.0)]]


def _chance(values: _Values) -> float:
    """Return the standard deviation that chance gives a single sample of events, if nothing changed (Poisson)."""
    if values.events is None:
        return 0.0
    both = [*values.pre, *values.body]
    mean = math.fsum(max(0.0, value) / len(both) for value in both)
    return math.sqrt(mean / values.events)


def _events(metric: CustomMetric, values: Sequence[float], interval_s: float) -> float | None:
    """Return how many events one unit of the metric is, in a sample; None where it counts none.

    A count is of events. So is a rate: by the time that its unit names, else by its whole numbers, else per second. A
    gauge of whole numbers (waiting jobs) scatters like one.
    """
    if metric.kind == "ratio":
        return None
    if metric.kind == "rate":
        if (named := _PER.search(metric.unit)) is not None:
            return max(1.0, interval_s) / _SECONDS[named.group(1)[0].lower()]
        return 1.0 if _whole(values) else max(1.0, interval_s)
    return 1.0 if metric.kind == "count" or _whole(values) else None


def _whole(values: Sequence[float]) -> bool:
    return all(float(value).is_integer() for value in values)


def _amount(value: float, metric: CustomMetric) -> Fact:
    return amount(value, **about(metric))


def about(metric: CustomMetric) -> dict[str, str]:
    """Return what a check says of the metric beside its name."""
    return {"unit": metric.unit, "kind": metric.kind}


def _named(check: Check, metric: CustomMetric) -> Check:
    """Return a check that was skipped, with the metric's name as words."""
    name: dict[str, Param] = {"metric": custom_name(metric.name)}
    return replace(check, params={**check.params, **name}, details={**check.details, **about(metric)})
