"""Judge memory_usage: leaks (a trend that leaves the PRE range, not a refill after a restart) and steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.judge.adaptive import thresholds
from analysis.judge.adaptive.evidence import Evidence, Finding, outcome, unmeasured
from analysis.judge.adaptive.levels import (
    PRIOR_AUTOCORRELATION,
    Contrast,
    Series,
    autocorrelation,
    contrast,
    effective,
    level,
    median,
    noise,
)
from analysis.judge.adaptive.lines import ROLLBACK_SHARE, WARNING_SHARE, Lines
from analysis.judge.adaptive.passed import TOLERATED, with_reason
from analysis.judge.types import Check, values_of

METRIC = "memory_usage"

# Usual scatter of a minute; the level itself wanders by some 0.02 within an hour.
PRIOR_NOISE = 0.012
WANDER = 0.0025

# How clear a trend must be, as a quantile of the normal distribution: autocorrelated noise is less innocent than it
# looks. None of 4,000 windows of the two stories about noise is a leak with 4.2; 5 of them with 3.8, 10 with 3.4.
TREND_GUARD = 4.2
# Least scatter of single samples: three or four may lie on a line by chance. Worth so many samples.
LEAST_SCATTER = 0.003
LEAST_SCATTER_WEIGHT = 2.0
_MINUTES_PER_HOUR = 60.0

# A leak starts from the PRE level. Where the first samples are this far (or 2.5 standard deviations) off it, the
# process was restarted or needs more memory at once: it is settling, and a trend must go on to be believed; after a
# restart it needs this many samples at and above the old level.
OFF_LEVEL = 0.006
FEW_AFTER_RESTART = 4
# One sample less will do where it has already left the range by twice the line of a leak: no refill goes that far.
FAR_OUT = 2.0
FEW_FOR_RANGE = 5
UNSEEN = 1.5
FEW_FOR_SCATTER = 8
# With so many of the newest PRE samples a leak starts from PRE's level: a line through both is clearer than POST's own,
# which then needs only this share of the clarity, to be no step.
MOST_AT_HINGE = 10
MANY = 100
WITH_HINGE = 0.5
# PRE's own trend counts from half the clarity of a finding on.
CLEAR_BEFORE = 0.5

# From this many samples on the later half is checked separately; a noisy leak may show this share of its slope there.
ENOUGH_FOR_HALVES = 7
GOES_ON = 0.7

# A service that always runs this near to full was not filled by the deployment.
NEARLY_FULL = 0.03
_ROUNDING = 0.004
_SAME_INSTANT = 0.01

# Standard errors of a step: memory is measured exactly, and hardly a service scatters by as much as a step.
STEP_GUARD = 2.0

# Growth is a step if a single jump makes up this much of it.
STEP_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Trend:
    """A fitted line: slope per minute, its clarity (1.0 = not by chance), value at the end, minutes it spans."""

    slope: float
    clear: float
    end: float
    minutes: float


def student(freedom: float, normal: float) -> float:
    """Return the quantile of Student's t for a quantile of the normal distribution (Gaver and Kafadar 1984)."""
    spread = (freedom - 5.0 / 6.0) / (freedom - 2.0 / 3.0 + 0.1 / freedom) ** 2
    return math.sqrt(freedom * math.expm1(normal * normal * spread))


def trend(
    values: Sequence[float], minutes: Sequence[float], *, scatter: float = 0.0, known: float = 0.0
) -> Trend | None:
    """Fit a line by least squares; None for fewer than three samples or no time between them.

    scatter: standard deviation of single samples seen elsewhere (PRE), known from so many degrees of freedom. It joins
    the scatter around the line: a handful of samples may lie on a line by chance, so their own says little.
    """
    count = len(values)
    if count < 3:
        return None
    centre_t = math.fsum(minutes) / count
    centre_v = math.fsum(values) / count
    power = math.fsum((t - centre_t) ** 2 for t in minutes)
    if power <= 1e-9:
        return None
    slope = math.fsum((t - centre_t) * (v - centre_v) for t, v in zip(minutes, values, strict=True)) / power
    squares = math.fsum((v - centre_v - slope * (t - centre_t)) ** 2 for t, v in zip(minutes, values, strict=True))
    freedom = count - 2.0 + known + LEAST_SCATTER_WEIGHT
    variance = (squares + known * scatter**2 + LEAST_SCATTER_WEIGHT * LEAST_SCATTER**2) / freedom
    return Trend(
        slope=slope,
        clear=slope / (student(freedom, TREND_GUARD) * math.sqrt(variance / power)),
        end=centre_v + slope * (minutes[-1] - centre_t),
        minutes=minutes[-1] - minutes[0],
    )


@dataclass(frozen=True, slots=True)
class _Usual:
    """PRE: level, standard deviation (shrunk), bounds of its usual range, trend per minute; its own scatter beside that
    trend and the degrees of freedom that it is known from; how much more its deviations last than usual ones, as a
    factor on the error of a trend."""

    base: float
    spread: float
    scatter: float
    known: float
    bottom: float
    top: float
    slope: float
    lasting: float = 1.0


