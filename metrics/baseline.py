"""Sample the baseline of each environment while nothing is deployed or under observation."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from django.db.models import F, Func, JSONField

from deployments.models import Deployment, State
from deployments.plan import valid_for
from explain.facts import Fact
from metrics.collecting import collect_for, endpoint_of
from metrics.counting import count_lost
from metrics.models import Phase
from metrics.sources.http_endpoint import Endpoint
from metrics.storing import store_samples
from projects.models import Environment, Project
from scheduler.models import ScheduledJob
from scheduler.queue import NewJob, cancel_of, database_now, enqueue
from scheduler.recurring import recurring
from scheduler.registry import Ended, Job, RunEnded, job_kind
from scheduler.retry import NO_RETRY

KIND = "baseline_collect"
SWEEP_EVERY_S = 60.0
# A prime, to spread the environments over the interval.
SPREAD = 7919


def next_tick(environment: Environment, now: datetime) -> NewJob | None:
    """Return the environment's next baseline job after now; None where its baseline is off."""
    every = environment.effective_baseline_interval_s
    if not every:
        return None
    offset = environment.pk * SPREAD % every
    number = math.floor((now.timestamp() - offset) / every) + 1
    due = datetime.fromtimestamp(number * every + offset, UTC)
    return NewJob(
        KIND,
        due,
        phase=Phase.BASELINE,
        expires_at=due + valid_for(every),
        unique_key=f"{KIND}:{environment.pk}:{every}:{number}",
        fair_key=environment.project_id,
        metadata={"environment_id": environment.pk},
    )


def plan_next(environments: Iterable[Environment]) -> None:
    """Enqueue the next job of each of them, unless it exists."""
    now = database_now()
    jobs = [job for environment in environments if (job := next_tick(environment, now)) is not None]
    enqueue(jobs)


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
    plan_next(without.select_related("project"))


def stop(project: Project, why: Fact) -> None:
    """Cancel the project's pending baseline jobs; a running one finishes."""
    cancel_of(project.pk, [KIND], why)


def load_endpoints(jobs: Sequence[Job]) -> Mapping[int, Endpoint]:
    """Return the endpoint of each job; none where the environment is deleted, archived or blocked, or has a deployment
    under way or under observation."""
    wanted = {job.id: job.metadata.get("environment_id") for job in jobs}
    ids = [pk for pk in wanted.values() if pk is not None]
    under_way = Deployment.objects.filter(environment_id__in=ids, state__in=[State.RUNNING, State.FINISHED])
    busy = set(under_way.values_list("environment_id", flat=True))
    asked = Environment.objects.with_baseline().select_related("project")
    environments = asked.in_bulk([pk for pk in ids if pk not in busy])
    return {job_id: endpoint_of(environments[pk]) for job_id, pk in wanted.items() if pk in environments}


def follow_up(jobs: Sequence[Ended]) -> None:
    """Enqueue the next job of each environment, in the transaction that ends this one."""
    count_lost(jobs)
    ids = ScheduledJob.objects.filter(pk__in=[job.id for job in jobs]).values_list(
        "job_metadata__environment_id", flat=True
    )
    plan_next(Environment.objects.filter(pk__in=[pk for pk in ids if pk]).select_related("project"))


@job_kind(KIND, retry=NO_RETRY, prepare=load_endpoints, record=store_samples, on_finished=follow_up)
def collect_baseline(job: Job, endpoint: Endpoint | None, ended: RunEnded) -> None:
    """Collect one baseline sample; None without an endpoint."""
    if endpoint is None:
        ended(None)
    else:
        collect_for(job, endpoint, ended)
