"""Judge memory_usage: leaks (a trend that leaves the PRE range, not a refill after a restart) and steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.judge.adaptive import thresholds
from analysis.judge.adaptive.evidence import Evidence, Finding, outcome
from analysis.judge.adaptive.levels import Contrast, Series, contrast, level, median
from analysis.judge.adaptive.lines import ROLLBACK_SHARE, WARNING_SHARE, Lines
from analysis.judge.types import Check

PRIOR_NOISE = 0.012

# Least slope of a trend, in standard errors.
TREND_GUARD = 2.5
_MINUTES_PER_HOUR = 60.0

# A leak starts from the PRE level. Where the first samples are this far (or 2.5 standard deviations) off it, the
# process was restarted or needs more memory at once: it is settling, and a trend must go on to be believed; after a
# restart it needs this many samples at and above the old level.
OFF_LEVEL = 0.006
FEW_AFTER_RESTART = 4
# One sample less will do where it has already left the range by twice the line of a leak: no refill goes that far.
FAR_OUT = 2.0
FEW_FOR_RANGE = 5

# From this many samples on the later half is checked separately; a noisy leak may show this share of its slope there.
ENOUGH_FOR_HALVES = 7
GOES_ON = 0.7

# A service that always runs this near to full was not filled by the deployment.
NEARLY_FULL = 0.03
_ROUNDING = 0.004
_SAME_INSTANT = 0.01

# Growth is a step if a single jump makes up this much of it.
STEP_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Trend:
    """A fitted line: slope per minute and its standard error, value at the end, residual noise."""

    slope: float
    slope_error: float
    end: float
    residual: float
    minutes: float


def trend(values: Sequence[float], minutes: Sequence[float]) -> Trend | None:
    """Fit a line by least squares; None for fewer than three samples or no time between them."""
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
    # Assume some noise: three or four samples may lie on a line by chance.
    residual = math.sqrt((squares + 2.0 * 0.003**2) / count)
    return Trend(
        slope=slope,
        slope_error=residual / math.sqrt(power),
        end=centre_v + slope * (minutes[-1] - centre_t),
        residual=residual,
        minutes=minutes[-1] - minutes[0],
    )


@dataclass(frozen=True, slots=True)
class _Usual:
    """PRE: level, standard deviation, bounds of its usual range, trend per minute."""

    base: float
    spread: float
    bottom: float
    top: float
    slope: float


@dataclass(frozen=True, slots=True)
class _Leak:
    """A leak: strength (1.0 = a warning), minutes until memory is full, and its trend."""

    strength: float = 0.0
    minutes_left: float = math.inf
    line: Trend | None = None


def _usual(evidence: Evidence, result: Contrast) -> _Usual:
    values = [s.memory_usage for s in evidence.pre]
    ordered = sorted(values)
    tenth = len(ordered) // 10
    # A few samples do not show the whole range.
    unseen = result.spread if len(ordered) < FEW_FOR_RANGE else 0.0
    before = trend(values, evidence.pre_minutes) if len(values) >= FEW_FOR_RANGE else None
    clear = before is not None and before.slope > 2.0 * before.slope_error
    # A sawtooth has no trend, but rises most of the time: its ramps are the usual slope.
    gaps = zip(pairwise(values), pairwise(evidence.pre_minutes), strict=True)
    steps = [(b - a) / (u - t) for (a, b), (t, u) in gaps if u - t > _SAME_INSTANT]
    ramp = median(steps) if len(steps) >= FEW_FOR_RANGE else 0.0
    return _Usual(
        base=result.base,
        spread=result.spread,
        bottom=ordered[tenth],
        top=ordered[-1 - tenth] + unseen,
        slope=max(ramp, before.slope if before is not None and clear else 0.0),
    )


def _leak(evidence: Evidence, usual: _Usual) -> _Leak:
    """Return the clearest trend that leaves the PRE range, over the window or its later half."""
    # Warm-up of memory is refilling: without a restart the first samples count as well.
    values, minutes = [s.memory_usage for s in evidence.post], list(evidence.post_minutes)
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
    whole = _leak_strength(values, minutes, usual=usual, lines=evidence.lines, at_most=later)
    if settling or len(values) - half < 4:
        return whole
    late = _leak_strength(values[half:], minutes[half:], usual=usual, lines=evidence.lines)
    return max(whole, late, key=lambda leak: leak.strength)


def _leak_strength(
    values: Sequence[float], minutes: Sequence[float], *, usual: _Usual, lines: Lines, at_most: float = math.inf
) -> _Leak:
    line = trend(values, minutes)
    if line is None or line.slope <= 0.0 or at_most <= 0.0:
        return _Leak()
    needed = lines.leak * WARNING_SHARE
    slope = min(line.slope, at_most)
    minutes_left = max(0.0, 1.0 - line.end) / slope
    strength = min(
        (slope - max(0.0, usual.slope)) * line.minutes / max(needed, usual.top - usual.bottom),
        line.slope / (TREND_GUARD * line.slope_error + 1e-9),
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
    lines = evidence.lines
    pre, body, last = ([s.memory_usage for s in part] for part in (evidence.pre, evidence.body, evidence.last))
    series = Series(pre, evidence.pre_minutes, body, evidence.body_minutes, last)
    result = contrast(series, sign=1.0, prior_noise=PRIOR_NOISE, knobs=evidence.knobs)
    step = result.strength(lines.memory_step * WARNING_SHARE, evidence.guard, evidence.knobs)
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
    check = Check(
        metric="memory_usage",
        rule="memory_full" if critical >= 1.0 else "memory_leak" if leaking else "memory_step",
        outcome=outcome(strength, critical),
        code="memory_went" if strength < 1.0 else "memory_keeps_rising" if leaking else "memory_rose",
        params={
            "minutes_left": leak.minutes_left if leaking else None,
            "line": thresholds.memory(lines.deciding(), strength, critical),
        },
        observed=observed,
        baseline=result.base,
        spread=result.spread,
        limit=limit,
        share=over / len(body),
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
