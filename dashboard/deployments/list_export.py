"""Stream the filtered list of deployments as a file, in the list's order.

Memory is constant: deployments are read in chunks, each starting after the last one. Columns, units and quoting:
docs/dashboard.md.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import Any

from django.db.models import F, Func, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from dashboard import keyset
from dashboard.deployments.filters import DeploymentFilters
from dashboard.deployments.listing import slice_at
from dashboard.keyset import few_or_all, one_of, written
from deployments.models import Deployment

CHUNK = 1000
# Columns and their sources.
FIELDS = {
    "number": "number",
    "deployment_id": "uuid",
    "project": "project__name",
    "project_id": "project__uuid",
    "environment": "environment__name",
    "kind": "kind",
    "state": "state",
    "pipeline_result": "pipeline_result",
    "verdict": "verdict__verdict",
    "confidence": "verdict__confidence",
    "conclusive": "verdict__conclusive",
    "early": "verdict__early",
    "healthy": "verdict__health__healthy",
    "shadow": "verdict__shadow",
    "final_verdict": "verdict__final__verdict",
    "verdict_at": "verdict__created_at",
    "branch": "branch",
    "commit_sha": "commit_sha",
    "commit_message": "commit_message",
    "version": "version",
    "author": "author",
    "url": "url",
    "committed_at": "committed_at",
    "started_at": "started_at",
    "finished_at": "finished_at",
    "duration_ms": "duration_ms",
}
COLUMNS = tuple(FIELDS)
Record = dict[str, Any]
# A spreadsheet may see a formula at the beginning of a text, or where some programs begin another cell (semicolons, if
# the comma is the decimal mark). Some read fullwidth signs as the plain ones.
FORMULA = re.compile(r"(^|[;\t\r\n])([ \"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


class Moment(Func):
    """Format ISO 8601 in UTC: 2026-11-23T14:30:05.123456Z. In the database: there may be half a million of them."""

    template = """to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    output_field = TextField()


def read_from(source: str) -> Any:
    """Return the expression that reads a source in its JSON form."""
    if source.endswith("_at"):
        return Moment(F(source))
    return Cast(F(source), TextField()) if source.endswith("uuid") else F(source)


SOURCES = tuple(read_from(source) for source in FIELDS.values())


class Echo:
    """A file-like object that returns what is written."""

    def write(self, line: str) -> str:
        return line


def everything(filters: DeploymentFilters) -> Iterator[list[Record]]:
    """Yield all deployments of the list in chunks, in order. Deployments that start meanwhile are not included."""
    rows, total = few_or_all(filters.rows())
    cursor, more = "", True
    while more:
        found = slice_at(filters, rows, cursor, CHUNK, few=total <= keyset.COUNTED)
        yield load(found.ids)
        cursor = written(found.older, filters.order)
        more = bool(cursor)


def load(ids: list[int]) -> list[Record]:
    """Load records of these deployments, in this order, without model instances: there may be a hundred thousand."""
    rows = Deployment.objects.filter(one_of("pk", ids)).values_list("pk", *SOURCES)
    found = {row[0]: record(row[1:]) for row in rows}
    return [found[pk] for pk in ids if pk in found]


def record(values: Sequence[Any]) -> Record:
    """Build a record by column; None for missing values."""
    return {name: None if value == "" else value for name, value in zip(COLUMNS, values, strict=True)}


def cell(value: Any) -> Any:
    """Write a value as a cell; possible formulas are prefixed with an apostrophe."""
    if isinstance(value, str):
        return FORMULA.sub(r"\1\2'", value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def as_csv(chunks: Iterable[list[Record]]) -> Iterator[str]:
    """Yield CSV with a byte order mark, which spreadsheets need to detect UTF-8, and a header line."""
    writer = csv.writer(Echo())
    yield "\ufeff" + writer.writerow(COLUMNS)
    for chunk in chunks:
        yield "".join(writer.writerow([cell(value) for value in one.values()]) for one in chunk)


def as_json(chunks: Iterable[list[Record]], filters: DeploymentFilters) -> Iterator[str]:
    """Yield one JSON object; the count is at its end, so that a truncated file is not valid JSON."""
    now = f"{timezone.now().astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    yield f'{{"exported_at": "{now}", "filters": {json.dumps(filters.query)}, "deployments": ['
    count = 0
    for chunk in chunks:
        lines = ",\n".join(json.dumps(one) for one in chunk)
        yield f"{',' if count and lines else ''}\n{lines}"
        count += len(chunk)
    yield f'\n], "count": {count}}}\n'


def file_name(kind: str) -> str:
    """Return the file name with the current day (UTC)."""
    return f"seqpulse-deployments-{timezone.now().astimezone(UTC):%Y-%m-%d}.{kind}"
