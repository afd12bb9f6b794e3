"""The sentence that each check says to a person. Words and numbers only; no decision is taken here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from analysis.judge.adaptive.lines import Lines
from analysis.told import Told, counted, told
from analysis.told import number as _number
from analysis.wording import per_cent


@dataclass(frozen=True, slots=True)
class Story:
    """What a sentence tells: the levels before and after, how many of the samples were over the line, the lines where
    they decide, and how strong the finding is (1.0 = just enough)."""

    base: float
    observed: float
    over: int
    count: int
    lines: Lines
    warning: float
    critical: float = 0.0


class Counted(Protocol):
    """Requests and the errors among them."""

    @property
    def errors(self) -> float: ...
    @property
    def requests(self) -> float: ...


def number(value: float) -> Told:
    """A number as a person writes it: 0.004, 3.2, 118, 12,500."""
    size = abs(value)
    if size >= 1000:
        return _number(f"{value:,.0f}")
    if size >= 100:
        return _number(f"{value:.0f}")
    if size >= 1:
        return _number(f"{value:.3g}")
    return _number(f"{value:.2g}" if size else "0")


def milliseconds(value: float) -> Told:
    """A latency: 118 ms, 2.4 s."""
    return told("{n} ms", n=number(value)) if value < 10_000 else told("{n} s", n=number(value / 1000))


def percent(value: float) -> Told:
    """A ratio 0..1 as per cent: 0.2 %, 12 %."""
    return per_cent(number(value * 100))


def points(value: float) -> Told:
    """A difference of ratios in percentage points: 0.6 points."""
    # Some languages bend the word by the number, English not.
    return counted(_whole(value * 100), "{points} points", "{points} points", points=number(value * 100))


def _whole(value: float) -> int:
    return int(abs(value)) if math.isfinite(value) else 2


def _over(story: Story) -> Told:
    """In how many of the samples."""
    return counted(story.over, "{n} of {count} samples", "{n} of {count} samples", count=story.count)


def _line(story: Story, rollback_line: str, warning_line: str) -> Told:
    if story.critical >= 1.0:
        return told("that reaches the rollback threshold ({line})", line=rollback_line)
    if story.warning >= 1.0:
        return told("the rollback threshold is {line}", line=rollback_line)
    return told("the warning threshold is {line}", line=warning_line)


def latency(story: Story) -> Told:
    """E.g. "p95 rose from 118 ms to 342 ms (×2.9) in 9 of 10 samples; the rollback threshold is ×3.09 and +238 ms"."""
    lines = story.lines
    ratio = story.observed / story.base if story.base > 0 else 1.0
    line = _line(
        story,
        _latency_line(lines.latency_rollback_ratio, lines.latency_rollback_ms),
        _latency_line(lines.latency_ratio, lines.latency_ms),
    )
    before, after = milliseconds(story.base), milliseconds(story.observed)
    if story.warning >= 1.0:
        return told(
            "p95 rose from {before} to {after} (×{ratio}) in {samples}; {line}",
            before=before,
            after=after,
            ratio=_number(f"{ratio:.1f}"),
            samples=_over(story),
            line=line,
        )
    if 0.85 <= ratio <= 1.05:
        return told("p95 stayed at {after} (before: {before}); {line}", before=before, after=after, line=line)
    shown = _number(f"{ratio:.2f}")
    if ratio < 1.0:
        return told(
            "p95 improved from {before} to {after} (×{ratio}); {line}",
            before=before,
            after=after,
            ratio=shown,
            line=line,
        )
    return told(
        "p95 rose from {before} to {after} (×{ratio}); {line}", before=before, after=after, ratio=shown, line=line
    )


def _latency_line(ratio: float, ms: float) -> Told:
    return told("×{ratio} and +{ms}", ratio=number(1 + ratio), ms=milliseconds(ms))


def _points_line(more: float, ratio: float) -> Told:
    return told("+{points} and ×{ratio}", points=points(more), ratio=number(1 + ratio))


def errors(story: Story, total: Counted) -> Told:
    """E.g. "errors rose from 0.2 % to 1.5 % (54 of about 3,600 requests failed) in 8 of 9 samples; the …"."""
    lines = story.lines
    line = _line(
        story,
        told("+{points}", points=points(lines.error_rollback)),
        _points_line(lines.error, lines.error_ratio),
    )
    if story.warning >= 1.0:
        return told(
            "errors rose from {before} to {after} ({failed} of about {requests} requests failed) in {samples}; {line}",
            before=percent(story.base),
            after=percent(story.observed),
            failed=number(round(total.errors)),
            requests=number(round(total.requests)),
            samples=_over(story),
            line=line,
        )
    return told(
        "{after} of requests failed ({failed} of about {requests} requests), before: {before}; {line}",
        after=percent(story.observed),
        failed=number(round(total.errors)),
        requests=number(round(total.requests)),
        before=percent(story.base),
        line=line,
    )


def cpu(story: Story, beyond: float, load_ratio: float | None) -> Told:
    """E.g. "cpu rose from 41 % to 78 % at ×1.00 of the load: 37 points more than load explains, in 9 of …"."""
    line = told(
        "the warning threshold is {line}; cpu alone never leads to a rollback",
        line=_points_line(story.lines.cpu, story.lines.cpu_ratio),
    )
    levels = told("from {before} to {after}", before=percent(story.base), after=percent(story.observed))
    if load_ratio is not None:
        ratio = _number(f"{load_ratio:.2f}")
        levels = told("{levels} at ×{ratio} of the load", levels=levels, ratio=ratio)
    if story.warning >= 1.0:
        return told(
            "cpu rose {levels}: {points} more than load explains, in {samples}; {line}",
            levels=levels,
            points=points(beyond),
            samples=_over(story),
            line=line,
        )
    return told("cpu went {levels}; {line}", levels=levels, line=line)


def traffic(story: Story, lost: float) -> Told:
    """E.g. "traffic fell from 42 to 18 requests/s (57 % lost) in 9 of 10 samples; that reaches …"."""
    lines = story.lines
    line = _line(
        story,
        told("{share} lost", share=percent(lines.traffic_rollback)),
        told("{share} lost", share=percent(lines.traffic)),
    )
    if story.warning >= 1.0:
        return told(
            "traffic fell from {before} to {after} requests/s ({share} lost) in {samples}; {line}",
            before=number(story.base),
            after=number(story.observed),
            share=percent(lost),
            samples=_over(story),
            line=line,
        )
    return told(
        "traffic: {after} requests/s, expected {before}; {line}",
        before=number(story.base),
        after=number(story.observed),
        line=line,
    )


def memory(story: Story, minutes_left: float | None) -> Told:
    """E.g. "memory rose from 52 % to 61 % and keeps rising: full in about 70 minutes; the rollback threshold is …"."""
    lines = story.lines
    line = _line(
        story,
        told(
            "{full} reached or {minutes} minutes from full",
            full=percent(lines.memory_full),
            minutes=number(lines.full_minutes),
        ),
        told(
            "+{leak} and full within {hours} h, or a step of +{step}",
            leak=points(lines.leak),
            hours=number(lines.leak_hours),
            step=points(lines.memory_step),
        ),
    )
    before, after = percent(story.base), percent(story.observed)
    if story.warning < 1.0:
        return told("memory went from {before} to {after}; {line}", before=before, after=after, line=line)
    if minutes_left is not None:
        return told(
            "memory rose from {before} to {after} and keeps rising: full in about {minutes} minutes; {line}",
            before=before,
            after=after,
            minutes=number(minutes_left),
            line=line,
        )
    return told("memory rose from {before} to {after}; {line}", before=before, after=after, line=line)


def against(count: int, history: int) -> Told:
    """What was compared with, e.g. "compared with 24 samples from before"."""
    if count == 0:
        return told(
            "judged by absolute limits and by changes within the window, because there are no samples from "
            "before to compare with"
        )
    if history:
        return counted(
            count,
            "compared with {n} sample from before ({history} of earlier good deployments)",
            "compared with {n} samples from before ({history} of earlier good deployments)",
            history=history,
        )
    return counted(count, "compared with {n} sample from before", "compared with {n} samples from before")
