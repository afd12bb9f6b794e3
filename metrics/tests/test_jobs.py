from dataclasses import replace
from datetime import timedelta
from time import monotonic

import pytest
from django.utils import timezone

from deployments.models import Deployment
from deployments.services import Trigger, finish_deployment, start_deployment
from explain.facts import Fact
from metrics.collecting import database_time, endpoint_of
from metrics.jobs import load_endpoints
from metrics.models import MetricSample
from metrics.storing import store_samples
from metrics.tests.factories import of_job
from projects.models import Environment
from projects.services import create_project, set_units
from projects.units import OUR_UNITS, Units
from scheduler.models import ScheduledJob
from scheduler.registry import Job
from scheduler.store import Failure, JobStore

pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment() -> Deployment:
    made = create_project("shop", environment="prod", endpoint="http://metrics.example/m", signed=True)
    started = start_deployment(made.project, Trigger(env="prod")).deployment
    finish_deployment(made.project, started.uuid, result="success")
    return started


def make_due(*job_types: str) -> None:
    now = timezone.now()
    jobs = ScheduledJob.objects.filter(job_type__in=job_types)
    # The database's time is that of the test's beginning.
    jobs.update(scheduled_at=now - timedelta(minutes=1), expires_at=now + timedelta(hours=1))


def claim(store: JobStore, job_type: str = "post_collect") -> list[Job]:
    """Claim due jobs and return those of this kind."""
    jobs = [job for job in store.claim(100)[0] if job.job_type == job_type]
    return sorted(jobs, key=lambda job: job.sequence_index)


def analysis_is_due() -> bool:
    return ScheduledJob.objects.due().filter(job_type="analysis").exists()


def test_a_job_knows_its_endpoint_and_secret_but_its_row_does_not(deployment: Deployment) -> None:
    make_due("pre_collect")
    [job] = claim(JobStore("a", 30), "pre_collect")
    endpoint = load_endpoints([job])[job.id]
    assert endpoint.url == "http://metrics.example/m"
    assert endpoint.hmac_secret.startswith("sphs_")
    assert endpoint.hmac_secret not in repr(endpoint)
    assert "sphs_" not in str(ScheduledJob.objects.values())
    assert endpoint.units == OUR_UNITS


def test_every_collection_knows_the_units_of_its_environment(deployment: Deployment) -> None:
    set_units(deployment.environment, latency_p95="s", cpu_usage="percent")
    make_due("pre_collect")
    [job] = claim(JobStore("a", 30), "pre_collect")
    baseline = endpoint_of(Environment.objects.select_related("project").get())
    assert load_endpoints([job])[job.id].units == baseline.units == Units(latency_p95="s", cpu_usage="percent")


def test_a_job_that_ran_twice_leaves_one_sample(deployment: Deployment) -> None:
    make_due("pre_collect")
    [job] = claim(JobStore("a", 30), "pre_collect")
    for seconds in (0, 7):
        at = timezone.now() + timedelta(seconds=seconds)
        store_samples([(job, of_job(job, deployment.environment_id, at))])
    assert MetricSample.objects.count() == 1


def test_the_analysis_is_due_as_soon_as_the_last_sample_is_in(deployment: Deployment) -> None:
    make_due("post_collect")
    store = JobStore("a", 30)
    jobs = claim(store)
    done = [(job, of_job(job, deployment.environment_id, job.scheduled_at)) for job in jobs]
    # Samples of one instant would be one sample: make_due has put all of them there.
    done = [
        (job, replace(one, collected_at=one.collected_at + timedelta(seconds=at))) for at, (job, one) in enumerate(done)
    ]
    store.complete(done[:4])
    assert not analysis_is_due()
    store.complete(done[4:])
    assert analysis_is_due()
    assert MetricSample.objects.count() == 5


def test_failures_and_expiry_end_the_wait_as_well(deployment: Deployment) -> None:
    make_due("post_collect")
    ScheduledJob.objects.filter(sequence_index=5).update(expires_at=timezone.now() - timedelta(minutes=1))
    store = JobStore("a", 30)
    jobs = claim(store)
    assert len(jobs) == 4
    store.fail([Failure(job, Fact("timeout"), None) for job in jobs])
    assert analysis_is_due()


def test_a_wrong_secret_ends_the_remaining_collections(deployment: Deployment) -> None:
    ScheduledJob.objects.filter(sequence_index=1).update(scheduled_at=timezone.now() - timedelta(minutes=1))
    store = JobStore("a", 30)
    [first] = claim(store)
    store.fail([Failure(first, Fact("unauthorized"), None)])
    rest = ScheduledJob.objects.filter(job_type="post_collect", sequence_index__gt=1)
    assert set(rest.values_list("status", "error_code")) == {("cancelled", "unauthorized")}
    assert analysis_is_due()


def test_the_time_of_a_sample_is_the_databases_not_ours() -> None:
    an_hour_ago = timezone.now() - timedelta(hours=1)
    job = Job(1, "pre_collect", "pre", 0, 1, an_hour_ago, None, 0, {}, an_hour_ago, monotonic() - 2)
    assert abs((database_time(job) - an_hour_ago).total_seconds() - 2) < 1
