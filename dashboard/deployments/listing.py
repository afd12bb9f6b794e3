"""Load a page of the list of deployments in a fixed number of queries, for any filter and order."""

from typing import Any

from dashboard import keyset
from dashboard.deployments import by_project
from dashboard.deployments.acknowledgements import said_last
from dashboard.deployments.filters import BY_PROJECT, ORDERS, DeploymentFilters
from dashboard.deployments.queries import Row, findings_of, samples_so_far, window_is_open
from dashboard.keyset import PAGE_SIZE, Page, Slice, few_or_all, load, place_of, read, written
from dashboard.labels import verdict_of
from deployments.models import Deployment

# Rows of verdicts are wide; a list needs few columns.
COLUMNS = (
    *("uuid", "number", "branch", "commit_sha", "commit_message", "version", "author", "url"),
    *("state", "pipeline_result", "started_at", "finished_at", "duration_ms"),
    *("window_samples", "interval_s", "settle_s", "kind"),
    *("project__name", "project__uuid", "environment__name"),
    *(f"verdict__{name}" for name in ("verdict", "confidence", "conclusive", "early", "health", "final", "shadow")),
    "verdict__created_at",
)


def deployments_page(filters: DeploymentFilters, cursor: str = "", *, size: int = PAGE_SIZE) -> Page:
    """Load the page at the cursor.

    Five queries: count, ids of the page, rows, samples (none without a running observation), findings (none without a
    bad verdict); one more if many rows are ordered by project.
    """
    rows, total = few_or_all(filters.rows())
    found = slice_at(filters, rows, cursor, size, few=total <= keyset.COUNTED)
    deployments = Deployment.objects.select_related("project", "environment", "verdict").only(*COLUMNS)
    deployments = deployments.annotate(said_last=said_last())
    return Page(
        rows=with_progress(load(deployments, found.ids)),
        newer=written(found.newer, filters.order),
        older=written(found.older, filters.order),
        total=total,
    )


def slice_at(filters: DeploymentFilters, rows: Any, cursor: str, size: int, *, few: bool) -> Slice:
    """Return the ids of a page. One query; two for many rows ordered by project. few: the rows are selected by ids."""
    order = ORDERS[filters.order]
    place = place_of(cursor, filters.order, order.kind)
    if filters.order not in BY_PROJECT:
        return read(order.parts(rows), place, size, downward=order.downward)
    projects = [one.pk for one in filters.seen.projects]
    ordered = projects if filters.order == "project" else projects[::-1]
    return by_project.read(rows, ordered, place, size, few=few)


def with_progress(deployments: list[Deployment]) -> list[Row]:
    observed = [one for one in deployments if verdict_of(one) is None or window_is_open(one)]
    counts = samples_so_far(observed)
    findings = findings_of(deployments)
    return [Row(one, counts.get(one.pk, 0), findings.get(one.pk, "")) for one in deployments]
