"""Robust levels of short series, and the contrast of two of them.

All functions are pure and take plain lists of floats. A series here has 1 to some 60 values, so clarity and a bounded
cost matter more than asymptotics.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.judge.adaptive.knobs import ALL_ON, Knobs

# Prior of the lag-1 autocorrelation for short series: metrics scraped once a minute commonly have 0.2 to 0.5. Its
# weight is this many samples.
PRIOR_AUTOCORRELATION = 0.3
PRIOR_AUTOCORRELATION_WEIGHT = 8.0
MAX_AUTOCORRELATION = 0.85

# Weight of a metric's prior noise, in samples.
PRIOR_NOISE_WEIGHT = 4.0

# An effect that comes and goes: so many samples at least, each this much beyond the threshold and the scatter.
FEWEST_RECURRING = 4
CLEAR = 1.5
CLEAR_ERRORS = 3.0

# An older PRE sample weighs less: half after this many minutes.
HALF_LIFE = 120.0
# A level wanders around a usual one: after this time it is no further away.
WANDERS_MINUTES = 360.0

MIN_FOR_DRIFT = 8

# An effect that loses a quarter from sample to sample is fading; half with two samples only.
FADES = 0.75
FADES_AT_ONCE = 0.5
GONE = 0.5
# A blip on top of an earlier effect excuses nothing; the earlier effect needs this share of a finding.
STOOD = 0.75


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean; ZeroDivisionError if empty. Unlike sum()/len() it cannot overflow on huge values."""
    count = len(values)
    return math.fsum(value / count for value in values)


