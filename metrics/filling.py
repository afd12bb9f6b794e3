"""The job kind fill_samples: ask once, before the verdict, for what the samples of a window lack.

Only sources that can answer for the past know it: a scrape that came late, an answer that timed out, minutes without a
poller. The analysis begins it, and waits for it at most WITHIN_S. Whether its samples count is decided by its own row:
the analysis ends a run that takes longer before it looks at what is stored.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from common.arrays import array
from metrics.collecting import ENDPOINT_COLUMNS, NAMED, database_time, endpoint_of_row, with_named
from metrics.fetching import shared_fetcher
from metrics.measuring import history_of, merged
from metrics.models import Group, Phase
from metrics.payload import METRICS, Metrics
from metrics.sources import RANGED_KINDS
from metrics.sources.base import Asking, Past
from metrics.sources.http_endpoint import Endpoint
from metrics.storing import Sample, custom_json, store
from scheduler.models import ScheduledJob
from scheduler.queue import NewJob, database_now, enqueue, expire, wake_when_done
from scheduler.registry import Ended, Job, job_kind
from scheduler.retry import NO_RETRY

KIND = "fill_samples"
# Of the 2 s that a verdict may take after the last sample.
WITHIN_S = 0.9
# So much later it begins: the analysis is pending again by then, and is woken at its end.
BEGINS_AFTER_S = 0.1
# Times are rounded to ms on their way.
TOLERANCE = timedelta(milliseconds=10)

GAPS = " OR ".join(f"count({metric}) BETWEEN 1 AND count(*) - 1" for metric in METRICS)
# Those whose window lacks samples, or samples that lack what others of the window have.
INCOMPLETE = f"""
SELECT deployments.id, deployments.project_id FROM deployments
JOIN projects_environment AS environment ON environment.id = environment_id
JOIN projects_project AS project ON project.id = deployments.project_id
CROSS JOIN LATERAL (
    SELECT count(*) AS stored, {GAPS} OR count(DISTINCT keys.names) > 1 AS with_gaps
    FROM metric_samples AS sample CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(name ORDER BY name), '{{}}') AS names
        FROM jsonb_object_keys(coalesce(custom_metrics, '{{}}')) AS name) AS keys
    WHERE sample.environment_id = deployments.environment_id AND deployment_id = deployments.id
        AND phase = '{Phase.POST}' AND "group" = '{Group.TREATMENT}' AND collected_at >= deployments.finished_at
) AS found
WHERE deployments.id = ANY(%s::bigint[]) AND source_kinds ?| %s::text[] AND (stored < window_samples OR with_gaps)
    AND endpoint_blocked_at IS NULL AND project.archived_at IS NULL AND project.deleting_at IS NULL
"""  # noqa: S608  (names of our own columns)

ENDPOINTS = f"""
SELECT deployments.id, finished_at + deployments.settle_s * interval '1 second', interval_s, window_samples, {NAMED},
    {ENDPOINT_COLUMNS}
FROM deployments
JOIN projects_environment AS environment ON environment.id = environment_id
JOIN projects_project AS project ON project.id = deployments.project_id
WHERE deployments.id = ANY(%s::bigint[]) AND finished_at IS NOT NULL
"""  # noqa: S608  (names of our own columns)

# What a stored sample does not know.
COMPLETE = f"""
UPDATE metric_samples AS sample SET
    {", ".join(f"{metric} = coalesce(sample.{metric}, given.{metric})" for metric in METRICS)},
    instances = coalesce(sample.instances, given.instances),
    custom_metrics = CASE WHEN given.custom IS NULL THEN custom_metrics
        ELSE given.custom || coalesce(custom_metrics, '{{}}') END
FROM unnest(%(places)s::int[], %(custom)s::jsonb[], %(instances)s::int[],
        {", ".join(f"%({metric})s::float8[]" for metric in METRICS)})
    AS given(place, custom, instances, {", ".join(METRICS)})
WHERE environment_id = %(environment)s AND deployment_id = %(deployment)s AND phase = '{Phase.POST}'
    AND "group" = '{Group.TREATMENT}' AND sequence_index = place AND collected_at >= %(since)s
