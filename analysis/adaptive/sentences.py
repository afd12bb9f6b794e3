"""The sentence that each check says to a person. Words and numbers only; no decision is taken here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from analysis.adaptive.lines import Lines


@dataclass(frozen=True, slots=True)
class Story:
    """What a sentence tells: the levels before and after, how many of the samples were over the line, the lines, and
    how strong the finding is (1.0 = just enough)."""

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


def number(value: float) -> str:
    """A number as a person writes it: 0.004, 3.2, 118, 12,500."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 1:
        return f"{value:.3g}"
    return f"{value:.2g}" if size else "0"


def milliseconds(value: float) -> str:
    """A latency: 118 ms, 2.4 s."""
    return f"{number(value)} ms" if value < 10_000 else f"{number(value / 1000)} s"


def percent(value: float) -> str:
    """A ratio 0..1 as per cent: 0.2 %, 12 %."""
    return f"{number(value * 100)} %"


def points(value: float) -> str:
    """A difference of ratios in percentage points: 0.6 points."""
    return f"{number(value * 100)} points"


def _line(story: Story, rollback_line: str, warning_line: str) -> str:
    if story.critical >= 1.0:
        return f"that reaches the line for a rollback, {rollback_line}"
    if story.warning >= 1.0:
        return f"the line for a rollback is {rollback_line}"
    return f"the line for a warning is {warning_line}"


def latency(story: Story) -> str:
    """E.g. "p95 rose from 118 ms to 342 ms (×2.9) in 9 of 10 samples; the line for a rollback is ×3.2 and +250 ms"."""
    lines = story.lines
    ratio = story.observed / story.base if story.base > 0 else 1.0
    line = _line(
        story,
        f"×{number(1 + lines.latency_rollback_ratio)} and +{milliseconds(lines.latency_rollback_ms)}",
        f"×{number(1 + lines.latency_ratio)} and +{milliseconds(lines.latency_ms)}",
    )
    levels = f"from {milliseconds(story.base)} to {milliseconds(story.observed)}"
    if story.warning >= 1.0:
        return f"p95 rose {levels} (×{ratio:.1f}) in {story.over} of {story.count} samples; {line}"
    if 0.85 <= ratio <= 1.05:
        return f"p95 stayed at {milliseconds(story.observed)} (before: {milliseconds(story.base)}); {line}"
    return f"p95 {'improved' if ratio < 1.0 else 'rose'} {levels} (×{ratio:.2f}); {line}"


def errors(story: Story, total: Counted) -> str:
    """E.g. "errors rose from 0.2 % to 1.5 % (54 of about 3,600 requests failed) in 8 of 9 samples; the line for …"."""
    lines = story.lines
    line = _line(
        story,
        f"+{points(lines.error_rollback)}",
        f"+{points(lines.error)} and ×{number(1 + lines.error_ratio)}",
    )
    seen = f"{number(total.errors)} of about {number(total.requests)} requests"
    if story.warning >= 1.0:
        levels = f"from {percent(story.base)} to {percent(story.observed)}"
        return f"errors rose {levels} ({seen} failed) in {story.over} of {story.count} samples; {line}"
    return f"{percent(story.observed)} of requests failed ({seen}), before: {percent(story.base)}; {line}"


def cpu(story: Story, beyond: float, load_ratio: float | None) -> str:
    """E.g. "cpu rose from 41 % to 78 % at ×1.00 of the load: 37 points more than load explains, in 9 of …"."""
    lines = story.lines
    at = f" at ×{load_ratio:.2f} of the load" if load_ratio is not None else ""
    line = (
        f"the line for a warning is +{points(lines.cpu)} and ×{number(1 + lines.cpu_ratio)}; cpu alone is no rollback"
    )
    levels = f"from {percent(story.base)} to {percent(story.observed)}{at}"
    if story.warning >= 1.0:
        more = f"{points(beyond)} more than load explains"
        return f"cpu rose {levels}: {more}, in {story.over} of {story.count} samples; {line}"
    return f"cpu went {levels}; {line}"


def traffic(story: Story, lost: float) -> str:
    """E.g. "traffic fell from 42 to 18 requests/s (57 % lost) in 9 of 10 samples; that reaches …"."""
    lines = story.lines
    line = _line(story, f"{percent(lines.traffic_rollback)} lost", f"{percent(lines.traffic)} lost")
    if story.warning >= 1.0:
        levels = f"from {number(story.base)} to {number(story.observed)} requests/s ({percent(lost)} lost)"
        return f"traffic fell {levels} in {story.over} of {story.count} samples; {line}"
    return f"traffic: {number(story.observed)} requests/s, expected {number(story.base)}; {line}"


def memory(story: Story, minutes_left: float | None) -> str:
    """E.g. "memory rose from 52 % to 61 % and keeps rising: full in about 70 minutes; the line for a rollback is …"."""
    lines = story.lines
    step = f"a step of +{points(lines.memory_step)}"
    line = _line(
        story,
        f"{percent(lines.memory_full)} reached or {number(lines.full_minutes)} minutes from full",
        f"+{points(lines.leak)} and full within {number(lines.leak_hours)} h, or {step}",
    )
    levels = f"from {percent(story.base)} to {percent(story.observed)}"
    if story.warning < 1.0:
        return f"memory went {levels}; {line}"
    if minutes_left is not None:
        return f"memory rose {levels} and keeps rising: full in about {number(minutes_left)} minutes; {line}"
    return f"memory rose {levels}; {line}"


def against(count: int, history: int) -> str:
    """What was compared with, e.g. "compared with 24 samples from before"."""
    if count == 0:
        return "judged on absolute limits and on itself: there is nothing from before"
    words = f"compared with {count} sample{'s' if count != 1 else ''} from before"
    return f"{words} ({history} of earlier good deployments)" if history else words
