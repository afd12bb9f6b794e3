"""Compute the continuous charts of an environment; environments/_continuous.html draws them as SVG. Pure.

The plot takes the available width and is higher on a desk than on a phone: everything is placed by percentages, so that
text and lines keep their size on every screen. Lines and areas use a separate coordinate system, 1000 wide and HEIGHT
high, stretched over the plot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from analysis.charts import UNITS, Tick, height, is_near, is_ratio, scale, unit_of, y_labels
from dashboard.environments.series import DAY, HOUR, MINUTE, Bucket, Level, merged, runs_of
from projects.policy import CustomMetric

WIDTH = 1000
# Of a range that begins with the first sample.
SHORTEST = timedelta(minutes=10)
HEIGHT, TOP, BOTTOM = 140, 22.0, 134.0
# Distances of the marks on the time axis in seconds, and their date formats.
X_STEPS = ((2 * MINUTE, "H:i"), (10 * MINUTE, "H:i"), (HOUR, "H:i"), (4 * HOUR, "H:i"), (DAY, "D j"), (5 * DAY, "j M"))


def passed(start: datetime, end: datetime) -> float:
    """Return the elapsed seconds between two times, across changes of daylight saving time."""
    return (end.astimezone(UTC) - start.astimezone(UTC)).total_seconds()


@dataclass(frozen=True, slots=True)
class Frame:
    """The shown time range; both ends in one time zone."""

    since: datetime
    until: datetime

    @classmethod
    def before(cls, until: datetime, span: timedelta) -> Frame:
        """Return the range of this length that ends at `until`.

        Computed in UTC, because arithmetic within a time zone ignores daylight saving time.
        """
        return cls((until.astimezone(UTC) - span).astimezone(until.tzinfo), until)

    @property
    def seconds(self) -> float:
        return max(passed(self.since, self.until), 1e-3)

    def has(self, moment: datetime) -> bool:
        """Return whether a time is within the range."""
        return self.since <= moment < self.until

    def fitted_to(self, first: datetime) -> Frame:
        """Return the range from shortly before the first sample, where that is in its second half."""
        room = self.until - first
        if room * 2 > self.until - self.since:
            return self
        return Frame.before(self.until, max(room * 1.05, SHORTEST))

    def place(self, moment: datetime) -> float:
        """Return the position of a time in % of the width, limited to the plot."""
        part = passed(self.since, moment) / self.seconds
        return min(max(part, 0.0), 1.0) * 100


@dataclass(frozen=True, slots=True)
class TimeTick:
    """A mark on the time axis: position, time and date format."""

    at: str
    moment: datetime
    format: str


@dataclass(frozen=True, slots=True)
class Zone:
    """A hatched area: position and width."""

    x: str
    width: str
    starts_at: datetime
    ends_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of the policy, in the metric's unit. y: in % of the height, None if it is too far off to be drawn."""

    value: float
    y: str | None
    is_floor: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """One metric over time. areas: from lowest to highest; lines: the mean; dots: single buckets between two gaps;
    points: for the script that reads them out (static/seqpulse/charts.js): x,time,mean,lowest,highest;…"""

    metric: str
    unit: str
    areas: tuple[str, ...]
    lines: tuple[str, ...]
    dots: tuple[str, ...]
    y_ticks: tuple[Tick, ...]
    limit: Limit | None
    total: Level | None
    latest: float | None
    custom: CustomMetric | None = None
    points: str = ""


def timeline(
    metric: str,
    buckets: Sequence[Bucket],
    frame: Frame,
    *,
    interval_s: float,
    limit: float | None = None,
    custom: CustomMetric | None = None,
) -> Timeline:
    """Compute the chart of one metric. interval_s: expected distance of samples, to find gaps."""
    ratio = is_ratio(metric, custom)
    known = [(bucket, level) for bucket in buckets if (level := bucket.levels[metric]) is not None]
    level_of = {bucket.first: level for bucket, level in known}
    levels = [level for _, level in known]
    highs = [level.high for level in levels]
    drawn = limit if is_near(limit, highs) else None
    top, step = scale([*highs, *([] if drawn is None else [drawn])], ratio=ratio)

    def x(bucket: Bucket) -> str:
        return f"{frame.place(bucket.middle) * WIDTH / 100:.1f}"

    def y(value: float) -> str:
        return f"{height(value, top, (TOP, BOTTOM)):.1f}"

    def share(value: float) -> str:
        return f"{height(value, top, (TOP, BOTTOM)) / HEIGHT * 100:.2f}%"

    areas, lines, dots = [], [], []
    for run in runs_of([bucket for bucket, _ in known], interval_s):
        xs = [x(bucket) for bucket in run]
        shown = [level_of[bucket.first] for bucket in run]
        means = [f"{x},{y(level.mean)}" for x, level in zip(xs, shown, strict=True)]
        if len(run) == 1:
            dots.append(f"M{xs[0]} {y(shown[0].high)}V{y(shown[0].low)}M{means[0].replace(',', ' ')}h0")
            continue
        lines.append(" ".join(means))
        if any(level.low < level.high for level in shown):
            upper = [f"{x},{y(level.high)}" for x, level in zip(xs, shown, strict=True)]
            lower = [f"{x},{y(level.low)}" for x, level in zip(xs, shown, strict=True)]
            areas.append(" ".join([*upper, *reversed(lower)]))
    return Timeline(
        metric=metric,
        unit=unit_of(metric, custom),
        areas=tuple(areas),
        lines=tuple(lines),
        dots=tuple(dots),
        y_ticks=tuple(Tick(share(value), label) for value, label in y_labels(top, step, ratio=ratio)),
        limit=limit_of(limit, metric, None if drawn is None else share(drawn)),
        total=merged(buckets, buckets[0].start).levels[metric] if buckets else None,
        latest=levels[-1].mean if levels else None,
        custom=custom,
        points=";".join(
            f"{x(bucket)},{bucket.middle.timestamp():.0f},{level.mean:.5g},{level.low:.5g},{level.high:.5g}"
            for bucket, level in known
        ),
    )


