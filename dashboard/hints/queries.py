"""Filters and queries of the page of hints; the number of queries is fixed."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Count, F, Func, TextField
from django.db.models.functions import TruncDay
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from analysis.models import Hint, HintQuerySet
from analysis.texts.hints import HINTS
from dashboard.filtering import ListFilters, choice_field
from dashboard.hints.code_charts import CodeCharts, draw
from dashboard.keyset import PAGE_SIZE, Page, Part, few_or_all, load, one_of, place_of, read, written
from dashboard.labels import METRICS, SEVERITIES
from dashboard.scope import Scope
from projects.models import Environment

CODES = sorted({key.partition(".")[0] for key in HINTS})
SEVERITY_LABELS = {name: status.label for name, status in SEVERITIES.items()}
# Days counted by default, and at most: one column per day.
USUAL_DAYS, MOST_DAYS = 30, 90


class HintFilters(ListFilters):
    """All filters must match."""

    severity = choice_field(_("Severity"), _("All severities"), SEVERITY_LABELS.items())
    code = choice_field(_("Code"), _("All codes"), [(code, code) for code in CODES])
    metric = choice_field(_("Metric"), _("All metrics"), METRICS.items())

    field_order = ("severity", "code", "metric", "project", "environment", "range", "since", "until")

    model, through, moment = Hint, "deployment__", "created_at"
    equal = ("severity", "code", "metric")

    def offered(self) -> dict[str, Iterable[tuple[str, Any]]]:
        custom = ((name, name.replace("_", " ")) for name in custom_metrics(self.scope))
        return {**super().offered(), "metric": custom}

    def counted_span(self) -> tuple[datetime, datetime]:
        """Return the period counted by day: the last days of the selected time."""
        since, until = self.span()
        end = min(until or timezone.now(), timezone.now())
        days = USUAL_DAYS if since is None else MOST_DAYS
        earliest = midnight(end) - timedelta(days=days - 1)
        return max(since, earliest) if since is not None else earliest, end


class CustomNames(Func):
    """The names of the custom metrics of a policy, a row each."""

    template = "(jsonb_path_query(%(expressions)s, '$.custom_metrics[*].name') #>> '{}')"
    output_field = TextField()


def custom_metrics(scope: Scope) -> list[str]:
    """Return the names of the custom metrics of all environments that the user sees. One query."""
    rows = Environment.objects.filter(deleting_at=None)
    if not scope.everything:
        rows = rows.filter(one_of("project_id", [project.pk for project in scope.projects]))
    return sorted({name for name in rows.values_list(CustomNames(F("policy")), flat=True).distinct() if name})


def midnight(at: datetime) -> datetime:
    """Return the start of the day in the user's time zone."""
    return timezone.localtime(at).replace(hour=0, minute=0, second=0, microsecond=0)


ORDER = "-created"
COLUMNS = (
    *("code", "metric", "severity", "confidence", "observed", "threshold", "title", "cause", "impact", "evidence"),
    *("actions", "details", "created_at", "deployment__uuid", "deployment__number", "deployment__environment__name"),
    "deployment__project__name",
)


def hints_page(filters: HintFilters, cursor: str = "", *, size: int = PAGE_SIZE) -> Page:
    """Load the page of hints at the cursor, newest first. Three queries: count, ids of the page, rows."""
    rows, total = few_or_all(filters.rows())
    found = read([Part(0, rows, "created_at")], place_of(cursor, ORDER, datetime), size, downward=True)
    hints = Hint.objects.select_related("deployment__project", "deployment__environment").only(*COLUMNS)
    return Page(load(hints, found.ids), written(found.newer, ORDER), written(found.older, ORDER), total)


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
