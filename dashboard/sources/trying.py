"""What a test of a source shows: each metric with its value, and each expression of a Prometheus with its last hour."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.configuring import ask_once, try_source
from metrics.payload import METRICS
from metrics.sources.base import SourceKind
from metrics.sources.prometheus import PrometheusKind
from metrics.sources.prometheus_discovery import Discovery, discover, tried
from projects.models import Environment

WIDTH, HEIGHT = 240.0, 40.0
# Counts of what journeys expect are no metrics of people.
NAMED = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Line:
    """One metric. line: its last hour as points of an SVG polyline, "" where unknown; query: where it comes from."""

    name: str
    value: float | None
    query: str = ""
    line: str = ""
    problem: Fact | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a test gave. works: whether a sample would be stored."""

    works: bool
    took_ms: float
    lines: Sequence[Line]
    problem: Fact | None = None
    told: Sequence[Fact] = ()


def report_on(environment: Environment, kind: SourceKind[Any], data: Any) -> Report:
    """Ask the source once. Raises InvalidConfig."""
    if isinstance(kind, PrometheusKind):
        return _of_expressions(environment, kind, data)
    trial = try_source(environment, kind.name, data)
    values = {name: getattr(trial.metrics, name) for name in METRICS}
    values |= {name: value for name, value in trial.metrics.custom.items() if NAMED.fullmatch(name)}
    lines = [Line(name, value) for name, value in values.items() if value is not None]
    return Report(trial.problem is None, trial.took_ms, lines, trial.problem, trial.told)


def _of_expressions(environment: Environment, kind: PrometheusKind, data: Any) -> Report:
    config, begun = kind.parse(data), monotonic()
    try:
        found = ask_once(environment, lambda asking: tried(config, asking))
    except ExplainedError as error:
        return Report(False, (monotonic() - begun) * 1000, [], error.fact)
    lines = [Line(one.metric, one.value, one.query, chart_of(one.points), one.problem) for one in found]
    return Report(any(one.value is not None for one in found), (monotonic() - begun) * 1000, lines)


def chart_of(points: Sequence[tuple[Any, float]]) -> str:
    """Return the points of a line chart of these values by time; the highest value is at the top, 0 at the bottom."""
    if len(points) < 2:
        return ""
    begin, end = points[0][0].timestamp(), points[-1][0].timestamp()
    top = max(*(value for _, value in points), 0.0) or 1.0
    width, height = WIDTH / (end - begin), (HEIGHT - 2) / top
    return " ".join(
        f"{(at.timestamp() - begin) * width:.1f},{HEIGHT - 1 - max(value, 0.0) * height:.1f}" for at, value in points
    )


def found_at(environment: Environment, kind: SourceKind[Any], data: Any) -> Discovery:
    """Ask a Prometheus what it has. Raises InvalidConfig."""
    # What is looked for is not known yet; the address and credentials are checked as those of a configuration.
    server = kind.parse({**data, "expressions": {"requests_per_sec": "up"}})
    try:
        return ask_once(environment, lambda asking: discover(server, asking, wanted=[environment.project.name]))
    except ExplainedError as error:
        return Discovery(problem=error.fact)
