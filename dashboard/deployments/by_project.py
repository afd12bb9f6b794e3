"""Order the list by project name, which is in another table: no index has that order.

The rows of each project have one, so the database can go from project to project and stop when the page is full
(`walk`). If the filters exclude many rows, they are sorted instead (`sort`), because walking through a project without
matches would be slow.
"""

import json
from collections.abc import Sequence
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import BigIntegerField, F, Func, IntegerField, Q, Value
from django.db.models.expressions import RawSQL
from django.db.models.lookups import GreaterThan

from common.listing import LARGEST_ID
from dashboard.keyset import Beyond, Place, Slice, one_of, slice_of
from deployments.models import DeploymentQuerySet

WALK = """
SELECT listed.id, found.started_at, found.id
FROM unnest(%s::bigint[], %s::timestamptz[], %s::bigint[]) WITH ORDINALITY AS listed (id, start, pk, spot)
CROSS JOIN LATERAL ({rows}) AS found (started_at, id)
LIMIT %s
"""
# Sorting more than this is slower than walking: it takes milliseconds per 10,000 rows.
MOST_SORTED = 50_000
IDS: Any = ArrayField(BigIntegerField())


def read(rows: DeploymentQuerySet, projects: Sequence[int], place: Place | None, size: int, *, few: bool) -> Slice:
    """Read one page of the projects' rows, each project newest first. Two queries, one for few rows.

    Place.part is the project.
    """
    if place is None or place.part not in projects or place.key is None:
        place = None
    backward = place is not None and place.backward
    ahead = list(projects[::-1] if backward else projects)
    while place is not None and ahead[0] != place.part:
        ahead.pop(0)
    try:
        way = sort if few or about(rows) <= MOST_SORTED else walk
        found = way(rows, ahead, place, backward=backward, limit=size + 1) if ahead else []
    except EmptyResultSet:
        found = []
    return slice_of(found, place, size)


def about(rows: DeploymentQuerySet) -> int:
    """Return PostgreSQL's estimate of the number of rows."""
    plan = json.loads(rows.order_by().explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])


def walk(
    rows: DeploymentQuerySet, ahead: list[int], place: Place | None, *, backward: bool, limit: int
) -> list[tuple[Any, ...]]:
    """Return the first rows of these projects as (project, start, id); the place bounds the first project only."""
    everything: tuple[Any, int] = ("-infinity", 0) if backward else ("infinity", LARGEST_ID)
    bounds = [everything] * len(ahead)
    if place is not None:
        bounds[0] = (place.key, place.pk)
    start, pk, project = (RawSQL(f"listed.{name}", ()) for name in ("start", "pk", "id"))  # noqa: S611  (constants)
    own = rows.filter(Beyond(["started_at", "pk"], [start, pk], ">" if backward else "<"), project_id=project)
    sign = "" if backward else "-"
    ordered = own.order_by(f"{sign}started_at", f"{sign}id").values_list("started_at", "pk")[:limit]
    sql, values = ordered.query.sql_with_params()
    starts, ids = [str(one) for one, _ in bounds], [one for _, one in bounds]
    with connection.cursor() as cursor:
        cursor.execute(WALK.format(rows=sql), [ahead, starts, ids, *values, limit])
        found: list[tuple[Any, ...]] = cursor.fetchall()
    # The order of the rows is not guaranteed: sort by start and id, then stably by project.
    spots = {project: spot for spot, project in enumerate(ahead)}
    found.sort(key=lambda row: row[1:], reverse=not backward)
    found.sort(key=lambda row: spots[row[0]])
    return found


def sort(
    rows: DeploymentQuerySet, ahead: list[int], place: Place | None, *, backward: bool, limit: int
) -> list[tuple[Any, ...]]:
    """Return the same by sorting all rows."""
    listed = Value(ahead, output_field=IDS)
    spot: Any = Func(listed, F("project_id"), function="array_position", output_field=IntegerField())
    rows = rows.filter(one_of("project_id", ahead))
    if place is not None:
        beyond = Beyond(["started_at", "pk"], [place.key, place.pk], ">" if backward else "<")
        rows = rows.filter(Q(GreaterThan(spot, 1)) | Q(beyond))
    sign = "" if backward else "-"
    return list(
        rows.order_by(spot, f"{sign}started_at", f"{sign}pk").values_list("project_id", "started_at", "pk")[:limit]
    )
