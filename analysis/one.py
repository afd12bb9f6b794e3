"""One deployment for the API, in one prepared statement: pipelines ask for it again and again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection

from analysis.serializers import DeploymentSerializer
from common.database import prepared
from deployments.models import Deployment
from metrics.models import MARGIN, SAYS_NOTHING, Group, Phase
from metrics.payload import METRICS

OWN = [field.attname for field in Deployment._meta.concrete_fields]
LEVELS = METRICS
PHASES = (Phase.PRE, Phase.POST)
# Columns of related rows in SQL, by the name of their relation.
RELATED = {
    "environment": "environment.{}",
    "superseded_by": "later.{}",
    "verdict": "verdict.{}",
    "verdict__final": "verdict.final -> '{}'",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A deployment. values: what DeploymentSerializer shows; collected: the number of its POST samples.

    levels: means of each metric, of its PRE and its POST samples; None where there are none. For people who wait: the
    verdict compares them with more than that.
    """

    deployment: Deployment
    values: dict[str, Any]
    collected: int
    levels: dict[str, tuple[float | None, float | None]]


@cache
def related() -> dict[str, str]:
    """Return the columns of related rows that are shown: their names in SQL by their names in `values`."""
    names = [name for name in DeploymentSerializer.columns() if "__" in name]
    split = {name: name.rsplit("__", 1) for name in names}
    return {name: RELATED[relation].format(column) for name, (relation, column) in split.items()}


@cache
def statement() -> str:
    # The samples as in MetricSampleQuerySet.of.
    margin = f"interval '{MARGIN.total_seconds()} s'"
    own = ", ".join(f"deployment.{name}" for name in OWN)
    means = ", ".join(f"avg({name}) FILTER (WHERE phase = '{phase}')" for name in LEVELS for phase in PHASES)
    return f"""
SELECT {own}, {", ".join(related().values())}, samples.*
FROM deployments AS deployment JOIN projects_environment AS environment ON environment.id = deployment.environment_id
    CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE phase = '{Phase.POST}'), {means} FROM metric_samples AS sample
        WHERE sample.environment_id = deployment.environment_id AND sample.deployment_id = deployment.id
        AND phase IN ('{Phase.PRE}', '{Phase.POST}') AND "group" = '{Group.TREATMENT}' AND NOT ({SAYS_NOTHING})
        AND collected_at >= deployment.started_at - {margin}
        AND collected_at < coalesce(deployment.finished_at + make_interval(secs =>
            deployment.settle_s + deployment.window_samples * deployment.interval_s) + {margin}, 'infinity')) AS samples
    LEFT JOIN deployment_verdicts AS verdict ON verdict.deployment_id = deployment.id
    LEFT JOIN deployments AS later ON later.id = deployment.superseded_by_id
WHERE deployment.uuid = %(uuid)s::uuid AND deployment.project_id = %(project)s::bigint
"""  # noqa: S608  (names of our own columns, constants)


def find(project_id: int, uuid: UUID) -> Found | None:
    """Return the project's deployment with this id, if there is one."""
    rows = prepared(statement(), {"uuid": str(uuid), "project": str(project_id)}, repeatable=True)
    if not rows:
        return None
    [row] = rows
    deployment = Deployment.from_db(connection.alias, OWN, row[: len(OWN)])
    values = dict(zip([*OWN, *related()], row, strict=False))
    for name in (DeploymentSerializer.FINAL_HEALTH, DeploymentSerializer.HEALTH):
        values[name] = json.loads(values[name] or "null")
    if values["verdict__verdict"] is None:
        # Known to be missing: reading it must not query.
        deployment._state.fields_cache["verdict"] = None
    collected, *means = row[len(OWN) + len(related()) :]
    return Found(deployment, values, collected, dict(zip(LEVELS, pairs(means), strict=True)))


def pairs(means: Sequence[float | None]) -> list[tuple[float | None, float | None]]:
    """Return the means in pairs: before and after."""
    return list(zip(means[::2], means[1::2], strict=True))
