"""Orders of the list of deployments. Rows without a duration or verdict come last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from analysis.judge.types import OK, ROLLBACK, WARNING
from dashboard.keyset import Part
from deployments.models import DeploymentQuerySet, State

USUAL = "-started"
ORDER_LABELS = {
    USUAL: _("Newest first"),
    "started": _("Oldest first"),
    "-verdict": _("Worst verdict first"),
    "verdict": _("Best verdict first"),
    "-confidence": _("Highest confidence first"),
    "confidence": _("Lowest confidence first"),
    "-duration": _("Longest first"),
    "duration": _("Shortest first"),
    "project": _("By project, A to Z"),
    "-project": _("By project, Z to A"),
}
# A verdict and the state `analyzed` are written in one transaction; deployments in other states are few.
UNJUDGED = ~Q(state=State.ANALYZED) & Q(verdict__isnull=True)
VERDICTS = (ROLLBACK, WARNING, OK)


@dataclass(frozen=True, slots=True)
class Order:
    """An order. parts: its rows; downward: parts are descending; kind: type of the keys."""

    parts: Callable[[DeploymentQuerySet], list[Part]]
    downward: bool
    kind: type | None = None


def by_start(rows: DeploymentQuerySet) -> list[Part]:
    return [Part(0, rows, "started_at")]


def by_duration(rows: DeploymentQuerySet) -> list[Part]:
    return [
        Part(0, rows.filter(duration_ms__isnull=False), "duration_ms"),
        Part(1, rows.filter(duration_ms__isnull=True)),
    ]


def by_confidence(rows: DeploymentQuerySet) -> list[Part]:
    judged = Part(0, rows.filter(verdict__isnull=False), "verdict__confidence", "verdict__deployment_id")
    return [judged, Part(1, rows.filter(UNJUDGED))]


def worst_first(rows: DeploymentQuerySet) -> list[Part]:
    named = [
        Part(place, rows.filter(verdict__verdict=name), pk="verdict__deployment_id")
        for place, name in enumerate(VERDICTS)
    ]
    return [*named, Part(len(named), rows.filter(UNJUDGED))]


def best_first(rows: DeploymentQuerySet) -> list[Part]:
    *named, unjudged = worst_first(rows)
    return [*reversed(named), unjudged]


# By project is implemented in by_project.py: names are in the table of projects.
BY_PROJECT = ("project", "-project")
ORDERS = {
    USUAL: Order(by_start, downward=True, kind=datetime),
    "started": Order(by_start, downward=False, kind=datetime),
    "-verdict": Order(worst_first, downward=True),
    "verdict": Order(best_first, downward=True),
    "-confidence": Order(by_confidence, downward=True, kind=float),
    "confidence": Order(by_confidence, downward=False, kind=float),
    "-duration": Order(by_duration, downward=True, kind=int),
    "duration": Order(by_duration, downward=False, kind=int),
    "project": Order(by_start, downward=True, kind=datetime),
    "-project": Order(by_start, downward=True, kind=datetime),
}
