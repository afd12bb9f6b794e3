"""Compute a small chart of two windows, aligned at finish. Pure, like dashboard/charts.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.judge.quality import GAP_INTERVALS
from dashboard.charts import RATIOS, UNITS, SampleLike, Span, Tick, text, time_label, y_labels
from dashboard.charts import scale as scale_of

WIDTH, HEIGHT = 400, 160
LEFT, RIGHT, TOP, BOTTOM = 46.0, 392.0, 14.0, 128.0


@dataclass(frozen=True, slots=True)
class Trace:
    """One window: points (x, y, value), and polylines broken at missing samples."""

    points: tuple[tuple[str, str, float], ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overlay:
    """One metric of two windows on a common scale."""

    metric: str
    unit: str
    mine: Trace
    other: Trace
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def overlay(metric: str, mine: tuple[Span, Sequence[SampleLike]], other: tuple[Span, Sequence[SampleLike]]) -> Overlay:
    """Compute the overlay. mine, other: observation and POST samples of each deployment, oldest first."""
    windows = (mine, other)
    values = [float(getattr(sample, metric)) for _, samples in windows for sample in samples]
    top, step = scale_of(values, ratio=metric in RATIOS)
    reach = max([max(span.seconds, *_offsets(span, samples), 0.0) for span, samples in windows]) * 1.04
    longest = max((span for span, _ in windows), key=lambda span: span.seconds)
    every = max(1, -(-longest.samples // 4))
    marks = [place * longest.interval_s for place in range(0, longest.samples + 1, every)]
    return Overlay(
        metric=metric,
        unit=UNITS[metric],
        mine=_trace(metric, *mine, reach=reach, top=top),
        other=_trace(metric, *other, reach=reach, top=top),
        x_ticks=tuple(Tick(text(_across(at, reach)), time_label(at)) for at in marks),
        y_ticks=tuple(Tick(text(_up(value, top)), label) for value, label in y_labels(top, step, metric)),
    )


def _offsets(span: Span, samples: Sequence[SampleLike]) -> list[float]:
    start = span.finished_at or span.started_at
    return [(sample.collected_at - start).total_seconds() for sample in samples]


def _trace(metric: str, span: Span, samples: Sequence[SampleLike], *, reach: float, top: float) -> Trace:
    offsets = _offsets(span, samples)
    points = tuple(
        (text(_across(offset, reach)), text(_up(float(getattr(sample, metric)), top)), float(getattr(sample, metric)))
        for offset, sample in zip(offsets, samples, strict=True)
    )
    runs: list[list[str]] = []
    previous: float | None = None
    for offset, (x, y, _) in zip(offsets, points, strict=True):
        if previous is None or offset - previous > GAP_INTERVALS * span.interval_s:
            runs.append([])
        runs[-1].append(f"{x},{y}")
        previous = offset
    return Trace(points, tuple(" ".join(run) for run in runs if len(run) > 1))


def _across(offset: float, reach: float) -> float:
    return LEFT + (RIGHT - LEFT) * min(max(offset / reach, 0.0), 1.0)


def _up(value: float, top: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * min(max(value / top, 0.0), 1.0)
