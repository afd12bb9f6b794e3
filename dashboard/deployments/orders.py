"""The orders that the list of deployments comes in. What has no duration or no verdict stands at the end of each."""

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
# A deployment is analyzed in the transaction that writes its verdict: those without one are not, and they are few.
UNJUDGED = ~Q(state=State.ANALYZED) & Q(verdict__isnull=True)
VERDICTS = (ROLLBACK, WARNING, OK)


@dataclass(frozen=True, slots=True)
class Order:
    """parts: the rows in it; downward: whether each part goes from high to low; kind: of its keys."""

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


# By project is put together from the projects (by_project.py): their names are not the deployments'.
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
