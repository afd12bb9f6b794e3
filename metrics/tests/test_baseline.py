from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from deployments.services import Trigger, finish_deployment, start_deployment
from explain.facts import Fact
from metrics.baseline import KIND, load_endpoints, next_tick, sweep
from metrics.models import MetricSample
from metrics.tests.factories import of_job
from projects.models import Environment
from projects.services import NewProject, create_project
from scheduler.models import ScheduledJob
from scheduler.registry import Job
from scheduler.store import Failure, JobStore

pytestmark = pytest.mark.django_db


@pytest.fixture
def made() -> NewProject:
    return create_project("shop", environment="prod", endpoint="http://metrics.example/m", plan="pro")


def make_due() -> None:
    # The tick of this job has passed as well.
    ScheduledJob.objects.filter(job_type=KIND, status="pending").update(
        unique_key="the tick before",
        scheduled_at=timezone.now() - timedelta(minutes=5),
        expires_at=timezone.now() + timedelta(hours=1),
    )


def claim() -> tuple[JobStore, list[Job]]:
    store = JobStore("a", 30)
    return store, [job for job in store.claim(10)[0] if job.job_type == KIND]


@pytest.mark.parametrize(
    ("plan", "own", "seconds"),
    [
        ("free", None, 300),
        ("pro", None, 60),
        ("enterprise", None, 60),
        ("free", 60, 300),
        ("pro", 600, 600),
        ("pro", 0, 0),
    ],
)
def test_the_interval_is_the_plans_or_a_longer_one_of_ones_own(plan: str, own: int | None, seconds: int) -> None:
    made = create_project("x", environment="prod", endpoint="http://metrics.example/m", plan=plan)
    made.environment.baseline_interval_s = own
    assert made.environment.effective_baseline_interval_s == seconds


@pytest.mark.parametrize(("own", "seconds"), [(None, 5), (60, 60), (1, 5), (0, 0)])
def test_an_installation_may_sample_more_often_than_its_plans(own: int | None, seconds: int, settings: Any) -> None:
    settings.SEQPULSE_BASELINE_INTERVAL_SECONDS = 5
    made = create_project("x", environment="prod", endpoint="http://metrics.example/m")
    made.environment.baseline_interval_s = own
    assert made.environment.effective_baseline_interval_s == seconds


def test_ticks_are_an_interval_apart_and_named(made: NewProject) -> None:
    first = next_tick(made.environment, datetime(2026, 1, 1, tzinfo=UTC))
    assert first is not None
    assert first.scheduled_at is not None
    second = next_tick(made.environment, first.scheduled_at)
    assert second is not None
    assert second.scheduled_at == first.scheduled_at + timedelta(seconds=60)
    assert first.unique_key != second.unique_key


def test_the_sweep_begins_each_chain_once(made: NewProject) -> None:
    create_project("bare", environment="prod")
    sweep()
    sweep()
    jobs = ScheduledJob.objects.filter(job_type=KIND)
    assert [job.job_metadata for job in jobs] == [{"environment_id": made.environment.pk}]


def test_a_sample_is_stored_and_the_next_one_planned(made: NewProject) -> None:
    sweep()
    make_due()
    store, [job] = claim()
    endpoint = load_endpoints([job])[job.id]
    store.complete([(job, of_job(job, endpoint.environment_id, timezone.now()))])
    sample = MetricSample.objects.get()
    assert (sample.phase, sample.environment, sample.deployment) == ("baseline", made.environment, None)
    assert ScheduledJob.objects.filter(job_type=KIND, status="pending").count() == 1


def test_a_failed_one_does_not_break_the_chain(made: NewProject) -> None:
    sweep()
    make_due()
    store, [job] = claim()
    store.fail([Failure(job, Fact("refused"), None)])
    assert ScheduledJob.objects.filter(job_type=KIND, status="pending").count() == 1


def test_none_is_taken_while_something_is_deployed_or_observed(made: NewProject) -> None:
    sweep()
    make_due()
    _, [job] = claim()
    assert job.id in load_endpoints([job])
    deployment = start_deployment(made.project, Trigger(env="prod")).deployment
    assert job.id not in load_endpoints([job])
    finish_deployment(made.project, deployment.uuid, result="success")
    assert job.id not in load_endpoints([job])


def test_switching_it_off_ends_the_chain(made: NewProject) -> None:
    sweep()
    make_due()
    Environment.objects.update(baseline_interval_s=0)
    store, [job] = claim()
    store.complete([(job, None)])
    assert not ScheduledJob.objects.filter(job_type=KIND, status="pending").exists()
    sweep()
    assert not ScheduledJob.objects.filter(job_type=KIND, status="pending").exists()
