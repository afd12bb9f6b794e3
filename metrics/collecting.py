"""Collect one sample: what the job kinds of all phases share."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from time import monotonic
from typing import Any

from deployments.control import PRE_SAMPLES, Control, is_configured
from explain.errors import ExplainedError
from metrics.fetching import shared_fetcher
from metrics.measuring import measure
from metrics.models import Group, Phase
from metrics.sources import source_kind
from metrics.sources.base import Asking
from metrics.sources.http_endpoint import Answered, Configured, ControlGroup, Endpoint, answer_of, collect
from metrics.storing import Collected, Sample
from projects.models import ENDPOINT, Environment
from projects.units import METRICS_WITH_UNITS, Units
from scheduler.registry import Job, JobError, RunEnded
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
# Of the few that name other targets than their environment's: these, and the origins that a person configured.
NAMED = """
CASE WHEN control IS NOT NULL OR green <> '' THEN json_build_array(control, green, origins)::text END
"""
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


def as_named(endpoint: Endpoint, url: str, *, configured: bool) -> Endpoint:
    """Return the endpoint at a URL that a call names. configured: whether a person configured its origin; only then
    requests are signed."""
    if configured:
        return replace(endpoint, url=url, elsewhere=True)
    unsigned: dict[str, Any] = {"hmac_secret": "", "previous": Sealed(""), "previous_until": None}
    return replace(endpoint, url=url, elsewhere=True, named_by_call=True, **unsigned)


def with_named(endpoint: Endpoint, named: str, phase: str) -> Endpoint:
    """Return how a deployment is measured that names targets of its own. named: of NAMED."""
    stored, green, origins = json.loads(named)
    environment = Environment(metrics_endpoint=endpoint.url, origins=origins)

    def at(url: str) -> Endpoint:
        return as_named(endpoint, url, configured=is_configured(url, environment))

    treatment = at(green) if green and phase == Phase.POST else replace(endpoint)
    if stored is not None:
        control = Control.from_json(stored)
        own = at(control.endpoint) if control.endpoint else None
        treatment.control = ControlGroup(own, control.selector, control.of_treatment)
    return treatment


def collect_for(job: Job, endpoint: Endpoint, ended: RunEnded) -> None:
    """Ask the environment's sources for the job's sample; the database's clock gives the time that is signed and the
    sample's own.

    `ended` gets what store_samples takes, or a JobError.
    """
    group = endpoint.control
    if endpoint.sources or group is not None:
        task = asyncio.ensure_future(measure_both(job, endpoint, group) if group else measure_for(job, endpoint))
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


def asking_of(job: Job, endpoint: Endpoint, now: datetime) -> Asking:
    return Asking(
        shared_fetcher(),
        now,
        now,
        endpoint,
        phase=str(job.phase or ""),
        release=endpoint.release,
        since=endpoint.since,
    )


async def measure_for(job: Job, endpoint: Endpoint, asking: Asking | None = None) -> Collected:
    """Return what the environment's sources know. asking: for whom, else for the new version, now. Raises JobError."""
    if asking is None:
        now = database_time(job)
        asking = asking_of(job, endpoint, now)
    place = (job.deployment_id, job.phase, job.sequence_index, asking.group)
    if not endpoint.sources:
        metrics, with_previous = await answer_of(asking.fetcher, endpoint, now=partial(database_time, job))
        return Collected(
            endpoint.environment_id,
            [Sample(endpoint.environment_id, metrics, asking.instant, *place, with_previous=with_previous)],
        )
    found = await measure(endpoint.sources, asking, past=job.phase == Phase.PRE and job.sequence_index == 0)
    # The minutes before trigger follow the samples of trigger itself.
    begin = 1 if endpoint.control is None else PRE_SAMPLES
    given = [(job.sequence_index, asking.instant, found.metrics)]
    given += [(number, at, metrics) for number, (at, metrics) in enumerate(found.past, begin)]
    samples = [
        Sample(endpoint.environment_id, metrics, at, job.deployment_id, job.phase, number, asking.group)
        for number, at, metrics in given
        if not metrics.empty
    ]
    return Collected(endpoint.environment_id, samples, found.days, found.troubles, found.states)


async def measure_both(job: Job, endpoint: Endpoint, group: ControlGroup) -> Collected:
    """Return what is known of the new version and, at the same instant, of the control group.

    A control group that cannot be measured is told and no failure of the job. Raises JobError.
    """
    now = database_time(job)
    # Before, there is only the old version, and that is what the new one is compared with.
    matchers = () if job.phase == Phase.PRE else group.treatment
    asking = replace(asking_of(job, endpoint, now), matchers=matchers)
    found, control = await asyncio.gather(
        measure_for(job, endpoint, asking), measure_control(job, endpoint, group, now), return_exceptions=True
    )
    if isinstance(found, BaseException):
        raise found
    if isinstance(control, Collected):
        problems = [trouble for trouble in control.troubles.values() if trouble is not None]
        return replace(
            found,
            samples=[*found.samples, *control.samples],
            states=found.states | control.states,
            control_problem=next(iter(problems), None),
        )
    if isinstance(control, ExplainedError):
        return replace(found, control_problem=control.fact)
    raise control


async def measure_control(job: Job, endpoint: Endpoint, group: ControlGroup, now: datetime) -> Collected:
    """Return what those of the sources know of the control group that can be asked for it. Raises JobError."""
    told = {"endpoint": group.endpoint is not None, "selector": bool(group.selector)}
    sources = [one for one in endpoint.sources if (kind := source_kind(one.kind)) and told.get(kind.control)]
    if not sources and (endpoint.sources or group.endpoint is None):
        raise JobError("control_not_askable", kinds=", ".join(one.kind for one in endpoint.sources) or ENDPOINT)
    at = replace(group.endpoint or endpoint, sources=sources, control=group)
    asking = replace(asking_of(job, at, now), group=Group.CONTROL, matchers=group.selector)
    return await measure_for(job, at, asking)


def database_time(job: Job) -> datetime:
    """Return the time of the database's clock: its time at the claim and what has passed here since."""
    return job.claimed_at + timedelta(seconds=monotonic() - job.claimed_monotonic)
