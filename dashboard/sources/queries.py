"""The sources of an environment as its pages show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dashboard.labels import METRICS
from dashboard.sources.words import KINDS
from explain.facts import Fact
from metrics.configuring import readable
from metrics.models import Source
from metrics.sources import SOURCE_KINDS, source_kind
from projects.models import Environment


@dataclass(frozen=True, slots=True)
class Row:
    """A source in the list. place: the host that it asks; names: of the metrics that it is configured to give."""

    source: Source
    label: Any
    place: str
    names: Sequence[Any]
    problem: Fact | None


def rows_of(environment: Environment) -> list[Row]:
    """Return the environment's sources in their order. One query."""
    return [row_of(source) for source in environment.sources.all()]


def row_of(source: Source) -> Row:
    kind = source_kind(source.kind)
    config = readable(source) or {}
    address = kind.home(config) if kind else None
    targets = config.get("targets") or [None]
    place = urlsplit(str(address or targets[0] or "")).hostname or ""
    given = [*config.get("expressions", {}), *config.get("fields", {}), *config.get("metrics", {})]
    names = [METRICS.get(name, name) for name in given]
    return Row(source, kind.label if kind else source.kind, place, names, problem_of(source))


def problem_of(source: Source) -> Fact | None:
    return Fact.from_json(source.failure) if source.failure else None


def kinds() -> list[tuple[str, Any, Any]]:
    """Return the kinds of sources to choose from: name, label, words. Those that need least first."""
    order = [*KINDS]
    known = sorted(SOURCE_KINDS, key=lambda kind: order.index(kind.name) if kind.name in order else len(order))
    return [(kind.name, kind.label, KINDS.get(kind.name)) for kind in known]
