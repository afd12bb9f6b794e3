"""What the collections of all phases share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from metrics.fetching import shared_fetcher
from metrics.payload import Metrics
from metrics.sources.http_endpoint import Endpoint, collect
from projects.models import Environment
from scheduler.registry import Job


@dataclass(frozen=True, slots=True)
class Collected:
    """A sample on its way into the database. with_previous: the endpoint knew only the secret of before a rotation."""

    environment_id: int
    metrics: Metrics
    collected_at: datetime
    with_previous: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a job collects."""

    environment_id: int
    endpoint: Endpoint


def target_of(environment: Environment) -> Target:
    """The environment's endpoint as it is now."""
    return Target(environment.pk, endpoint_of(environment))


def endpoint_of(environment: Environment, url: str | None = None) -> Endpoint:
    """How the environment's endpoint is asked; url: another one, which it may get."""
    return Endpoint(
        environment.metrics_endpoint if url is None else url,
        str(environment.project.uuid),
        environment.hmac_secret.open(),
        environment.previous_hmac_secret,
        environment.previous_hmac_until,
        environment.endpoint_blocked_at is not None,
    )


async def collected_from(target: Target, job: Job) -> Collected:
    """Asks the endpoint; the time that is signed, and the sample's own, is the database's clock, carried on from the
    claim."""
    answer = await collect(shared_fetcher(), target.endpoint, now=lambda: database_time(job))
    return Collected(target.environment_id, answer.metrics, database_time(job), answer.with_previous)


def database_time(job: Job) -> datetime:
    """What the database's clock shows now: its time at the claim and what has passed here since."""
    return job.claimed_at + timedelta(seconds=monotonic() - job.claimed_monotonic)
