"""Compute charts: samples in, coordinates out; pages draw them as SVG, mails as PNG. Pure.

The time axis has three zones with separate scales: before, the deployment itself, after. On a common scale a deployment
of an hour would leave little room for a window of five minutes, which matters most. Coordinates are text with a full
stop in every language.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from analysis.judge.levels import mean_of
from analysis.judge.quality import GAP_INTERVALS
from analysis.judge.types import Check, amount, named
from common.i18n import localised, quantity
from common.validation import localized
from projects.policy import CustomMetric

WIDTH, HEIGHT = 400, 212
LEFT, RIGHT, TOP, BOTTOM = 46.0, 392.0, 20.0, 170.0
BEFORE_END, AFTER_START = 138.0, 176.0
# The plot of an overlay, which has no zone before.
OVERLAY = (14.0, 128.0)
# Top of the plot relative to the highest value.
HEADROOM = 1.12
RATIOS = ("error_rate", "cpu_usage", "memory_usage")
UNITS = {"requests_per_sec": "req/s", "latency_p95": "ms", **dict.fromkeys(RATIOS, "%")}
# A limit more than this factor above everything measured would flatten the curve: only its value is shown.
FAR = 3.0
# Here a drop is bad; for all others a rise.
LOWER_BOUND = ("requests_per_sec",)
# Larger values would overflow the scale; an endpoint may report them.
LARGEST = 1e300


def is_ratio(metric: str, custom: CustomMetric | None = None) -> bool:
    """Return whether the metric is a share, which is shown in per cent."""
    return metric in RATIOS if custom is None else custom.kind == "ratio"


def unit_of(metric: str, custom: CustomMetric | None = None) -> str:
    """Return the unit on the axis."""
    if custom is None:
        return UNITS[metric]
    return "%" if custom.kind == "ratio" else custom.unit


def known_value(sample: Any, metric: str) -> float | None:
    """Return a metric of a sample; None where it has none: without requests there is no latency, whatever it says."""
    value = getattr(sample, metric) if metric in UNITS else (sample.custom_metrics or {}).get(metric)
    if metric == "latency_p95" and not value and not sample.requests_per_sec:
        return None
    return None if value is None else float(value)


class SampleLike(Protocol):
    phase: str
    sequence_index: int
    collected_at: datetime


@dataclass(frozen=True, slots=True)
class Span:
    """The observation. finished_at: None while the pipeline runs; settle_s: seconds between it and the window; missed:
    seconds after finish of missing samples."""

    started_at: datetime
    finished_at: datetime | None
    samples: int
    interval_s: float
    missed: tuple[float, ...] = ()
    settle_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Return the length of the window."""
        return max(self.samples * self.interval_s, self.interval_s, 1e-3)


def span_of(deployment: Any, missed: tuple[float, ...] = ()) -> Span:
    """Return the observation of a deployment. missed: as of Span."""
    return Span(
        started_at=deployment.started_at,
        finished_at=deployment.finished_at,
        samples=deployment.window_samples,
        interval_s=deployment.interval_s,
        missed=missed,
        settle_s=deployment.settle_s,
    )


@dataclass(frozen=True, slots=True)
class Before:
    """Other samples from before: the baseline, windows of earlier good deployments (history), and samples that were not
    compared (left_out), which are drawn but do not count."""

    history: Sequence[SampleLike] = ()
    baseline: Sequence[SampleLike] = ()
    left_out: Sequence[SampleLike] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """One sample. over: beyond the limit; x and y as SVG text; kind: its origin."""

    x: str
    y: str
    value: float
    at: datetime
    over: bool = False
    kind: str = "post"


@dataclass(frozen=True, slots=True)
class Band:
    """The level before: from low to high, in the metric's unit; y and height as SVG text."""

    low: float
    high: float
    y: str
    height: str


