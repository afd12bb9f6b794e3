"""What the page of hints reads, in a fixed number of queries."""

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
    """Hints, newest first; newer, older: cursors of the pages beside it, "" for none; total: how many there are in all,
    counted up to COUNTED, and one more where there are more."""

    hints: list[Hint]
    newer: str
    older: str
    total: int

    @property
    def is_counted(self) -> bool:
        return self.total <= COUNTED


def hints_page(filters: HintFilters, cursor: str = "", *, size: int = PAGE_SIZE) -> Page:
    """The page at the cursor. Three queries: which there are, the ids of the page, its rows."""
    rows = filters.rows()
    ids = list(rows.order_by().values_list("pk", flat=True)[: COUNTED + 1])
    if len(ids) <= COUNTED:
        # Few: whatever was filtered by need not be found again.
        rows = Hint.objects.filter(one_of("pk", ids))
    found = read([Part(0, rows, "created_at")], place_of(cursor, ORDER, datetime), size, downward=True)
    return Page(load(found.ids), written(found.newer, ORDER), written(found.older, ORDER), len(ids))


def load(ids: list[int]) -> list[Hint]:
    """These hints with what a list shows of them, in this order."""
    rows = Hint.objects.select_related("deployment__project", "deployment__environment").only(*COLUMNS)
    found = rows.in_bulk(ids)
    return [found[pk] for pk in ids if pk in found]


def counts_by_day(filters: HintFilters) -> CodeCharts:
    """How many of each code there were, by day of the person's time zone. One query."""
    since, until = filters.counted_span()
    rows = filters.rows().filter(created_at__gte=since, created_at__lt=until).order_by()
    return draw(by_day(rows), days_between(since, until))


def by_day(rows: HintQuerySet) -> list[tuple[date, str, str, int]]:
    """(day, code, severity, how many)."""
    counted: Any = rows.annotate(day=TruncDay("created_at")).values_list("day", "code", "severity")
    return [(day.date(), code, severity, count) for day, code, severity, count in counted.annotate(Count("pk"))]


def days_between(since: datetime, until: datetime) -> list[date]:
    """Every day of the person's time zone from the one to the other; at least one."""
    first, last = timezone.localtime(since).date(), timezone.localtime(until).date()
    return [first + timedelta(days=spot) for spot in range(max((last - first).days, 0) + 1)]
