"""Compare with a control group: instances of the old version that were measured at the same instants.

What the control did since the deployment would have happened to the treatment as well: the time of day, a campaign, a
dependency that fails. It is taken out of the treatment's samples before any rule sees them (difference of differences).
Levels move by factors, shares by differences. A canary without samples of its own from before is compared with the
control at the same instants.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from analysis.judge.adaptive.levels import level, median
from analysis.judge.shares import at_share, scaled, shared_metrics, traffic_factor
from analysis.judge.types import METRICS, Check, QualityIssue, Sample, Window, values_of
from explain.facts import Fact
from projects.policy import Policy

SHARES = ("error_rate", "cpu_usage", "memory_usage")
# The control's course is the median of so many of its samples around an instant: its own scatter is not its course.
SMOOTHED = 5
# Fewer of them after the deployment show no course; before, a single one is a level, though not a sure one.
FEWEST = 3
# A course is one where it leaves its own scatter by so many standard errors. Of normal scatter: the median step between
# neighbours in standard deviations, and the variance of a median beside that of a mean.
SURE = 2.5
STEP_OF_SD = 0.954
MEDIAN_OF_MEAN = 1.57
# No course goes further: beyond it the control is broken itself.
MOST_FACTOR = 20.0


@dataclass(frozen=True, slots=True)
class Controlled:
    """The samples to judge. how: "" without a control group, "course" where its course was taken out, "instead" where
    it stands for samples from before."""

    pre: Sequence[Sample]
    post: Sequence[Sample]
    window: Window
    how: str = ""


def controlled(pre: Sequence[Sample], post: Sequence[Sample], policy: Policy, window: Window) -> Controlled:
    """Return the samples as they would be if the control group had not changed."""
    before, after = window.control_before, window.control_after
    if not post or not (window.has_control or after):
        return Controlled(pre, post, window)
    # The control group knows the hour better than earlier days do.
    plain = replace(window, earlier_days=())
    fresh = any(sample.origin != "history" for sample in pre)
    if not fresh and len(after) >= min(FEWEST, len(post)):
        return Controlled(_instead(after, post, window, policy), post, plain, "instead")
    # The rollout moves traffic from one group to the other, and with it what the traffic brings.
    pre = at_share(pre, post, traffic_factor(pre, post), policy, requests=False)
    if not fresh or not before or len(after) < FEWEST:
        return Controlled(pre, post, window)
    before = tuple(at_share(before, after, traffic_factor(before, after), policy, requests=False))
    shares = (*SHARES, *(metric.name for metric in policy.custom_metrics if metric.kind == "ratio"))
    names = {*METRICS, *(name for sample in post for name in sample.custom)}
    courses = {name: _Course.of(name, before, after, name in shares) for name in names}
    moved = {name: course for name, course in courses.items() if course is not None and course.shows(post)}
    # From both sides: what the control group scatters widens the spread of PRE, and what hits both narrows it.
    earlier = [sample if sample.origin == "history" else _without(sample, moved) for sample in pre]
    return Controlled(earlier, _settled(post, earlier, moved, after), plain, "course")


def with_levels(
    checks: Sequence[Check], window: Window, measured: Sequence[Sample], judged: Sequence[Sample]
) -> tuple[Check, ...]:
    """Return the checks with the levels of the control group, where it has them, and with what was measured of the
    treatment where the control's course was taken out of it. measured, judged: the same samples with and without."""
    since = min((sample.collected_at for sample in judged), default=None)
    body = [sample for sample in measured if since is not None and sample.collected_at >= since]
    sides = {"control_before": window.control_before, "control_after": window.control_after}

    def levels(metric: str) -> dict[str, float]:
        known = {name: values_of(samples, metric) for name, samples in sides.items()}
        values = values_of(body, metric)
        if sorted(values) != sorted(values_of(judged, metric)):
            known["measured"] = values
        return {name: level(values) for name, values in known.items() if values}

    return tuple(replace(check, details={**check.details, **levels(check.metric)}) for check in checks)


def issues(window: Window, *, used: bool) -> list[QualityIssue]:
    """Return what is to be told of the deployment's control group: that it could not be compared with, or why it gave
    less than it could."""
    if not window.has_control or not window.final:
        return []
    counts = {"before": len(window.control_before), "after": len(window.control_after)}
    problem = window.control_problem
    if problem is None:
        return [] if used else [QualityIssue("control_unused", Fact("quality.control_unused", counts), 0.0)]
    code, text = ("control_gaps", "control_gaps") if used else ("control_unused", "control_failed")
    return [QualityIssue(code, Fact(f"quality.{text}", {**counts, "problem": problem}), 0.0)]


def _instead(control: Sequence[Sample], post: Sequence[Sample], window: Window, policy: Policy) -> list[Sample]:
    """Return the control's samples as if they were from before, at the traffic of the treatment.

    How much traffic each group gets is decided by the rollout, and shows nothing.
    """
    first, last = min(sample.collected_at for sample in post), max(sample.collected_at for sample in control)
    ends = min(time for time in (first, window.finished_at, window.started_at) if time is not None)
    shift = last - ends + timedelta(seconds=window.interval_s)
    factors = dict.fromkeys(("requests_per_sec", *shared_metrics(policy)), traffic_factor(control, post))
    return [
        replace(scaled(sample, factors), collected_at=sample.collected_at - shift, origin="pre") for sample in control
    ]


