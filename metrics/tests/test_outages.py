"""Endpoints that stop answering, refuse our signature and answer again: each emitted once."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deployments.models import State
from deployments.tests.factories import make_deployment
from events.models import Event, Incident
from explain.facts import Fact
from metrics.models import MetricSample
from metrics.storing import store as store_rows
from metrics.tests.factories import make_row, of_job
from projects.models import Environment
from projects.tests.factories import make_environment
from scheduler.registry import Job
from scheduler.store import Failure, JobStore
from scheduler.tests.factories import make_job

pytestmark = pytest.mark.django_db

ANSWER = "answer"


@pytest.fixture
def store() -> JobStore:
    return JobStore("a", 30)


def claimed(store: JobStore, *environments: Environment) -> list[Job]:
    """Return running collections of the baseline of these environments."""
    now = timezone.now()
    for environment in environments:
        make_job(
            job_type="baseline_collect",
            phase="baseline",
            scheduled_at=now - timedelta(minutes=1),
            job_metadata={"environment_id": environment.pk},
        )
    return [job for job in store.claim(1000)[0] if job.job_type == "baseline_collect"]


def collect(store: JobStore, environment: Environment, *outcomes: str) -> None:
    """Collect one sample after the other. outcomes: ANSWER, or the code of a failure."""
    for outcome in outcomes:
        [job] = claimed(store, environment)
        if outcome == ANSWER:
            count = MetricSample.objects.count()
            at = timezone.now() + timedelta(seconds=count)
            assert store.complete([(job, of_job(job, environment.pk, at))]) == [job.id]
            assert MetricSample.objects.count() == count + 1
        else:
            store.fail([Failure(job, Fact(outcome), None)])


def emitted() -> list[str]:
    return [f"{kind} {severity}" for kind, severity in Event.objects.order_by("id").values_list("kind", "severity")]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([ANSWER, "timeout", "timeout"], []),
        ([ANSWER, "timeout", "http_5xx", "refused"], ["endpoint_silent warning"]),
        ([ANSWER, *["timeout"] * 9], ["endpoint_silent warning"]),
        ([ANSWER, "timeout", "timeout", ANSWER, "timeout", "timeout"], []),
        ([ANSWER, *["timeout"] * 4, ANSWER, ANSWER], ["endpoint_silent warning", "endpoint_answers warning"]),
        (
            [ANSWER, *["timeout"] * 3, ANSWER, *["timeout"] * 3],
            ["endpoint_silent warning", "endpoint_answers warning", "endpoint_silent warning"],
        ),
        # Not set up yet.
        (["timeout"] * 6, []),
        (["timeout"] * 6 + [ANSWER], []),
        # Not called.
        ([ANSWER, *["no_endpoint"] * 4, *["blocked_by_ops"] * 4], []),
        (["unauthorized"], ["signature_refused critical"]),
        (["unauthorized"] * 4 + [ANSWER], ["signature_refused critical", "endpoint_answers critical"]),
        (
            [ANSWER, *["timeout"] * 3, "unauthorized", "timeout", "unauthorized", ANSWER],
            ["endpoint_silent warning", "signature_refused critical", "endpoint_answers critical"],
        ),
        ([ANSWER, "unauthorized", *["timeout"] * 5], ["signature_refused critical"]),
        ([ANSWER, *["unauthorized_unsigned"] * 3], ["endpoint_silent warning"]),
    ],
)
def test_what_is_told_of_a_course_of_collections(store: JobStore, outcomes: list[str], expected: list[str]) -> None:
    environment = make_environment(name="prod")
    collect(store, environment, *outcomes)
    assert emitted() == expected
    assert Incident.objects.exists() == (outcomes[-1] not in (ANSWER, "blocked_by_ops"))


def test_the_events_have_what_their_messages_need(store: JobStore) -> None:
    environment = make_environment(name="prod")
    collect(store, environment, ANSWER, *["timeout"] * 3, ANSWER)
    silent, answers = Event.objects.order_by("id")
    for event in (silent, answers):
        assert (event.team_id, event.project_id) == (environment.project.team_id, environment.project_id)
        assert (event.environment_id, event.deployment_id) == (environment.pk, None)
        assert (event.parameters["project"], event.parameters["environment"]) == (environment.project.name, "prod")
    assert (silent.parameters["times"], silent.parameters["reason"]) == (3, "timeout")
    assert answers.parameters["was"] == "endpoint_silent" and answers.parameters["since"]


def test_collections_of_a_deployment_count_as_well(store: JobStore) -> None:
    environment = make_environment()
    collect(store, environment, ANSWER, "timeout")
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    for index in (1, 2):
        make_job(
            job_type="post_collect",
            deployment=deployment,
            sequence_index=index,
            scheduled_at=timezone.now() - timedelta(minutes=1),
        )
    jobs = [job for job in store.claim(100)[0] if job.job_type == "post_collect"]
    store.fail([Failure(job, Fact("timeout"), None) for job in jobs])
    assert emitted() == ["endpoint_silent warning"]


def test_many_at_once_take_as_many_statements_as_few(store: JobStore) -> None:
    def outage(size: int) -> list[int]:
        environments = [make_environment() for _ in range(size)]
        store_rows(make_row(environment, timezone.now() - timedelta(minutes=5)) for environment in environments)
        for _ in range(2):
            store.fail([Failure(job, Fact("timeout"), None) for job in claimed(store, *environments)])
        jobs = claimed(store, *environments)
        with CaptureQueriesContext(connection) as failing:
            store.fail([Failure(job, Fact("timeout"), None) for job in jobs])
        jobs = claimed(store, *environments)
        at = timezone.now()
        with CaptureQueriesContext(connection) as answering:
            store.complete([(job, of_job(job, one.pk, at)) for job, one in zip(jobs, environments, strict=True)])
        assert Event.objects.filter(environment_id__in=[one.pk for one in environments]).count() == 2 * size
        return [len(failing), len(answering)]

    assert outage(2) == outage(25)
