"""Judge cpu_usage at equal load. Never recommends a rollback alone."""

import math
from collections.abc import Sequence

from analysis.judge.adaptive import thresholds
from analysis.judge.adaptive.earlier import usual_rise
from analysis.judge.adaptive.evidence import Evidence, Finding, outcome, unmeasured
from analysis.judge.adaptive.levels import Series, contrast, level, noise
from analysis.judge.adaptive.lines import WARNING_SHARE
from analysis.judge.adaptive.passed import TOLERATED, with_reason
from analysis.judge.types import Check, Sample, values_of
from explain.facts import Fact

# Usual scatter of a minute; the level itself wanders by some 0.04 within an hour.
PRIOR_NOISE = 0.025
WANDER = 0.005

# Prior: cpu grows nearly in proportion to load.
PRIOR_PROPORTION = 0.85
PROPORTION_SCATTER = 0.35
MOST_LOAD_LOST = 0.5
CLEAR_GROWTH = 0.15
MOST_RISE = 3.0
IDLE_SHARE = 0.01
# Levels that differ by less look the same in a sentence.
_VISIBLE = 0.001


def _idle_before(evidence: Evidence) -> bool:
    """Return whether PRE had next to no traffic and POST has: nothing shows what cpu that traffic takes."""
    now, before = values_of(evidence.body, "requests_per_sec"), values_of(evidence.pre, "requests_per_sec")
    return bool(now and before) and level(now) > 0.0 and level(before) < IDLE_SHARE * level(now)


def _load(samples: Sequence[Sample], base: float, requests: float) -> list[float]:
    if base <= 0.0:
        return [0.0] * len(samples)
    trust = requests / (requests + 50.0)
    # A sample that does not know its traffic counts as one at the usual load.
    rates = (base if s.requests_per_sec is None else s.requests_per_sec for s in samples)
    return [trust * (min(rate / base, 20.0) - 1.0) for rate in rates]


def _slope(loads: Sequence[float], values: Sequence[float], base: float, spread: float) -> float:
    """Return cpu per relative load, from PRE, shrunk towards proportionality; at most slightly above it."""
    centre_x, centre_y = level(loads), level(values)
    power = sum((x - centre_x) ** 2 for x in loads)
    both = sum((x - centre_x) * (y - centre_y) for x, y in zip(loads, values, strict=True))
    scatter = max(PROPORTION_SCATTER * base, 1e-6)
    pull = (spread / scatter) ** 2
    return max(0.0, min(1.2 * base, (both + PRIOR_PROPORTION * base * pull) / (power + pull)))


def _explaining(load_change: float) -> float:
    """Return the relative change of load that may explain cpu.

    A decrease counts only half, and down to half the load, because part of the work does not depend on requests; a
    service without traffic is not busy.
    """
    return load_change if load_change > 0 else 0.5 * max(load_change, -MOST_LOAD_LOST)


def _growth(loads: Sequence[Sequence[float]], slope: float, base: float) -> list[float]:
    """Return what clearly grown load may explain beyond `slope`: cpu in full proportion. Nothing for PRE."""
    extra = [0.0]
    for xs in loads[1:]:
        usual = level(xs)
        extra.append(max(0.0, base - slope) * usual if usual > CLEAR_GROWTH else 0.0)
    return extra


def judge_cpu(evidence: Evidence) -> Finding | None:
    """Judge cpu beyond the service's own level at this load; None without PRE or POST."""
    if not evidence.pre or not evidence.body:
        return None
    if (never := unmeasured(evidence, "cpu_usage")) is not None:
        return never
    if _idle_before(evidence):
        return None
    parts = (evidence.pre, evidence.body, evidence.last)
    values = [values_of(part, "cpu_usage") for part in parts]
    plain = [level(part) for part in values]
    base_rate = evidence.base_rate()
    if evidence.knobs.explain_load:
        requests = base_rate * max(1.0, evidence.window.interval_s)
        loads = [_load(part, base_rate, requests) for part in parts]
        spread = max(noise(values[0], plain[0]), PRIOR_NOISE / 2)
        slope = PRIOR_PROPORTION * plain[0]
        if len(evidence.pre) >= 10:
            slope = _slope(loads[0], values[0], plain[0], spread)
        values = [
            [y - slope * _explaining(x) - extra for x, y in zip(xs, ys, strict=True)]
            for xs, ys, extra in zip(loads, values, _growth(loads, slope, plain[0]), strict=True)
        ]
    rise = usual_rise(evidence.window.earlier_days, "cpu_usage", per_load=PRIOR_PROPORTION)
    series = Series(
        pre=values[0],
        pre_minutes=evidence.pre_minutes,
        body=values[1],
        body_minutes=evidence.body_minutes,
        last=values[2],
        history=evidence.scatter(lambda samples: values_of(samples, "cpu_usage")),
        age=evidence.pre_age / 60.0,
        rise=plain[0] * math.expm1(min(MOST_RISE, rise.change)),
        rise_error=plain[0] * rise.error,
    )
    result = contrast(series, sign=1.0, prior_noise=PRIOR_NOISE, wander=WANDER, knobs=evidence.knobs)
    base = max(0.0, result.base)
    lines = evidence.lines
    required = max(lines.cpu, lines.cpu_ratio * base) * WARNING_SHARE
    strength = result.strength(required, evidence.guard, evidence.knobs)
    passed = strength < 1.0
    # At less load less cpu is expected: the limit moves with it, but not below the level before.
    limit = max(base, base + required + min(0.0, plain[1] - level(values[1])))
    observed = plain[2] if result.last > 1.5 * result.whole and strength >= 1.0 else plain[1]
    rates = values_of(evidence.body, "requests_per_sec")
    load_ratio = level(rates) / base_rate if base_rate > 0 and rates else None
    over = sum(value > limit for value in values_of(evidence.body, "cpu_usage"))
    share = over / len(evidence.body)
    line = thresholds.cpu(lines.deciding())
    check = Check(
        metric="cpu_usage",
        rule="cpu_beyond_load",
        outcome=outcome(strength),
        code="cpu_went" if passed else "cpu_rose" if observed > base + _VISIBLE else "cpu_beyond_load",
        params={
            "levels": _levels(base, observed, load_ratio),
            "beyond": result.sustained,
            "line": with_reason(line, result, required=required, guard=evidence.guard, share=share, passed=passed),
        },
        observed=observed,
        baseline=base,
        spread=result.spread,
        limit=limit,
        share=share,
        tolerance=TOLERATED,
        margin=strength,
        details={
            "over": over,
            "samples": len(evidence.body),
            "load_ratio": round(load_ratio, 3) if load_ratio is not None else None,
        },
    )
    return Finding(check, strength)


def _levels(base: float, observed: float, load_ratio: float | None) -> Fact:
    levels = Fact("cpu_levels", {"before": base, "after": observed})
    return levels if load_ratio is None else Fact("at_load", {"levels": levels, "ratio": load_ratio})