# Known values of a metric, each with its time in seconds.
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Course:
    """How a metric of the control group moved.

    base: its level before, base_error: standard error of that; sd: its scatter from one sample to the next, added_sd:
    what it scatters more after than before; both as a share of the level unless by_difference. share: it is one, 0..1.
    """

    name: str
    base: float
    base_error: float
    sd: float
    added_sd: float
    by_difference: bool
    share: bool
    before: Points
    after: Points

    @classmethod
    def of(cls, name: str, before: Sequence[Sample], after: Sequence[Sample], share: bool) -> "_Course | None":
        points = _points(before, name), _points(after, name)
        values = [[value for _, value in side] for side in points]
        if not values[0] or len(values[1]) < FEWEST:
            return None
        base = level(values[0])
        by_difference = share or base <= 0.0
        steps = [[_step(one, other, by_difference) for one, other in pairwise(side)] for side in values]
        calm, troubled = (median(side) / STEP_OF_SD if side else 0.0 for side in steps)
        sd, added = median([*steps[0], *steps[1]]) / STEP_OF_SD, math.sqrt(max(0.0, troubled**2 - calm**2))
        # Of one or two shares before, whose own scatter is unknown: they scatter as their level.
        least = base / max(base, level(values[1])) if share and base > 0.0 and len(values[0]) < FEWEST else 1.0
        error = sd * least / math.sqrt(len(values[0]))
        return cls(name, base, error, sd, added, by_difference, share, *points)

    def shows(self, post: Sequence[Sample]) -> bool:
        """Return whether it moved by more than its own scatter explains: else there is nothing to take out."""
        error = math.hypot(self.base_error, self.sd * math.sqrt(MEDIAN_OF_MEAN / min(SMOOTHED, len(self.after))))
        levels = (_around(sample.collected_at.timestamp(), self.after) for sample in post)
        return any(_step(one, self.base, self.by_difference) > SURE * error for one in levels)

    def without(self, at: float, value: float, points: Points) -> float:
        """Return a value of the treatment as it would be, had the control group not moved."""
        course = _around(at, points)
        if self.by_difference:
            return value - (course - self.base)
        return value / _factor(course / self.base)

    def settled(self, values: Sequence[float], usual: float, fewer: float) -> list[float]:
        """Return values without the control's course as they differ from the usual level by more than added scatter.

        fewer: how much more the treatment scatters than the control, by their traffic.
        """
        steps = [_step(one, other, self.by_difference) for one, other in pairwise(values)]
        own = min(self.added_sd * fewer, median(steps) / STEP_OF_SD if steps else 0.0)
        scatter = math.hypot(own, self.added_sd * math.sqrt(MEDIAN_OF_MEAN / min(SMOOTHED, len(self.after))))
        if self.by_difference or usual <= 0.0:
            return [self.possible(usual + _beyond(value - usual, scatter)) for value in values]
        # Neither the ratio of two values nor its inverse needs to be a number that is not 0; what lies between them is.
        base = math.log(usual)
        logs = [math.log(value) if value > 0.0 else -math.inf for value in values]
        return [math.exp(base + _beyond(one - base, scatter)) for one in logs]

    def possible(self, value: float) -> float:
        """Return the nearest value that the metric can have."""
        lowest, highest = (0.0 if self.name in METRICS or self.share else -math.inf), 1.0 if self.share else math.inf
        return max(lowest, min(highest, value))


def _step(one: float, other: float, by_difference: bool) -> float:
    """Return how far apart two values are: their difference, else the logarithm of their ratio."""
    if by_difference or min(one, other) <= 0.0:
        return abs(one - other) if by_difference else (0.0 if one == other else math.log(MOST_FACTOR))
    return abs(math.log(one) - math.log(other))


def _beyond(change: float, scatter: float) -> float:
    return math.copysign(max(0.0, abs(change) - scatter), change)


def _factor(ratio: float) -> float:
    return max(1.0 / MOST_FACTOR, min(MOST_FACTOR, ratio)) if math.isfinite(ratio) else 1.0


def _points(samples: Sequence[Sample], name: str) -> Points:
    return [(sample.collected_at.timestamp(), value) for sample in samples for value in values_of([sample], name)]


def _around(at: float, points: Points) -> float:
    """Return the control group's value around a time."""
    return median([value for _, value in sorted(points, key=lambda point: abs(point[0] - at))[:SMOOTHED]])


def _without(sample: Sample, courses: Mapping[str, _Course]) -> Sample:
    """Return a sample from before without the course of the control group."""
    moved = {
        name: course.possible(course.without(at, value, course.before))
        for name, course in courses.items()
        for at, value in _points([sample], name)
    }
    return _with(sample, moved)


def _settled(
    post: Sequence[Sample], pre: Sequence[Sample], courses: Mapping[str, _Course], control: Sequence[Sample]
) -> list[Sample]:
    """Return the samples without the course of the control group, and without what scatter explains: what is in trouble
    scatters more than before."""
    fewer = math.sqrt(max(1.0, traffic_factor(post, control)))
    moved: list[dict[str, float]] = [{} for _ in post]
    for name, course in courses.items():
        places = [place for place, sample in enumerate(post) if values_of([sample], name)]
        values = [course.without(at, value, course.after) for at, value in _points(post, name)]
        before = values_of(pre, name)
        settled = course.settled(values, level(before) if before else course.base, fewer)
        for place, value in zip(places, settled, strict=True):
            moved[place][name] = value
    return [_with(sample, values) for sample, values in zip(post, moved, strict=True)]


def _with(sample: Sample, values: Mapping[str, float]) -> Sample:
    own: dict[str, Any] = {name: value for name, value in values.items() if name in METRICS}
    return replace(sample, **own, custom={**sample.custom, **{n: v for n, v in values.items() if n not in METRICS}})