"""  # noqa: S608  (names of our own columns)


@dataclass(frozen=True, slots=True)
class Planned:
    """The places of a window: number i is start + i intervals."""

    endpoint: Endpoint
    start: datetime
    interval: timedelta
    count: int


def begin_filling(deployment_ids: Sequence[int]) -> set[int]:
    """Begin to fill the windows that lack something, each once; return the deployments that are being filled.

    A run that took too long is ended, so that nothing is stored of it any more.
    """
    if not deployment_ids:
        return set()
    expire(deployment_ids, [KIND], running=True)
    with connection.cursor() as cursor:
        cursor.execute(INCOMPLETE, [array(deployment_ids), array(RANGED_KINDS)])
        incomplete = cursor.fetchall()
    if not incomplete:
        return set()
    now = database_now()
    due, until = now + timedelta(seconds=BEGINS_AFTER_S), now + timedelta(seconds=WITHIN_S)
    enqueue(
        NewJob(KIND, due, deployment_id=pk, phase=Phase.POST, expires_at=until, fair_key=project_id)
        for pk, project_id in incomplete
    )
    going_on = ScheduledJob.objects.open().filter(job_type=KIND, deployment_id__in=[pk for pk, _ in incomplete])
    return {pk for pk in going_on.values_list("deployment_id", flat=True) if pk is not None}


def load_places(jobs: Sequence[Job]) -> Mapping[int, Planned]:
    ids = array({job.deployment_id for job in jobs if job.deployment_id is not None})
    with connection.cursor() as cursor:
        cursor.execute(ENDPOINTS, [ids])
        found = {
            pk: Planned(planned_endpoint(row, named), start, timedelta(seconds=interval_s), count)
            for pk, start, interval_s, count, named, *row in cursor.fetchall()
        }
    return {job.id: found[job.deployment_id] for job in jobs if job.deployment_id in found}


def planned_endpoint(row: Sequence[Any], named: str | None) -> Endpoint:
    endpoint = endpoint_of_row(row)
    return endpoint if named is None else with_named(endpoint, named, Phase.POST)


def store_found(done: Sequence[tuple[Job, Sequence[Sample]]]) -> None:
    """Store the samples of places without one, and what others lack."""
    for job, found in done:
        store(found)
        samples = [sample for sample in found if sample.group == Group.TREATMENT]
        if not samples:
            continue
        given: dict[str, Any] = {
            metric: array(getattr(sample.metrics, metric) for sample in samples) for metric in METRICS
        }
        given |= {
            "places": array(sample.sequence_index for sample in samples),
            "custom": array(custom_json(sample.metrics) for sample in samples),
            "instances": array(sample.metrics.instances for sample in samples),
            "environment": samples[0].environment_id,
            "deployment": job.deployment_id,
            "since": samples[0].collected_at - timedelta(hours=1),
        }
        with connection.cursor() as cursor:
            cursor.execute(COMPLETE, given)


def after_filling(jobs: Sequence[Ended]) -> None:
    """Judge at once, whatever was found."""
    wake_when_done("analysis", [job.deployment_id for job in jobs if job.deployment_id is not None], awaited=(KIND,))


@job_kind(
    KIND,
    retry=NO_RETRY,
    prepare=load_places,
    record=store_found,
    on_finished=after_filling,
    external=True,
    apart=True,
)
async def fill_samples(job: Job, planned: Planned | None) -> Sequence[Sample]:
    """Return a sample for each place of the window of which the sources know something now."""
    if planned is None or not planned.endpoint.sources:
        return ()
    now = database_time(job)
    left_s = ((job.expires_at or now) - now).total_seconds()
    asking = Asking(shared_fetcher(), now, now, planned.endpoint)
    groups = [asking]
    if control := planned.endpoint.control:
        groups = [replace(asking, matchers=control.treatment)]
        if control.selector:
            groups.append(replace(asking, group=Group.CONTROL, matchers=control.selector))
    first, last = planned.start + planned.interval, planned.start + planned.count * planned.interval
    span: dict[str, Any] = {"since": first, "until": min(last, now), "step_s": planned.interval.total_seconds()}
    try:
        async with asyncio.timeout(left_s):
            pasts = await asyncio.gather(*(history_of(planned.endpoint.sources, one, **span) for one in groups))
    except TimeoutError:
        return ()
    return [
        Sample(planned.endpoint.environment_id, metrics, at, job.deployment_id, Phase.POST, place, one.group)
        for one, past in zip(groups, pasts, strict=True)
        for place, at, metrics in by_place(planned, past)
    ]


def by_place(planned: Planned, past: Past) -> list[tuple[int, datetime, Metrics]]:
    """Return what is known of each place: of the interval that ends there, the latest of each metric."""
    found = []
    for place in range(1, planned.count + 1):
        until = planned.start + place * planned.interval
        known = [metrics for at, metrics in past if until - planned.interval + TOLERANCE < at <= until + TOLERANCE]
        metrics = merged(known[::-1])
        if not metrics.empty:
            found.append((place, until, metrics))
    return found