@dataclass(frozen=True, slots=True)
class Line:
    """A limit that is drawn. name: warning, rollback, or "" for the only one; y as SVG text."""

    name: str
    value: float
    y: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: position, and label in the active language."""

    at: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One metric before and after.

    before, after: the compared levels, else the means of the samples, in the metric's unit; change: relative (latency,
    traffic) or in percentage points (ratios), None if there is nothing to compare; limit and baseline: heights of
    lines, limit (the one that decided) None if too far off to be drawn; limits: all that are not; band: the spread
    before, from the judge, else from the lowest to the highest sample; control, control_lines: of the control group,
    after.
    """

    metric: str
    unit: str
    outcome: str
    pre: tuple[Point, ...]
    post: tuple[Point, ...]
    lines: tuple[str, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    misses: tuple[str, ...]
    limit: str | None
    limit_value: float | None
    baseline: str | None
    band: Band | None
    before: float | None
    after: float | None
    change: float | None
    points_change: bool
    custom: CustomMetric | None = None
    limit_is_floor: bool = False
    control: tuple[Point, ...] = ()
    control_lines: tuple[str, ...] = ()
    limits: tuple[Line, ...] = ()

    @property
    def points(self) -> str:
        """Return the samples for the script that reads them out (static/seqpulse/charts.js): x,time,value;…"""
        known = sorted((*self.pre, *self.post), key=lambda point: float(point.x))
        return ";".join(f"{point.x},{point.at.timestamp():.0f},{point.value:.5g}" for point in known)

    @property
    def over(self) -> int:
        """Return the number of POST samples beyond the limit."""
        return sum(point.over for point in self.post)

    @property
    def compared(self) -> int:
        """Return the number of compared samples from before."""
        return sum(point.kind != "left-out" for point in self.pre)


NOTHING = Before()


def draw(
    metric: str,
    samples: Sequence[SampleLike],
    span: Span,
    check: Check | None = None,
    *,
    earlier: Before = NOTHING,
    custom: CustomMetric | None = None,
    control: Sequence[SampleLike] = (),
) -> Chart:
    """Compute the chart of one metric.

    Args:
        samples: of the deployment.
        check: its limit becomes a line, its spread the band.
        custom: the policy of a custom metric.
        control: samples of the control group after the deployment.
    """
    ratio = is_ratio(metric, custom)
    floor = metric in LOWER_BOUND or (check is not None and check.details.get("moves") == "down")
    window = [sample for sample in samples if sample.phase == "post"]
    before_it = _in_order(
        {
            "history": earlier.history,
            "baseline": earlier.baseline,
            "pre": [sample for sample in samples if sample.phase not in ("post", "step")],
            "left-out": earlier.left_out,
        }
    )
    measured = ((id(one), known_value(one, metric)) for one in (*(one for _, one in before_it), *window, *control))
    values = {key: value for key, value in measured if value is not None}
    post = [sample for sample in window if id(sample) in values]
    known = [(kind, sample) for kind, sample in before_it if id(sample) in values]
    limit = check.limit if check is not None else None
    levels = [values[id(sample)] for kind, sample in known if kind != "left-out"]
    spread = _spread(levels, check)
    seen = [*values.values(), *(spread or ())]
    drawn = limit if is_near(limit, seen) else None
    near = [(name, value) for name, value in _limits(check) if is_near(value, seen)]
    top, step = scale([*seen, *(value for _, value in near)], ratio=ratio)
    before = _judged(check.baseline if check is not None else None, levels)
    after = _judged(check.observed if check is not None else None, [values[id(sample)] for sample in post])

    def point(sample: SampleLike, x: float, kind: str = "post") -> Point:
        """Return a sample's point. What the judge left out is beyond no limit."""
        value = values[id(sample)]
        beyond = limit is not None and (value < limit if floor else value > limit)
        return Point(text(x), text(height(value, top)), value, sample.collected_at, beyond and kind == "post", kind)

    warmup = _warmup(len(post), check)
    reach = _reach([*window, *control], span)
    places = _before_places(len(known))
    before_points = tuple(point(sample, x, kind) for (kind, sample), x in zip(known, places, strict=True))
    after_points = tuple(
        point(sample, _after_place(_offset(sample, span), reach), "left-out" if place < warmup else "post")
        for place, sample in enumerate(post)
    )
    beside = [sample for sample in control if id(sample) in values]
    beside_points = tuple(point(one, _after_place(_offset(one, span), reach), "control") for one in beside)
    return Chart(
        metric=metric,
        unit=unit_of(metric, custom),
        outcome=check.outcome if check is not None else "",
        pre=before_points,
        post=after_points,
        lines=_lines([(_offset(one, span), at.x, at.y) for one, at in zip(post, after_points, strict=True)], span),
        x_ticks=_x_ticks(span, reach, AFTER_START, span.settle_s)[1:],
        y_ticks=tuple(Tick(text(height(value, top)), label) for value, label in y_labels(top, step, ratio=ratio)),
        misses=tuple(text(_after_place(after_finish - span.settle_s, reach)) for after_finish in span.missed),
        limit=None if drawn is None else text(height(drawn, top)),
        limit_value=limit,
        baseline=text(height(before, top)) if before is not None else None,
        band=_band(spread, top),
        before=before,
        after=after,
        change=change_between(before, after, ratio=ratio),
        points_change=ratio,
        custom=custom,
        limit_is_floor=floor,
        limits=tuple(Line(name, value, text(height(value, top))) for name, value in near),
        control=beside_points,
        control_lines=_lines(
            [(_offset(one, span), at.x, at.y) for one, at in zip(beside, beside_points, strict=True)], span
        ),
    )


def _limits(check: Check | None) -> list[tuple[str, float]]:
    """Return the limits of a warning and of a rollback; one without a name where a check does not tell them apart."""
    if check is None or check.limit is None:
        return []
    both = [(name, check.details.get(f"{name}_limit")) for name in ("warning", "rollback")]
    known = [(name, float(value)) for name, value in both if isinstance(value, int | float)]
    return known or [("", check.limit)]


def _warmup(measured: int, check: Check | None) -> int:
    """Return how many of the first POST samples the check left out, as caches are cold then."""
    samples = check.details.get("samples") if check is not None else None
    return max(0, measured - samples) if isinstance(samples, int) else 0


def level_in_words(value: float | None, chart: Chart) -> str:
    """Write a level of the chart's metric with its unit, in the active language."""
    if chart.custom is None or value is None:
        return quantity(value, chart.metric)
    return localized(amount(value, unit=chart.custom.unit, kind=chart.custom.kind))


def name_in_words(chart: Chart) -> str:
    """Write the name of the chart's metric, as in a sentence, in the active language."""
    return localized(named(chart.metric))


def is_near(limit: float | None, values: Sequence[float]) -> bool:
    """Return whether the limit can be drawn over these values; over zeros only, every limit can."""
    highest = max(values, default=0.0)
    return limit is not None and (not highest or limit <= FAR * highest)


def text(number: float) -> str:
    return f"{number:.1f}"


def height(value: float, top: float, plot: tuple[float, float] = (TOP, BOTTOM)) -> float:
    """Return the position of a value between the axis (0) and the top of the scale. plot: its upper and lower end."""
    upper, lower = plot
    return lower - (lower - upper) * min(max(value / top, 0.0), 1.0)


def scale(values: Sequence[float], *, ratio: bool) -> tuple[float, float]:
    """Return the top of the axis and the distance of its ticks: 1, 2, 2.5 or 5 times a power of ten."""
    most = min(max((value for value in values if math.isfinite(value)), default=0.0), LARGEST)
    if most <= 0:
        most = 0.01 if ratio else 1.0
    # Below the shown precision; also avoids subnormal numbers, which have no power of ten to divide by.
    most = max(most, 1e-5 if ratio else 1e-3)
    rough = most * HEADROOM / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough), power * 10)
    top = max(most * HEADROOM, step)
    return (min(top, 1.0) if ratio and most <= 1.0 else top), step