@dataclass(frozen=True, slots=True)
class _Leak:
    """A leak: strength (1.0 = a warning), minutes until memory is full, and its trend."""

    strength: float = 0.0
    minutes_left: float = math.inf
    line: Trend | None = None


def _around_line(evidence: Evidence) -> list[list[float]]:
    """Return POST around its own line, as a series that shows the scatter where PRE is thin. Memory has no spikes that
    could hide in it."""
    values, minutes = values_of(evidence.body, METRIC), evidence.body_minutes
    line = trend(values, minutes) if len(evidence.pre) < FEW_FOR_SCATTER else None
    if line is None:
        return []
    return [
        [value - line.end - line.slope * (minute - minutes[-1]) for value, minute in zip(values, minutes, strict=True)]
    ]


def _usual(evidence: Evidence, result: Contrast) -> _Usual:
    values = values_of(evidence.pre, METRIC)
    ordered = sorted(values)
    tenth = len(ordered) // 10
    # A few samples do not show the whole range.
    unseen = UNSEEN * result.spread if len(ordered) < FEW_FOR_RANGE else 0.0
    before = trend(values, evidence.pre_minutes) if len(values) >= FEW_FOR_RANGE else None
    clear = before is not None and before.clear > CLEAR_BEFORE
    # A sawtooth has no trend, but rises most of the time: its ramps are the usual slope.
    gaps = zip(pairwise(values), pairwise(evidence.pre_minutes), strict=True)
    steps = [(b - a) / (u - t) for (a, b), (t, u) in gaps if u - t > _SAME_INSTANT]
    ramp = median(steps) if len(steps) >= FEW_FOR_RANGE else 0.0
    centre = level(values)
    rho = autocorrelation(values, centre, noise(values, centre))
    slope = before.slope if before is not None else 0.0
    flat = [value - slope * minute for value, minute in zip(values, evidence.pre_minutes, strict=True)]
    scatter = min(noise(values, centre), noise(flat, level(flat)))
    return _Usual(
        base=result.base,
        spread=result.spread,
        scatter=scatter,
        known=max(0.0, effective(len(values), rho) - 1.0),
        bottom=ordered[tenth],
        top=ordered[-1 - tenth] + unseen,
        slope=max(ramp, before.slope if before is not None and clear else 0.0),
        lasting=max(1.0, math.sqrt(effective(MANY, PRIOR_AUTOCORRELATION) / effective(MANY, rho))),
    )


