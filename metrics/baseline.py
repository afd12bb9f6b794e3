"""Sample the baseline of each environment while nothing is deployed or under observation."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from django.db.models import F, Func, JSONField

from common.arrays import array
from common.database import prepared
from deployments.models import State
from deployments.plan import valid_for
from explain.facts import Fact
from metrics.collecting import ENDPOINT_COLUMNS, collect_for, endpoint_of_row
from metrics.counting import count_lost
from metrics.models import Phase
from metrics.outages import note_failures
from metrics.sources.http_endpoint import Endpoint
from metrics.storing import store_samples
from projects.models import Environment, EnvironmentQuerySet, Project
from scheduler.models import ScheduledJob
from scheduler.queue import NewJob, cancel_of, database_now, enqueue
from scheduler.recurring import recurring
from scheduler.registry import Ended, Job, RunEnded, job_kind
from scheduler.retry import NO_RETRY

KIND = "baseline_collect"
SWEEP_EVERY_S = 60.0
# A prime, to spread the environments over the interval.
SPREAD = 7919
# Ticks to look back at for what the endpoint answered last.
LATEST = 10


def number_of(environment_id: int, every: int, now: datetime) -> int:
    """Return the number of the environment's last tick."""
    return math.floor((now.timestamp() - environment_id * SPREAD % every) / every)


def key_of(environment_id: int, every: int, number: int) -> str:
    """Return the unique key of the job of a tick."""
    return f"{KIND}:{environment_id}:{every}:{number}"


def latest_jobs(environment: Environment, now: datetime) -> list[ScheduledJob]:
    """Return the jobs of the environment's last ticks and of its next one, oldest first."""
    every = environment.effective_baseline_interval_s
    if not every:
        return []
    number = number_of(environment.pk, every, now)
    # By their keys, which are indexed: the table has millions of jobs.
    keys = [key_of(environment.pk, every, number + place) for place in range(1 - LATEST, 2)]
    return list(ScheduledJob.objects.filter(unique_key__in=keys).order_by("scheduled_at"))


def next_tick(environment: Environment, now: datetime) -> NewJob | None:
    """Return the environment's next baseline job after now; None where its baseline is off."""
    every = environment.effective_baseline_interval_s
    if not every:
        return None
    number = number_of(environment.pk, every, now) + 1
    due = datetime.fromtimestamp(number * every + environment.pk * SPREAD % every, UTC)
    return NewJob(
        KIND,
        due,
        phase=Phase.BASELINE,
        expires_at=due + valid_for(every),
        unique_key=key_of(environment.pk, every, number),
        fair_key=environment.project_id,
        metadata={"environment_id": environment.pk},
    )


# What next_tick reads: whole rows, with their policies, cost ten times as much.
TICKED = (
    "metrics_endpoint",
    "source_kinds",
    "baseline_interval_s",
    "endpoint_blocked_at",
    "deleting_at",
    "project__plan",
    "project__archived_at",
    "project__deleting_at",
)


def plan_next(environments: EnvironmentQuerySet) -> None:
    """Enqueue the next job of each of them, unless it exists."""
    now = database_now()
    found = environments.select_related("project").only(*TICKED)
    enqueue(job for environment in found if (job := next_tick(environment, now)) is not None)


@recurring("baseline_sweep", every_s=SWEEP_EVERY_S)
def sweep() -> None:
    """Start the chain of jobs of every environment without one: new, switched on, or with a broken chain."""
    # Found by the database: usually there is none among thousands. By a list, not by a join, which takes half a minute
    # while there are no statistics, right after thousands were added.
    going = ScheduledJob.objects.open().filter(job_type=KIND, job_metadata__has_key="environment_id")
    without = (
        Environment.objects.with_baseline()
        .exclude(baseline_interval_s=0)
        .annotate(own=Func(F("pk"), function="to_jsonb", output_field=JSONField()))
        .exclude(own__in=going.values("job_metadata__environment_id"))
    )
    plan_next(without)


def stop(project: Project, why: Fact) -> None:
    """Cancel the project's pending baseline jobs; a running one finishes."""
    cancel_of(project.pk, [KIND], why)


# Of environments with a baseline (EnvironmentQuerySet.with_baseline) and no deployment under way or under observation.
ENDPOINTS = f"""
SELECT {ENDPOINT_COLUMNS} FROM projects_environment AS environment
JOIN projects_project AS project ON project.id = environment.project_id
WHERE environment.id = ANY(%(ids)s::bigint[]) AND (metrics_endpoint <> '' OR source_kinds <> '[]')
    AND endpoint_blocked_at IS NULL AND environment.deleting_at IS NULL
    AND project.archived_at IS NULL AND project.deleting_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM deployments
        WHERE environment_id = environment.id AND state IN ('{State.RUNNING}', '{State.FINISHED}'))
"""  # noqa: S608  (names of our own columns and states)


def load_endpoints(jobs: Sequence[Job]) -> Mapping[int, Endpoint]:
    """Return the endpoint of each job; none where the environment is deleted, archived or blocked, or has a deployment
    under way or under observation."""
    wanted = {job.id: job.metadata.get("environment_id") for job in jobs}
    ids = array(pk for pk in wanted.values() if pk is not None)
    endpoints = {row[0]: endpoint_of_row(row) for row in prepared(ENDPOINTS, {"ids": ids})}
    return {job_id: endpoints[pk] for job_id, pk in wanted.items() if pk in endpoints}


def follow_up(jobs: Sequence[Ended]) -> None:
    """Enqueue the next job of each environment, in the transaction that ends this one."""
    count_lost(jobs)
    note_failures(jobs)
    ids = ScheduledJob.objects.filter(pk__in=[job.id for job in jobs]).values_list(
        "job_metadata__environment_id", flat=True
    )
    plan_next(Environment.objects.filter(pk__in=[pk for pk in ids if pk]))


@job_kind(KIND, retry=NO_RETRY, prepare=load_endpoints, record=store_samples, on_finished=follow_up, external=True)
def collect_baseline(job: Job, endpoint: Endpoint | None, ended: RunEnded) -> None:
    """Collect one baseline sample; None without an endpoint."""
    if endpoint is None:
        ended(None)
    else:
        collect_for(job, endpoint, ended)
