"""What the same minutes of earlier days, and PRE's own course, let one expect of a level after the deployment.

All changes are logarithms: -0.69 is half, 0.0 no change.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.judge.adaptive.levels import effective, level, median, noise
from analysis.judge.types import EarlierDay

# Usual scatter of a change between two times of day from one day to the next, worth this many days.
DAY_SCATTER = 0.1
DAY_SCATTER_WEIGHT = 2.0
INCIDENT = 3.0

# Usual slope of a level over the day: 16 % an hour. So far a level without a known slope may have moved.
USUAL_SLOPE = 0.16 / 60.0
# A slope does not last: after this time nothing is known of it.
SLOPE_LASTS_MINUTES = 180.0
# A level is forgotten over this time.
MEMORY_MINUTES = 60.0
MOST_UNCERTAIN = 0.8
MOST_CHANGE = 3.0

MIN_FOR_SLOPE = 6
# Values this many standard deviations off a line count as that far (Huber).
CLIP = 2.0


@dataclass(frozen=True, slots=True)
class Shift:
    """An expected change of a level, with its standard error."""

    change: float = 0.0
    error: float = 0.0

    @property
    def clear(self) -> float:
        """Return the size of the change beyond its error; 0.0 if it may be none."""
        return math.sqrt(max(0.0, self.change**2 - self.error**2))


def combined(*shifts: Shift | None) -> Shift:
    """Return the mean of several expectations, weighted by their precision; no change without any."""
    known = [shift for shift in shifts if shift is not None]
    exact = [shift for shift in known if shift.error <= 0.0]
    if exact or not known:
        return exact[0] if exact else Shift()
    weights = [shift.error**-2 for shift in known]
    total = math.fsum(weights)
    change = math.fsum(weight * shift.change for weight, shift in zip(weights, known, strict=True)) / total
    return Shift(change, total**-0.5)


def of_earlier_days(days: Sequence[EarlierDay], metric: str) -> Shift | None:
    """Return the change from PRE's minutes to POST's minutes that earlier days predict; None if they predict none.

    Its error is that of a single day around their level, divided by their skill: the share of the squared change that
    they would have predicted of each other. Days that disagree have none.
    """
    changes = [
        math.log(day.after[metric]) - math.log(day.before[metric])
        for day in days
        if day.before.get(metric, 0.0) > 0.0 and day.after.get(metric, 0.0) > 0.0
    ]
    if not changes:
        return None
    count, change = len(changes), level(changes)
    # A day with an incident is no other day: it counts as far off, not as how far.
    reach = INCIDENT * max(DAY_SCATTER, median([abs(one - change) for one in changes]))
    usual = [max(change - reach, min(change + reach, one)) for one in changes]
    weight = count - 1.0 + DAY_SCATTER_WEIGHT
    scatter = ((count - 1.0) * noise(usual, change) ** 2 + DAY_SCATTER_WEIGHT * DAY_SCATTER**2) / weight
    variance = scatter * (1.0 + 1.0 / count)
    skill = 1.0 - variance / (change * change + scatter)
    return Shift(change, math.sqrt(variance / skill)) if skill > 0.0 else None


def usual_rise(days: Sequence[EarlierDay], metric: str, *, per_load: float) -> Shift:
    """Return how much a metric rises at this hour beyond what traffic explains; none if days predict no rise.

    per_load: how the metric follows traffic (exponent).
    """
    own, traffic = of_earlier_days(days, metric), of_earlier_days(days, "requests_per_sec")
    if own is None:
        return Shift()
    change = own.change - per_load * max(0.0, traffic.change if traffic is not None else 0.0)
    return Shift(change, own.error) if change > 0.0 else Shift()


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through a series.

    level: at `centre` (minutes); slope: per minute, with its standard error; count: samples that the level rests on.
    """

    level: float
    centre: float
    slope: float
    slope_error: float
    count: float

    def at(self, minute: float) -> float:
        return self.level + self.slope * (minute - self.centre)


def line_through(values: Sequence[float], minutes: Sequence[float], *, spread: float, rho: float) -> Line:
    """Fit a line robustly (Huber): values further than two standard deviations from it count as two.

    The latest values count most: after MEMORY_MINUTES a third. spread: least standard deviation of single values; rho:
    their lag-1 autocorrelation. Without at least six values at different times the slope is 0, its error infinite.
    """
    latest = max(minutes)
    weights = [math.exp((minute - latest) / MEMORY_MINUTES) for minute in minutes]
    total = math.fsum(weights)
    count = total * total / math.fsum(weight * weight for weight in weights)
    centre = math.fsum(weight * minute for weight, minute in zip(weights, minutes, strict=True)) / total
    away = [minute - centre for minute in minutes]
    pull = [weight * far for weight, far in zip(weights, away, strict=True)]
    power = math.fsum(one * far for one, far in zip(pull, away, strict=True))
    sloping = len(values) >= MIN_FOR_SLOPE and power > 0.0
    middle, slope = level(values), 0.0
    rest: list[float] = []
    for _ in range(4):
        rest = [value - middle - slope * far for value, far in zip(values, away, strict=True)]
        reach = CLIP * max(spread, noise(rest, level(rest)))
        clipped = [max(-reach, min(reach, one)) for one in rest]
        middle += math.fsum(weight * one for weight, one in zip(weights, clipped, strict=True)) / total
        if sloping:
            slope += math.fsum(one * by for one, by in zip(clipped, pull, strict=True)) / power
    if not sloping:
        return Line(middle, centre, 0.0, math.inf, count)
    scatter = max(spread, noise(rest, 0.0)) * math.sqrt(len(values) / effective(len(values), rho))
    return Line(middle, centre, slope, scatter * math.sqrt(math.fsum(one * one for one in pull)) / power, count)


def course(slope: float, slope_error: float, ahead: float, *, usual: float = USUAL_SLOPE) -> Shift:
    """Return the change over `ahead` minutes of a level that goes on with its slope (per minute).

    Slopes are around 0 by `usual`, or by as much as this one shows (empirical Bayes), so a clear slope counts in full
    and an unclear one hardly. The error grows with time: a slope is not known exactly, and does not last.
    """
    ahead = max(0.0, ahead)
    fades = usual * min(1.0, ahead / SLOPE_LASTS_MINUTES)
    if not math.isfinite(slope_error):
        return Shift(0.0, min(MOST_UNCERTAIN, usual * ahead))
    prior = max(usual**2, slope**2 - slope_error**2)
    kept = prior / (prior + slope_error**2)
    error = math.sqrt(max(kept * slope_error**2, fades**2)) * ahead
    return Shift(max(-MOST_CHANGE, min(MOST_CHANGE, kept * slope * ahead)), min(MOST_UNCERTAIN, error))