def y_labels(top: float, step: float, *, ratio: bool) -> list[tuple[float, str]]:
    """Return the ticks from 0 to the top; ratios are labelled as percentages."""
    factor = 100 if ratio else 1
    digits = max(0, min(6, -math.floor(math.log10(step * factor) + 1e-9)))
    if step * factor * 10**digits % 1 > 1e-9 and digits < 6:
        digits += 1
    shown: list[tuple[float, str]] = []
    for count in range(6):
        value = count * step
        if value > top * (1 + 1e-9):
            break
        read = value * factor
        shown.append((value, localised(f"{read:.0e}" if read >= 1e5 else f"{read:.{digits}f}")))
    return shown


def _judged(level: float | None, values: Sequence[float]) -> float | None:
    """Return the level from the judge, else the mean of the samples; None without samples.

    The judge's level excludes warm-up, outliers and effects of load.
    """
    if not values:
        return None
    return mean_of(values) if level is None else level


def change_between(before: float | None, after: float | None, *, ratio: bool) -> float | None:
    """Return the difference of ratios, else the relative change; None if undefined."""
    if before is None or after is None:
        return None
    if ratio:
        return after - before
    change = after / before - 1 if before > 0 else None
    return change if change is not None and math.isfinite(change) else None


def _offset(sample: SampleLike, span: Span) -> float:
    """Return the seconds from the beginning of the window to the sample.

    The settling time is not drawn: an hour of it would leave no room for a window of five minutes.
    """
    return (sample.collected_at - (span.finished_at or span.started_at)).total_seconds() - span.settle_s


