"""Queries of the page of hints; their number is fixed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Count
from django.db.models.functions import TruncDay
from django.utils import timezone

from analysis.models import Hint, HintQuerySet
from dashboard.hints.code_charts import CodeCharts, draw
from dashboard.hints.filters import HintFilters
from dashboard.keyset import Part, one_of, place_of, read, written

PAGE_SIZE = 25
COUNTED = 1000
ORDER = "-created"
COLUMNS = (
    *("code", "metric", "severity", "confidence", "observed", "threshold", "title", "cause", "impact", "evidence"),
    *("actions", "details", "created_at", "deployment__uuid", "deployment__number", "deployment__environment__name"),
    "deployment__project__name",
)


@dataclass(frozen=True, slots=True)
class Page:
    """Hints, newest first.

    newer, older: cursors of the adjacent pages, "" for none; total: number of hints, at most COUNTED + 1.
    """

    hints: list[Hint]
    newer: str
    older: str
    total: int

    @property
    def is_counted(self) -> bool:
        return self.total <= COUNTED


def hints_page(filters: HintFilters, cursor: str = "", *, size: int = PAGE_SIZE) -> Page:
    """Load the page at the cursor. Three queries: count, ids of the page, rows."""
    rows = filters.rows()
    ids = list(rows.order_by().values_list("pk", flat=True)[: COUNTED + 1])
    if len(ids) <= COUNTED:
        # Few: select by id instead of filtering again.
        rows = Hint.objects.filter(one_of("pk", ids))
    found = read([Part(0, rows, "created_at")], place_of(cursor, ORDER, datetime), size, downward=True)
    return Page(load(found.ids), written(found.newer, ORDER), written(found.older, ORDER), len(ids))


def load(ids: list[int]) -> list[Hint]:
    """Load these hints for the list, in this order."""
    rows = Hint.objects.select_related("deployment__project", "deployment__environment").only(*COLUMNS)
    found = rows.in_bulk(ids)
    return [found[pk] for pk in ids if pk in found]


def counts_by_day(filters: HintFilters) -> CodeCharts:
    """Count hints by code and by day of the user's time zone. One query."""
    since, until = filters.counted_span()
    rows = filters.rows().filter(created_at__gte=since, created_at__lt=until).order_by()
    return draw(by_day(rows), days_between(since, until))


def by_day(rows: HintQuerySet) -> list[tuple[date, str, str, int]]:
    """Return (day, code, severity, number)."""
    counted: Any = rows.annotate(day=TruncDay("created_at")).values_list("day", "code", "severity")
    return [(day.date(), code, severity, count) for day, code, severity, count in counted.annotate(Count("pk"))]


def days_between(since: datetime, until: datetime) -> list[date]:
    """Return every day of the user's time zone in the period; at least one."""
    first, last = timezone.localtime(since).date(), timezone.localtime(until).date()
    return [first + timedelta(days=spot) for spot in range(max((last - first).days, 0) + 1)]
