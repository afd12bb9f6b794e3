"""Collect one sample: what the job kinds of all phases share."""

from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from metrics.fetching import shared_fetcher
from metrics.sources.http_endpoint import Collected, Endpoint, collect
from metrics.storing import Sample
from projects.models import Environment
from scheduler.registry import Job, RunEnded


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
