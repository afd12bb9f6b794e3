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
    """A sample on its way into the database."""

    environment_id: int
    metrics: Metrics
    collected_at: datetime


@dataclass(frozen=True, slots=True)
class Target:
    """Where a job collects."""

    environment_id: int
    endpoint: Endpoint


def target_of(environment: Environment) -> Target:
    """The environment's endpoint as it is now."""
    endpoint = Endpoint(environment.metrics_endpoint, str(environment.project.uuid), environment.hmac_secret.open())
    return Target(environment.pk, endpoint)


async def collect_from(target: Target, job: Job) -> Metrics:
    """Asks the endpoint; the time that is signed is the database's clock, carried on from the claim."""
    return await collect(shared_fetcher(), target.endpoint, now=lambda: database_time(job))


def database_time(job: Job) -> datetime:
    """What the database's clock shows now: its time at the claim and what has passed here since."""
    return job.claimed_at + timedelta(seconds=monotonic() - job.claimed_monotonic)