def limit_of(value: float | None, metric: str, y: str | None) -> Limit | None:
    return None if value is None else Limit(value, y, metric == "requests_per_sec")


def x_ticks(frame: Frame) -> tuple[TimeTick, ...]:
    """Return at most seven marks, at whole hours or days of the frame's time zone."""
    step, form = next((one for one in X_STEPS if frame.seconds / one[0] <= 7.5), X_STEPS[-1])
    day = frame.since.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    # Days by the calendar; hours by elapsed time, across changes of daylight saving time.
    start = day if step >= DAY else day.astimezone(UTC)
    count = int(passed(day, frame.until) // step) + 1
    moments = [(start + timedelta(seconds=place * step)).astimezone(day.tzinfo) for place in range(count + 1)]
    # A label at the edge would be cut off.
    inside = [moment for moment in moments if 2 <= frame.place(moment) <= 97]
    return tuple(TimeTick(f"{frame.place(moment):.2f}%", moment, form) for moment in inside)


def zones(windows: Sequence[tuple[datetime, datetime, str]], frame: Frame) -> list[Zone]:
    """Return the windows (start, end, reason) that overlap the frame."""
    return [
        Zone(
            x=f"{frame.place(start):.2f}%",
            width=f"{max(frame.place(end) - frame.place(start), 0.2):.2f}%",
            starts_at=start,
            ends_at=end,
            reason=reason,
        )
        for start, end, reason in windows
        if end > frame.since and start < frame.until
    ]


def timelines(
    buckets: Sequence[Bucket],
    frame: Frame,
    *,
    interval_s: float,
    limits: Mapping[str, float],
    custom: Sequence[CustomMetric] = (),
) -> list[Timeline]:
    """Compute the charts of the metrics that were measured; of all where nothing was. custom: those of the policy."""
    charts = [timeline(metric, buckets, frame, interval_s=interval_s, limit=limits.get(metric)) for metric in UNITS]
    charts += [timeline(one.name, buckets, frame, interval_s=interval_s, custom=one) for one in custom]
    return [chart for chart in charts if chart.total is not None] or charts


# Least distance of marks in % of the width, so that they can be touched and distinguished.
ROOM = 5.0
RANK = {"critical": 0, "warning": 1, "info": 2, "neutral": 3, "ok": 4}


@dataclass(frozen=True, slots=True)
class Mark:
    """A deployment: position (0..100), start and status (labels.Status)."""

    place: float
    at: datetime
    status: Any
    deployment: Any


@dataclass(frozen=True, slots=True)
class Marker:
    """The worst of several adjacent deployments, at its own position, and their number."""

    gravest: Mark
    count: int

    @property
    def x(self) -> str:
        """Return the position as SVG text."""
        return f"{self.gravest.place:.2f}%"


def markers_of(marks: Sequence[Mark], room: float = ROOM) -> list[Marker]:
    """Return markers at least `room` apart, from left to right; less severe, then older marks are merged."""
    shown: list[Mark] = []
    counts: list[int] = []
    for mark in sorted(marks, key=lambda mark: (RANK.get(mark.status.key, len(RANK)), -mark.place)):
        nearest = min(range(len(shown)), key=lambda place: abs(shown[place].place - mark.place), default=None)
        if nearest is not None and abs(shown[nearest].place - mark.place) < room:
            counts[nearest] += 1
        else:
            shown.append(mark)
            counts.append(1)
    markers = [Marker(mark, count) for mark, count in zip(shown, counts, strict=True)]
    return sorted(markers, key=lambda marker: marker.gravest.place)
