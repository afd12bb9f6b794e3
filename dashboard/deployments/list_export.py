"""The list of deployments as a file: everything that is filtered, in the list's order, written while it is read.

Memory does not grow with the list: deployments are read a chunk at a time, each chunk from where the last one ended.
The columns, their units and what is quoted how: docs/dashboard.md.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from dashboard.deployments.filters import DeploymentFilters
from dashboard.deployments.listing import COUNTED, few_or_all, load, slice_at
from dashboard.deployments.queries import verdict_of
from dashboard.keyset import written
from deployments.models import Deployment

CHUNK = 1000
COLUMNS = (
    *("number", "deployment_id", "project", "project_id", "environment", "state", "pipeline_result"),
    *("verdict", "confidence", "conclusive", "early", "shadow", "final_verdict", "verdict_at"),
    *("branch", "commit_sha", "version", "author", "url", "started_at", "finished_at", "duration_ms"),
)
# What a spreadsheet takes for a formula.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class Echo:
    """A file that gives back what is written to it."""

    def write(self, line: str) -> str:
        return line


def everything(filters: DeploymentFilters) -> Iterator[list[Deployment]]:
    """All deployments of the list, in its order, a chunk at a time. What comes in meanwhile is not among the newest."""
    rows, total = few_or_all(filters.rows())
    cursor, more = "", True
    while more:
        found = slice_at(filters, rows, cursor, CHUNK, few=total <= COUNTED)
        yield load(found.ids)
        cursor = written(found.older, filters.order)
        more = bool(cursor)


def record(deployment: Deployment) -> dict[str, Any]:
    """A deployment as the file has it; None where there is nothing."""
    verdict = verdict_of(deployment)
    judged: dict[str, Any] = dict.fromkeys(COLUMNS)
    if verdict is not None:
        judged |= {name: getattr(verdict, name) for name in ("verdict", "confidence", "conclusive", "early", "shadow")}
        judged |= {"final_verdict": (verdict.final or {}).get("verdict"), "verdict_at": moment(verdict.created_at)}
    return judged | {
        "number": deployment.number,
        "deployment_id": str(deployment.uuid),
        "project": deployment.project.name,
        "project_id": str(deployment.project.uuid),
        "environment": deployment.environment.name,
        "state": deployment.state,
        "pipeline_result": deployment.pipeline_result or None,
        **{name: getattr(deployment, name) or None for name in ("branch", "commit_sha", "version", "author", "url")},
        "started_at": moment(deployment.started_at),
        "finished_at": moment(deployment.finished_at),
        "duration_ms": deployment.duration_ms,
    }


def moment(at: datetime | None) -> str | None:
    """ISO 8601 in UTC: 2026-11-23T14:30:05.123456Z."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def cell(value: Any) -> str:
    """A value as a cell: a text that a spreadsheet would calculate gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULAS) else text


def as_csv(chunks: Iterable[list[Deployment]]) -> Iterator[str]:
    """UTF-8 with a byte order mark, for spreadsheets that would else guess; a line of names first."""
    writer = csv.writer(Echo())
    yield "\ufeff" + writer.writerow(COLUMNS)
    for chunk in chunks:
        yield "".join(writer.writerow([cell(value) for value in record(one).values()]) for one in chunk)


def as_json(chunks: Iterable[list[Deployment]], filters: DeploymentFilters) -> Iterator[str]:
    """One object; the count stands at its end, so that a file that broke off is no valid JSON."""
    yield f'{{"exported_at": "{moment(timezone.now())}", "filters": {json.dumps(filters.query)}, "deployments": ['
    count = 0
    for chunk in chunks:
        lines = ",\n".join(json.dumps(record(one)) for one in chunk)
        yield f"{',' if count and lines else ''}\n{lines}"
        count += len(chunk)
    yield f'\n], "count": {count}}}\n'


def file_name(kind: str) -> str:
    """With the day (UTC) on which it was made."""
    return f"seqpulse-deployments-{timezone.now().astimezone(UTC):%Y-%m-%d}.{kind}"