def _reach(post: Sequence[SampleLike], span: Span) -> float:
    """Return the seconds that the zone after the deployment covers."""
    return max([span.seconds, *(_offset(sample, span) for sample in post)]) * 1.04


def _after_place(offset: float, reach: float, left: float = AFTER_START) -> float:
    return left + (RIGHT - left) * min(max(offset / reach, 0.0), 1.0)


def _in_order(groups: Mapping[str, Sequence[SampleLike]]) -> list[tuple[str, SampleLike]]:
    """Return all samples from before with their origin, oldest first."""
    known = [(kind, sample) for kind, samples in groups.items() for sample in samples]
    return sorted(known, key=lambda pair: pair[1].collected_at)


def _spread(levels: Sequence[float], check: Check | None) -> tuple[float, float] | None:
    """Return the spread of the level before; None with fewer than two samples."""
    if check is not None and check.baseline is not None and check.spread:
        return max(check.baseline - check.spread, 0.0), check.baseline + check.spread
    return (min(levels), max(levels)) if len(levels) > 1 else None


def _band(spread: tuple[float, float] | None, top: float) -> Band | None:
    if spread is None:
        return None
    low, high = spread
    # Keep a level without spread visible.
    upper, lower = height(high, top) - 1, height(low, top) + 1
    return Band(low, high, text(max(upper, TOP)), text(min(lower, BOTTOM) - max(upper, TOP)))


def _before_places(count: int) -> list[float]:
    """Place samples from before in order at equal distances: they span half an hour, or other days."""
    room = BEFORE_END - LEFT
    return [LEFT + room * (place + 1) / (count + 1) for place in range(count)]


def _lines(places: Iterable[tuple[float, str, str]], span: Span) -> tuple[str, ...]:
    """Return polylines through POST samples (seconds, x, y), broken at gaps."""
    runs: list[list[str]] = []
    previous = -math.inf
    for offset, x, y in places:
        if offset - previous > GAP_INTERVALS * span.interval_s:
            runs.append([])
        runs[-1].append(f"{x},{y}")
        previous = offset
    return tuple(" ".join(run) for run in runs if len(run) > 1)


def _x_ticks(span: Span, reach: float, left: float, settle_s: float = 0.0) -> tuple[Tick, ...]:
    """Return marks at the beginning of the window and at most four planned samples. settle_s: added to the labels."""
    marks = range(0, span.samples + 1, max(1, math.ceil(span.samples / 4)))
    return tuple(
        Tick(text(_after_place(after, reach, left)), f"+{quantity(settle_s + after, 'axis_time')}")
        for after in (mark * span.interval_s for mark in marks)
    )


@dataclass(frozen=True, slots=True)
class Trace:
    """One window: points (x, y, value), and polylines broken at missing samples."""

    points: tuple[tuple[str, str, float], ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overlay:
    """One metric of two windows on a common scale, aligned at their beginning: finish plus the settling time."""

    metric: str
    unit: str
    mine: Trace
    other: Trace
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    custom: CustomMetric | None = None


def overlay(metric: str, *windows: tuple[Span, Sequence[SampleLike]], custom: CustomMetric | None = None) -> Overlay:
    """Compute the overlay. windows: observation and POST samples of each of the two deployments, oldest first."""
    top, step = scale(
        [value for _, samples in windows for one in samples if (value := known_value(one, metric)) is not None],
        ratio=is_ratio(metric, custom),
    )
    reach = max(_reach(samples, span) for span, samples in windows)
    traces: list[Trace] = []
    for span, samples in windows:
        known = [(one, value) for one in samples if (value := known_value(one, metric)) is not None]
        values = [value for _, value in known]
        offsets = [_offset(one, span) for one, _ in known]
        xs = [text(_after_place(offset, reach, LEFT)) for offset in offsets]
        ys = [text(height(value, top, OVERLAY)) for value in values]
        lines = _lines(zip(offsets, xs, ys, strict=True), span)
        traces.append(Trace(tuple(zip(xs, ys, values, strict=True)), lines))
    mine, other = traces
    longest = max((span for span, _ in windows), key=lambda span: span.seconds)
    labels = y_labels(top, step, ratio=is_ratio(metric, custom))
    y_ticks = tuple(Tick(text(height(value, top, OVERLAY)), label) for value, label in labels)
    return Overlay(metric, unit_of(metric, custom), mine, other, _x_ticks(longest, reach, LEFT), y_ticks, custom)
