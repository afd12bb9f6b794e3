"""Compare with a control group: instances of the old version that were measured at the same instants.

What the control did since the deployment would have happened to the treatment as well: the time of day, a campaign, a
dependency that fails. It is taken out of the treatment's samples before any rule sees them (difference of differences).
Levels move by factors, shares by differences. A canary without samples of its own from before is compared with the
control at the same instants.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from analysis.judge.adaptive.levels import level, mean, median
from analysis.judge.types import METRICS, Sample, Window, values_of
from projects.policy import Policy

SHARES = ("error_rate", "cpu_usage", "memory_usage")
# The control's course is the median of so many of its samples around an instant: its own scatter is not its course.
SMOOTHED = 5
# So few of them on one side show no course.
FEWEST = 3
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
    # The control group knows the hour better than earlier days do.
    plain = replace(window, earlier_days=())
    if not post or len(after) < min(FEWEST, len(post)):
        return Controlled(pre, post, window)
    if not any(sample.origin != "history" for sample in pre):
        return Controlled(_instead(after, post, window), post, plain, "instead")
    if len(before) < min(FEWEST, sum(sample.origin != "history" for sample in pre)):
        return Controlled(pre, post, window)
    shares = (*SHARES, *(metric.name for metric in policy.custom_metrics if metric.kind == "ratio"))
    return Controlled(pre, _without_course(post, before, after, shares), plain, "course")


def _instead(control: Sequence[Sample], post: Sequence[Sample], window: Window) -> list[Sample]:
    """Return the control's samples as if they were from before, at the traffic of the treatment.

    How much traffic each group gets is decided by the rollout, and shows nothing.
    """
    first, last = min(sample.collected_at for sample in post), max(sample.collected_at for sample in control)
    ends = min(time for time in (first, window.finished_at, window.started_at) if time is not None)
    shift = last - ends + timedelta(seconds=window.interval_s)
    rates, own = values_of(control, "requests_per_sec"), values_of(post, "requests_per_sec")
    factor = mean(own) / mean(rates) if rates and own and mean(rates) > 0.0 else 1.0

    def earlier(sample: Sample) -> Sample:
        rate = None if sample.requests_per_sec is None else sample.requests_per_sec * factor
        return replace(sample, collected_at=sample.collected_at - shift, requests_per_sec=rate, origin="pre")

    return [earlier(sample) for sample in control]


def _without_course(
    post: Sequence[Sample], before: Sequence[Sample], after: Sequence[Sample], shares: Sequence[str]
) -> list[Sample]:
    """Return POST without what the control did at the same time."""
    names = (*METRICS, *{name for sample in post for name in sample.custom})
    moves = {
        name: _moves(values_of(before, name), [sample for sample in after if values_of([sample], name)], name, shares)
        for name in names
    }
    return [_moved(sample, moves) for sample in post]


Move = Callable[[Sample, float], float]


def _moves(before: Sequence[float], after: Sequence[Sample], name: str, shares: Sequence[str]) -> Move:
    """Return how a value of the treatment would be, had the control not moved. Unchanged where that is not known."""
    if len(before) < FEWEST or len(after) < FEWEST:
        return lambda _sample, value: value
    base = level(before)

    def course(sample: Sample) -> float:
        near = sorted(after, key=lambda one: abs(one.collected_at - sample.collected_at))[:SMOOTHED]
        return median(values_of(near, name))

    if name in shares or base <= 0.0:
        return lambda sample, value: _share(value - (course(sample) - base), name in shares)
    return lambda sample, value: value / _factor(course(sample) / base)


def _share(value: float, bounded: bool) -> float:
    return max(0.0, min(1.0, value)) if bounded else value


def _factor(ratio: float) -> float:
    return max(1.0 / MOST_FACTOR, min(MOST_FACTOR, ratio)) if math.isfinite(ratio) else 1.0


def _moved(sample: Sample, moves: Mapping[str, Move]) -> Sample:
    known = {name: value for name in METRICS if (value := getattr(sample, name)) is not None}
    changes: dict[str, Any] = {name: moves[name](sample, value) for name, value in known.items()}
    return replace(
        sample,
        **changes,
        custom={name: moves[name](sample, value) for name, value in sample.custom.items()},
    )
