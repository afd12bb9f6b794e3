"""The list of deployments: a page of it, whatever it is filtered and ordered by, in a fixed number of queries."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.deployments import by_project
from dashboard.deployments.filters import DeploymentFilters
from dashboard.deployments.orders import BY_PROJECT, ORDERS
from dashboard.deployments.queries import Row, samples_so_far, verdict_of, window_is_open
from dashboard.keyset import Slice, one_of, place_of, read, written
from deployments.models import Deployment, DeploymentQuerySet

PAGE_SIZE = 25
# Counting stops here: what it costs must not grow with the table.
COUNTED = 1000
# Rows of verdicts are wide, and a list shows little of them.
COLUMNS = (
    *("uuid", "number", "branch", "commit_sha", "version", "author", "url", "state", "pipeline_result", "started_at"),
    *("finished_at", "duration_ms", "window_samples", "interval_s"),
    *("project__name", "project__uuid", "environment__name"),
    *(f"verdict__{name}" for name in ("verdict", "confidence", "conclusive", "early", "final", "shadow", "created_at")),
)


@dataclass(frozen=True, slots=True)
class Page:
    """One page. newer, older: cursors of the pages beside it, "" for none; total: how many there are in all, counted
    up to COUNTED, and one more where there are more."""

    rows: list[Row]
    newer: str
    older: str
    total: int

    @property
    def in_progress(self) -> bool:
        return any(row.in_progress for row in self.rows)

    @property
    def is_counted(self) -> bool:
        return self.total <= COUNTED


def deployments_page(filters: DeploymentFilters, cursor: str = "", *, size: int = PAGE_SIZE) -> Page:
    """The page at the cursor. Four queries: which there are, the ids of the page, its rows, their samples (none where
    nothing of it is observed); one more where many are ordered by project."""
    rows, total = few_or_all(filters.rows())
    found = slice_at(filters, rows, cursor, size, few=total <= COUNTED)
    return Page(
        rows=with_progress(load(found.ids)),
        newer=written(found.newer, filters.order),
        older=written(found.older, filters.order),
        total=total,
    )


def few_or_all(rows: DeploymentQuerySet) -> tuple[DeploymentQuerySet, int]:
    """The rows, and how many they are, counted up to COUNTED and one more.

    Few ones are named by their ids from then on: whatever was filtered by need not be found again in each order, where
    PostgreSQL might walk the whole of an index for a handful of rows.
    """
    ids = list(rows.order_by().values_list("pk", flat=True)[: COUNTED + 1])
    return (rows if len(ids) > COUNTED else Deployment.objects.filter(one_of("pk", ids))), len(ids)


def slice_at(filters: DeploymentFilters, rows: DeploymentQuerySet, cursor: str, size: int, *, few: bool) -> Slice:
    """The ids of a page. One query; ordered by project and not few, two. few: whether the rows are named by their
    ids."""
    order = ORDERS[filters.order]
    place = place_of(cursor, filters.order, order.kind)
    if filters.order not in BY_PROJECT:
        return read(order.parts(rows), place, size, downward=order.downward)
    projects = [one.pk for one in filters.seen.projects]
    ordered = projects if filters.order == "project" else projects[::-1]
    return by_project.read(rows, ordered, place, size, few=few)


def load(ids: list[int]) -> list[Deployment]:
    """These deployments with what a list shows of them, in this order."""
    rows = Deployment.objects.select_related("project", "environment", "verdict").only(*COLUMNS)
    found = rows.in_bulk(ids)
    return [found[pk] for pk in ids if pk in found]


def with_progress(deployments: list[Deployment]) -> list[Row]:
    observed = [one for one in deployments if verdict_of(one) is None or window_is_open(one, verdict_of(one))]
    counts = samples_so_far(observed)
    return [Row(one, verdict_of(one), counts.get(one.pk, 0)) for one in deployments]
