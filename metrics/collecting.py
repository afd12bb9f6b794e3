"""Collect one sample: what the job kinds of all phases share."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from time import monotonic
from typing import Any

from metrics.fetching import shared_fetcher
from metrics.sources.http_endpoint import Collected, Endpoint, collect
from metrics.storing import Sample
from projects.models import Environment
from projects.units import METRICS_WITH_UNITS, Units
from scheduler.registry import Job, RunEnded
from security.encryption import Sealed

# For endpoint_of_row. Not by the ORM: that was the most expensive step between claim and request.
ENDPOINT_COLUMNS = f"""
    environment.id, metrics_endpoint, project.uuid::text, hmac_secret, previous_hmac_secret, previous_hmac_until,
    endpoint_blocked_at IS NOT NULL, {", ".join(f"{metric}_unit" for metric in METRICS_WITH_UNITS)}
"""
_units = lru_cache(maxsize=64)(Units)


def endpoint_of_row(row: Sequence[Any]) -> Endpoint:
    """Return the endpoint of a row of ENDPOINT_COLUMNS."""
    pk, url, project, secret, previous, until, blocked, *units = row
    return Endpoint(url, project, Sealed(secret).open(), Sealed(previous), until, blocked, pk, _units(*units))


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
    )


def collect_for(job: Job, endpoint: Endpoint, ended: RunEnded) -> None:
    """Ask the endpoint for the job's sample; the database's clock gives the time that is signed and the sample's own.

    `ended` gets the Sample, or a JobError.
    """

    def collected(result: Collected | Exception) -> None:
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


def database_time(job: Job) -> datetime:
    """Return the time of the database's clock: its time at the claim and what has passed here since."""
    return job.claimed_at + timedelta(seconds=monotonic() - job.claimed_monotonic)