def median(values: Sequence[float]) -> float:
    """Return the middle value (mean of the two middle ones); IndexError if empty."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return ordered[half - 1] * 0.5 + ordered[half] * 0.5


def level(values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Return a robust level: the mean without the outer fifth on each side (median up to four values).

    Nearly as efficient as the mean on normal noise, and insensitive to single outliers (Tukey). weights: of the values
    that remain; all the same if None.
    """
    count = len(values)
    if count <= 4:
        return median(values)
    cut = max(1, count // 5)
    if weights is None:
        return mean(sorted(values)[cut : count - cut])
    kept = sorted(zip(values, weights, strict=True))[cut : count - cut]
    whole = math.fsum(weight for _, weight in kept)
    return math.fsum(value * (weight / whole) for value, weight in kept)


def noise(values: Sequence[float], centre: float) -> float:
    """Return the standard deviation around `centre` without the most distant tenth; 0.0 for fewer than two values.

    From the mean absolute deviation: unlike the median one it does not collapse to zero on quantised series.
    """
    count = len(values)
    if count < 2:
        return 0.0
    deviations = sorted(abs(value - centre) for value in values)
    kept = deviations[: count - count // 10] if count >= 10 else deviations
    # 1.2533: ratio of standard to mean absolute deviation of a normal; the trimmed tenth takes about a fifth off it.
    factor = 1.5 if count >= 10 else 1.2533 * math.sqrt(count / (count - 1))
    return factor * mean(kept)


def step_noise(values: Sequence[float]) -> float:
    """Return the standard deviation from successive differences, which a level shift hardly affects."""
    if len(values) < 3:
        return 0.0
    steps = sorted(abs(after - before) for before, after in pairwise(values))
    kept = steps[:-1] if len(steps) >= 4 else steps
    return 1.2533 * mean(kept) / math.sqrt(2) * (1.15 if len(steps) >= 4 else 1.0)


def autocorrelation(values: Sequence[float], centre: float, spread: float) -> float:
    """Return the lag-1 autocorrelation, 0..MAX_AUTOCORRELATION, shrunk towards the prior for short series."""
    count = len(values)
    if count < 10 or spread <= 0.0:
        return PRIOR_AUTOCORRELATION
    reach = 2.5 * spread
    clipped = [max(-reach, min(reach, value - centre)) for value in values]
    power = math.fsum(value * value for value in clipped)
    if power <= 0.0:
        return PRIOR_AUTOCORRELATION
    lagged = math.fsum(a * b for a, b in pairwise(clipped))
    raw = lagged / power + 1.0 / count  # the estimate is biased low by about 1/n
    pulled = (count * raw + PRIOR_AUTOCORRELATION_WEIGHT * PRIOR_AUTOCORRELATION) / (
        count + PRIOR_AUTOCORRELATION_WEIGHT
    )
    return max(0.0, min(MAX_AUTOCORRELATION, pulled))


def effective(count: float, rho: float) -> float:
    """Return the effective number of independent samples; at least one."""
    return max(1.0, count * (1.0 - rho) / (1.0 + rho))


@dataclass(frozen=True, slots=True)
class Contrast:
    """POST against PRE on one (possibly transformed) scale; positive effects are the bad direction.

    base: the expected level, spread: standard deviation of single PRE values; whole and last: effect over the window
    (without warm-up) and over its last part; *_without_worst: the same without the worst sample(s); *_error: standard
    error of these effects; effects: of the single samples; plain: mean effect.
    """

    base: float
    spread: float
    drift: float
    whole: float
    whole_without_worst: float
    whole_error: float
    last: float
    last_without_worst: float
    last_error: float
    effects: tuple[float, ...] = ()
    plain: float = 0.0

    def strength(self, required: float, guard: float, knobs: Knobs = ALL_ON) -> float:
        """Return the sustained effect as a multiple of the required one; from 1.0 on it is a finding.

        Required is the practical margin or `guard` standard errors, whichever is more. The effect must hold over the
        whole window, also without its worst sample, and not have disappeared; or hold in the last part.
        """
        if not knobs.practical_margin:
            required = 1e-9
        if not knobs.noise_guard:
            guard = 0.0
        need = max(required, guard * self.whole_error)
        whole = self.whole / need
        if knobs.robust:
            whole = min(whole, self.whole_without_worst / (0.75 * need))
        if knobs.last_part:
            whole = min(whole, self.last / (0.6 * need))
            need = max(required, (guard + 0.5) * self.last_error)
            last = self.last / need
            if knobs.robust:
                last = min(last, self.last_without_worst / (0.75 * need))
            whole = max(whole, last)
        if knobs.robust:
            whole = min(whole, dying_away(self.effects, max(required, guard * self.whole_error)))
        return whole

    def recurring(self, required: float) -> float:
        """Return the effect that half of the samples have, where it comes and goes; as a multiple of a clear one.

        A blip is one run of samples; an effect that returns and takes half of the window is none. 0.0 for less.
        """
        half = (len(self.effects) + 1) // 2
        if len(self.effects) < FEWEST_RECURRING:
            return 0.0
        least = sorted(self.effects, reverse=True)[half - 1]
        need = max(CLEAR * required, CLEAR_ERRORS * self.spread)
        over = [effect >= min(least, need) for effect in self.effects]
        runs = sum(now and not before for before, now in pairwise([False, *over]))
        return least / need if runs >= 2 else 0.0

    @property
    def sustained(self) -> float:
        """Return the effect to show: of the whole window, or of its last part if that is the problem."""
        return max(self.whole, self.last) if self.last > 0 else self.whole


def dying_away(effects: Sequence[float], need: float) -> float:
    """Return the rest of a fading effect as a multiple of `need`; infinity if it does not fade.

    At the end at least three samples, the first well above what a finding takes, each at most three quarters of the
    one before (or two, with less than half), and nothing that was there before: a cold start, or a blip seen through a
    sliding window. The next value of such a series is what counts. Samples without an effect may follow.
    """
    rest = math.inf
    for end in range(len(effects), 1, -1):
        rest = min(rest, _rest(effects[:end], need))
        if effects[end - 1] >= GONE * need:
            break
    return rest


def _rest(effects: Sequence[float], need: float) -> float:
    tail = list(effects[-1:])
    while len(tail) < len(effects) and tail[0] <= FADES * effects[-len(tail) - 1]:
        tail.insert(0, effects[-len(tail) - 1])
    if len(tail) < 2 or tail[0] < 2.0 * need or (len(tail) == 2 and tail[1] > FADES_AT_ONCE * tail[0]):
        return math.inf
    before = effects[: len(effects) - len(tail)]
    if before and max(level(before), median(before[-3:])) >= STOOD * need:
        return math.inf
    latest = max(0.0, tail[-1])
    return latest * latest / tail[-2] / need if latest > 0.0 else 0.0


def recent_shift(values: Sequence[float], base: float, spread: float, rho: float) -> float:
    """Return the shift of the latest quarter of a series from its level, if clearly not noise, else 0.0.

    A change before the deployment is not its effect.
    """
    count = len(values)
    if count < MIN_FOR_DRIFT:
        return 0.0
    recent = values[count - max(5, count // 4) :]
    difference = median(recent) - base
    error = 1.25 * spread / math.sqrt(effective(len(recent), rho))
    return difference if abs(difference) > 1.5 * error else 0.0


def without_worst(values: Sequence[float], share: float = 0.2) -> list[float]:
    """Return the values without their largest `share` (at least one, but never all)."""
    ordered = sorted(values)
    cut = max(1, int(len(ordered) * share))
    return ordered[: max(1, len(ordered) - cut)]


@dataclass(frozen=True, slots=True)
class Series:
    """One metric on its scale of comparison: PRE, POST without warm-up (body), last part of body; none empty.

    history: values of earlier deployments, one group each, to see the usual scatter; age: real minutes between PRE and
    POST; rise: how much the metric usually rises at this hour, with its standard error.
    """

    pre: Sequence[float]
    pre_minutes: Sequence[float]
    body: Sequence[float]
    body_minutes: Sequence[float]
    last: Sequence[float]
    history: Sequence[Sequence[float]] = ()
    age: float = 0.0
    rise: float = 0.0
    rise_error: float = 0.0


def drift_shift(series: Series, *, at: float, spread: float, rho: float) -> float:
    """Return the shift of PRE's level by its own trend until minute `at`; 0.0 without a clear trend.

    The trend is the difference of the levels of the two halves, shrunk by how clear it is, and followed for no longer
    than the series itself lasted.
    """
    values, minutes = series.pre, series.pre_minutes
    count = len(values)
    if count < MIN_FOR_DRIFT:
        return 0.0
    half = count // 2
    early, late = values[:half], values[count - half :]
    centre_early, centre_late = mean(minutes[:half]), mean(minutes[count - half :])
    span = centre_late - centre_early
    if span <= 0.0:
        return 0.0
    difference = level(late) - level(early)
    error = spread * math.sqrt(2.0 / effective(half, rho))
    if abs(difference) <= 1.5 * error:
        return 0.0
    shrink = 1.0 - (1.5 * error / difference) ** 2
    ahead = max(0.0, min(at - (centre_early + centre_late) / 2.0, 2.0 * span))
    return shrink * difference * ahead / span


def _spread(series: Series, base: float, prior_noise: float) -> float:
    """Return the standard deviation of PRE and of earlier deployments, shrunk towards the prior.

    POST has no part in it: an effect that comes and goes would count as noise and hide itself.
    """
    own, count = noise(series.pre, base), len(series.pre)
    variance = (count - 1.0) * own * own + PRIOR_NOISE_WEIGHT * prior_noise * prior_noise
    weight = count - 1.0 + PRIOR_NOISE_WEIGHT
    for group in filter(None, series.history):
        usual = noise(group, level(group))
        variance += (len(group) - 1.0) * usual * usual
        weight += len(group) - 1.0
    return math.sqrt(variance / weight)


def _weights(minutes: Sequence[float]) -> list[float]:
    """Return the weight of each PRE sample by its age relative to the newest."""
    return [0.5 ** ((minutes[-1] - minute) / HALF_LIFE) for minute in minutes]


def contrast(
    series: Series, *, sign: float, prior_noise: float, wander: float = 0.0, knobs: Knobs = ALL_ON
) -> Contrast:
    """Compare POST with PRE.

    sign: +1 where more is worse, -1 where less is worse; prior_noise: usual standard deviation of single values of this
    metric on this scale; wander: how far its level wanders by itself in a minute (standard deviation; that of a random
    walk grows with the square root of the time), so that an old PRE says less.
    """
    weights = _weights(series.pre_minutes)
    base = level(series.pre, weights) if knobs.robust else mean(series.pre)
    centre = level if knobs.robust else mean
    spread = _spread(series, base, prior_noise)
    rho = autocorrelation(series.pre, base, spread)
    shift = 0.0
    if knobs.follow_drift:
        shift = drift_shift(series, at=mean(series.body_minutes), spread=spread, rho=rho)
        # A trend that would worsen the finding counts only half: swings reverse.
        shift = shift if sign * shift > 0 else 0.5 * shift
        shift = sign * max(sign * shift, sign * recent_shift(series.pre, base, spread, rho))
    error_of_shift = 0.0
    if knobs.follow_drift and series.rise > sign * shift:
        shift, error_of_shift = sign * series.rise, series.rise_error
    expected = base + shift
    excess = [sign * (value - expected) for value in series.body]
    last = [sign * (value - expected) for value in series.last]
    pre_count = math.fsum(weights) ** 2 / math.fsum(weight * weight for weight in weights)
    wandered = wander * wander * min(series.age, WANDERS_MINUTES) + error_of_shift**2

    def error(count: int) -> float:
        sampling = 1.0 / effective(pre_count, rho) + 1.0 / effective(count, rho)
        return math.sqrt((1.1 * spread) ** 2 * sampling + wandered)

    return Contrast(
        base=expected,
        spread=spread,
        drift=shift,
        whole=centre(excess),
        whole_without_worst=centre(without_worst(excess)),
        whole_error=error(len(excess)),
        last=centre(last),
        last_without_worst=centre(without_worst(last)),
        last_error=error(len(last)),
        effects=tuple(excess),
        plain=mean(excess),
    )
