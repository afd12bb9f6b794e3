"""Collect one sample: what the job kinds of all phases share."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from time import monotonic
from typing import Any

from metrics.fetching import shared_fetcher
from metrics.measuring import measure
from metrics.models import Phase, Source
from metrics.sources.base import Asking
from metrics.sources.http_endpoint import Answered, Configured, Endpoint, collect
from metrics.storing import Collected, Sample
from projects.models import Environment
from projects.units import METRICS_WITH_UNITS, Units
from scheduler.registry import Job, RunEnded
from security.encryption import Sealed

# For endpoint_of_row. Not by the ORM: that was the most expensive step between claim and request.
ENDPOINT_COLUMNS = f"""
    environment.id, metrics_endpoint, project.uuid::text, hmac_secret, previous_hmac_secret, previous_hmac_until,
    endpoint_blocked_at IS NOT NULL, {", ".join(f"{metric}_unit" for metric in METRICS_WITH_UNITS)},
    CASE WHEN source_kinds <> '[]' THEN
        (SELECT json_agg(json_build_array(source.id, kind, config, (
            SELECT json_object_agg("group", encode(state, 'base64')) FROM source_states WHERE source_id = source.id
        )) ORDER BY position, source.id)::text
        FROM metric_sources AS source WHERE source.environment_id = environment.id) END,
    CASE WHEN source_kinds <> '[]' THEN environment.policy ->> 'custom_metrics' END
"""  # noqa: S608  (names of our own columns)
_units = lru_cache(maxsize=64)(Units)
# The event loop itself keeps no reference to tasks.
_tasks: set[asyncio.Task[Collected]] = set()


def endpoint_of_row(row: Sequence[Any]) -> Endpoint:
    """Return the endpoint of a row of ENDPOINT_COLUMNS."""
    pk, url, project, secret, previous, until, blocked, *units, rows, custom = row
    endpoint = Endpoint(url, project, Sealed(secret).open(), Sealed(previous), until, blocked, pk, _units(*units))
    if rows:
        endpoint.sources = [
            Configured(number, kind, Sealed(config), {group: b64decode(text) for group, text in (states or {}).items()})
            for number, kind, config, states in json.loads(rows)
        ]
        endpoint.custom_kinds = kinds_of(json.loads(custom or "[]"))
    return endpoint


def kinds_of(custom_metrics: Any) -> dict[str, str]:
    """Return the kinds of the custom metrics of a policy as stored, by name."""
    named = [one for one in custom_metrics if isinstance(one, dict)] if isinstance(custom_metrics, list) else []
    return {str(one.get("name")): str(one.get("kind", "gauge")) for one in named}


def endpoint_of(environment: Environment, url: str | None = None) -> Endpoint:
    """Return how the environment's endpoint is asked; url: another address to ask the same way."""
    return Endpoint(
        environment.metrics_endpoint if url is None else url,
        str(environment.project.uuid),
        environment.hmac_secret.open(),
        environment.previous_hmac_secret,
        environment.previous_hmac_until,
        environment.endpoint_blocked_at is not None,
        environment.pk,
        environment.units,
        custom_kinds=kinds_of(environment.policy.get("custom_metrics")),
    )


def sources_of(environment: Environment) -> list[Configured]:
    """Return the environment's sources, none where only its endpoint is asked."""
    return [Configured(row.pk, row.kind, row.config) for row in Source.objects.filter(environment=environment)]


def collect_for(job: Job, endpoint: Endpoint, ended: RunEnded) -> None:
    """Ask the environment's sources for the job's sample; the database's clock gives the time that is signed and the
    sample's own.

    `ended` gets what store_samples takes, or a JobError.
    """
    if endpoint.sources:
        task = asyncio.ensure_future(measure_for(job, endpoint))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        task.add_done_callback(lambda done: ended(done.exception() or done.result()))
        return

    def collected(result: Answered | Exception) -> None:
        if isinstance(result, Exception):
            ended(result)
            return
        metrics, with_previous = result
        ended(
            Sample(
                endpoint.environment_id,
                metrics,
                database_time(job),
                job.deployment_id,
                job.phase,
                job.sequence_index,
                with_previous=with_previous,
            )
        )

    collect(shared_fetcher(), endpoint, collected, now=partial(database_time, job))


async def measure_for(job: Job, endpoint: Endpoint) -> Collected:
    """Return what the environment's sources know. Raises JobError."""
    now = database_time(job)
    asking = Asking(
        shared_fetcher(),
        now,
        now,
        endpoint,
        phase=str(job.phase or ""),
        release=endpoint.release,
        since=endpoint.since,
    )
    found = await measure(endpoint.sources, asking, past=job.phase == Phase.PRE)
    place = (job.deployment_id, job.phase)
    # The minutes before trigger follow the sample of trigger itself, which has place 0.
    given = [(job.sequence_index, now, found.metrics)]
    given += [(number, at, metrics) for number, (at, metrics) in enumerate(found.past, 1)]
    samples = [
        Sample(endpoint.environment_id, metrics, at, *place, number)
        for number, at, metrics in given
        if not metrics.empty
    ]
    return Collected(endpoint.environment_id, samples, found.days, found.troubles, found.states)


def database_time(job: Job) -> datetime:
    """Return the time of the database's clock: its time at the claim and what has passed here since."""
    return job.claimed_at + timedelta(seconds=monotonic() - job.claimed_monotonic)