def _leak(evidence: Evidence, usual: _Usual) -> _Leak:
    """Return the clearest trend that leaves the PRE range, over the window or its later half."""
    # Warm-up of memory is refilling: without a restart the first samples count as well.
    values, minutes = values_of(evidence.post, METRIC), list(evidence.post_minutes)
    off = max(OFF_LEVEL, 2.5 * usual.spread)
    restarted = min(values[:2]) < usual.base - off
    settling = restarted or values[0] > usual.base + off
    if restarted:
        # A refill is not a leak: counting starts where the old level is reached again.
        above = next((i for i, value in enumerate(values) if value >= usual.base), len(values))
        far_out = values[-1] >= usual.top + FAR_OUT * evidence.lines.leak
        above -= far_out and above > 0
        values, minutes = values[above:], minutes[above:]
        if len(values) < FEW_AFTER_RESTART - far_out:
            return _Leak()
    if len(values) < 3:
        return _Leak()
    half = min(len(values) // 2, max(0, len(values) - 3)) or 1
    later = math.inf
    if settling or len(values) >= ENOUGH_FOR_HALVES:
        # Settling flattens, a leak does not: the trend counts as far as the later half has it.
        later = _slope(values[half:], minutes[half:]) / (1.0 if settling else GOES_ON)
    hinge = 0.0 if settling else _hinge(evidence, values, minutes)
    whole = _leak_strength(values, minutes, usual=usual, lines=evidence.lines, at_most=later, hinge=hinge)
    if settling or len(values) - half < 4:
        return whole
    late = _leak_strength(values[half:], minutes[half:], usual=usual, lines=evidence.lines)
    return max(whole, late, key=lambda leak: leak.strength)


def _hinge(evidence: Evidence, values: Sequence[float], minutes: Sequence[float]) -> float:
    """Return how clear a line is that starts from PRE's level at the deployment, as in Trend.clear."""
    before = values_of(evidence.pre[-MOST_AT_HINGE:], METRIC)
    line = trend([*before, *values], [*[minutes[0]] * len(before), *minutes])
    return line.clear if line is not None else 0.0


def _leak_strength(
    values: Sequence[float],
    minutes: Sequence[float],
    *,
    usual: _Usual,
    lines: Lines,
    at_most: float = math.inf,
    hinge: float = 0.0,
) -> _Leak:
    """Return the strength of a trend. hinge: its clarity if it starts from PRE's level."""
    line = trend(values, minutes, scatter=usual.scatter, known=usual.known)
    if line is None or line.slope <= 0.0 or at_most <= 0.0:
        return _Leak()
    needed = lines.leak * WARNING_SHARE
    clear = line.clear / usual.lasting
    slope = min(line.slope, at_most)
    minutes_left = max(0.0, 1.0 - line.end) / slope
    strength = min(
        (slope - max(0.0, usual.slope)) * line.minutes / max(needed, usual.top - usual.bottom),
        max(clear, min(hinge / usual.lasting, clear / WITH_HINGE)),
        (line.end - usual.base) / (0.8 * needed),
        max(0.0, line.end - usual.top) / (0.3 * needed),
        lines.leak_hours * _MINUTES_PER_HOUR / (WARNING_SHARE * max(1.0, minutes_left)),
        _evenness(values),
    )
    return _Leak(max(0.0, strength), minutes_left, line)


def _slope(values: Sequence[float], minutes: Sequence[float]) -> float:
    """Return the slope per minute of a short series; 0.0 if no time passed."""
    line = trend(values, minutes)
    if line is not None:
        return line.slope
    passed = minutes[-1] - minutes[0]
    return (values[-1] - values[0]) / passed if passed > 0.0 else 0.0


def _evenness(values: Sequence[float]) -> float:
    """Return less than 1.0 if a single jump makes up most of the growth: a step, not a leak."""
    if len(values) < 4:
        return math.inf
    jump = max(b - a for a, b in pairwise(values))
    return STEP_SHARE * (max(values) - min(values)) / jump if jump > 0.0 else math.inf


def _critical(evidence: Evidence, usual: _Usual, leak: _Leak, end: float) -> float:
    """Return the strength for a rollback: memory is full, or soon will be."""
    lines = evidence.lines
    soon = min(leak.strength, lines.full_minutes / (ROLLBACK_SHARE * max(0.5, leak.minutes_left)))
    if usual.base >= lines.memory_full - NEARLY_FULL:
        return soon
    reached = max(end, leak.line.end if leak.line and leak.strength >= 1.0 else 0.0)
    # Full is absolute, but only the deployment's share counts.
    gone = (reached - usual.base) / (ROLLBACK_SHARE * (lines.memory_full - usual.base))
    beyond = (reached - usual.top) / NEARLY_FULL * 3.0
    return max(soon, min(gone, beyond, reached / (lines.memory_full - _ROUNDING)))


def judge_memory(evidence: Evidence) -> Finding | None:
    """Judge leaks, steps and nearly full memory; None without PRE or POST."""
    if not evidence.pre or not evidence.body:
        return None
    if (never := unmeasured(evidence, METRIC)) is not None:
        return never
    lines = evidence.lines
    pre, body, last = (values_of(part, METRIC) for part in (evidence.pre, evidence.body, evidence.last))
    series = Series(
        pre=pre,
        pre_minutes=evidence.pre_minutes,
        body=body,
        body_minutes=evidence.body_minutes,
        last=last,
        history=(*evidence.scatter(lambda samples: values_of(samples, METRIC)), *_around_line(evidence)),
        age=evidence.pre_age / 60.0,
    )
    result = contrast(series, sign=1.0, prior_noise=PRIOR_NOISE, wander=WANDER, knobs=evidence.knobs)
    step = result.strength(lines.memory_step * WARNING_SHARE, STEP_GUARD, evidence.knobs)
    usual = _usual(evidence, result)
    leak = _leak(evidence, usual) if evidence.knobs.memory_trend else _Leak()
    end = level(last)
    critical = _critical(evidence, usual, leak, end)
    strength = max(step, leak.strength, critical)
    leaking = leak.strength >= 1.0 and leak.strength >= step
    observed = max(level(body), end) if strength >= 1.0 else level(body)
    nearer = result.base + WARNING_SHARE * (lines.leak if leaking else lines.memory_step)
    limit = lines.memory_full if critical >= 1.0 else nearer
    over = sum(value > limit for value in body)
    share = over / len(body)
    line = with_reason(
        thresholds.memory(lines.deciding(), strength, critical),
        result,
        required=lines.memory_step * WARNING_SHARE,
        guard=STEP_GUARD,
        share=share,
        passed=strength < 1.0,
    )
    check = Check(
        metric=METRIC,
        rule="memory_full" if critical >= 1.0 else "memory_leak" if leaking else "memory_step",
        outcome=outcome(strength, critical),
        code="memory_went" if strength < 1.0 else "memory_keeps_rising" if leaking else "memory_rose",
        params={
            "minutes_left": leak.minutes_left if leaking else None,
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
            "samples": len(body),
            "slope_per_minute": round(leak.line.slope, 6) if leak.line else None,
            "minutes_until_full": round(leak.minutes_left, 1) if math.isfinite(leak.minutes_left) else None,
            "pre_top": round(usual.top, 4),
        },
    )
    return Finding(check, strength, critical, suspicion=result.plain / lines.memory_step)
