"""Samples that services push: what is taken, and what verdicts see of it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from deployments.services import Trigger, start_deployment
from metrics import pushed
from metrics.collecting import measure_for
from metrics.configuring import add_source
from metrics.jobs import load_endpoints
from metrics.models import MetricLevel, MetricSample, Phase, PushedSample
from metrics.pushed import levels_between
from metrics.storing import store_samples
from metrics.tests.test_sources import pre_job
from projects.models import Environment
from projects.services import NewProject, create_project
from scheduler.tests.kinds import wait_until

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture
def made() -> NewProject:
    return create_project("shop", environment="prod")


def push(made: NewProject, samples: Any, *, env: str = "prod", status: int = 200) -> dict[str, Any]:
    response = Client().post(
        "/samples",
        json.dumps({"env": env, "samples": samples}),
        content_type="application/json",
        headers={"X-API-Key": made.api_key},
    )
    assert response.status_code == status, response.content
    found: dict[str, Any] = response.json()
    return found


def ago(**past: float) -> str:
    return (timezone.now() - timedelta(**past)).isoformat()


def test_the_first_push_makes_pushed_samples_the_source_and_repeats_are_one(made: NewProject) -> None:
    batch = [
        {"at": ago(seconds=5), "instance": "a", "requests_per_sec": 12, "latency_p95": 180},
        {"at": ago(minutes=9), "instance": "a", "custom": {"backlog": 3}},
        {"at": ago(minutes=11), "error_rate": 0.1},
        {"at": (timezone.now() + timedelta(minutes=2)).timestamp(), "error_rate": 0.1},
        {"error_rate": None, "cpu_usage": 0.5},
    ]
    first = push(made, batch)
    assert (first["taken"], first["repeated"], first["refused"]) == (3, 0, 2)
    assert sorted(first["errors"]) == ["samples.2.at", "samples.3.at"]
    assert "prod is measured by what is pushed" in first["message"]
    assert Environment.objects.get().source_kinds == ["push"]
    again = push(made, batch[:4])
    assert again == {**first, "taken": 0, "repeated": 2, "message": None}
    # In another order, as epoch: the same times.
    at = datetime.fromisoformat(str(batch[0]["at"])).timestamp()
    assert push(made, [{"at": at, "instance": "a", "cpu_usage": 1}])["repeated"] == 1
    assert PushedSample.objects.count() == 3


def test_the_usual_call_is_one_statement(made: NewProject, django_assert_num_queries: Any) -> None:
    push(made, [{"cpu_usage": 0.5}])
    with django_assert_num_queries(1):
        found = push(made, [{"cpu_usage": 0.5, "instance": str(number)} for number in range(100)])
    assert found["taken"] == 100
    # What changed meanwhile is seen: units, and the source.
    Environment.objects.update(cpu_usage_unit="percent")
    push(made, [{"cpu_usage": 50, "instance": "percent"}])
    assert PushedSample.objects.get(instance="percent").cpu_usage == 0.5
    Environment.objects.update(deleting_at=timezone.now())
    assert push(made, [{"cpu_usage": 50}], status=400)["error"]["fields"].keys() == {"env"}


@pytest.mark.parametrize(
    ("samples", "field"),
    [
        (7, "samples"),
        ([], "samples"),
        ([{"cpu_usage": 0.1}] * 1001, "samples"),
        ([{"cpu_usage": 0.1}, 7], "samples.1"),
        ([{"cpu_usage": 0.1}, {"at": 7}], "samples.1"),
        ([{"cpu_usage": 0.1}] * 3 + [{"error_rate": 45}], "samples.3.error_rate"),
        ([{"error_rate": "0.1"}], "samples.0.error_rate"),
        ([{"latency_p50": 12}], 'samples.0."latency_p50"'),
        ([{"custom": {"cpu_usage": 1}}], "samples.0.custom"),
        ([{"custom": {"backlog": "x"}}], "samples.0.custom.backlog"),
        ([{"cpu_usage": 0.1, "instance": "a\x00"}], "samples.0.instance"),
        ([{"cpu_usage": 0.1, "instance": "\ud800"}], "samples.0.instance"),
        ([{"cpu_usage": 0.1, "at": "2026-11-30T14:05:00"}], "samples.0.at"),
        ([{"cpu_usage": 0.1, "at": True}], "samples.0.at"),
    ],
)
def test_a_wrong_batch_is_refused_with_the_field(made: NewProject, samples: Any, field: str) -> None:
    for _ in range(2):  # the way of a first call, and the usual one
        error = push(made, samples, status=400)["error"]
        assert list(error["fields"]) == [field]
        assert error["fields"][field][0]
        push(made, [{"cpu_usage": 0.1}])


@pytest.mark.parametrize("at", [10**400, -5, 1764568000123, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_far_away_are_refused_by_sample(made: NewProject, at: Any) -> None:
    found = push(made, [{"cpu_usage": 0.1, "at": at}, {"cpu_usage": 0.1}])
    assert (found["taken"], found["refused"]) == (1, 1)


def test_an_environment_that_is_measured_otherwise_takes_nothing(made: NewProject) -> None:
    other = create_project("other", environment="prod", endpoint="https://shop.example/m")
    error = push(other, [{"cpu_usage": 0.1}], status=409)["error"]
    assert error["code"] == "not_pushed"
    add_source(other.environment, "push", {})
    assert push(other, [{"cpu_usage": 0.1}])["taken"] == 1
    made.project.adopt_endpoints = False
    made.project.save()
    push(made, [{"cpu_usage": 0.1}], status=409)
    assert push(made, [{"cpu_usage": 0.1}], env="staging", status=400)["error"]["fields"].keys() == {"env"}


def store(environment: Environment, at: datetime, **values: Any) -> None:
    PushedSample.objects.create(environment=environment, at=at, **values)


def test_instances_are_aggregated_by_the_kind_of_each_metric(made: NewProject) -> None:
    environment, start = made.environment, datetime(2026, 11, 30, 12, tzinfo=UTC)
    environment.policy = {"custom_metrics": [{"name": "jobs", "kind": "rate"}, {"name": "lag", "kind": "gauge"}]}
    environment.save()
    one = {"instance": "a", "requests_per_sec": 30.0, "latency_p95": 100.0, "error_rate": 0.0, "cpu_usage": 0.2}
    store(environment, start + timedelta(seconds=20), **one, memory_usage=0.5, custom={"jobs": 2, "lag": 4})
    store(environment, start + timedelta(seconds=40), **{**one, "latency_p95": 120.0}, memory_usage=0.6)
    two = {"instance": "b", "requests_per_sec": 10.0, "latency_p95": 300.0, "error_rate": 0.4, "cpu_usage": 0.6}
    store(environment, start + timedelta(seconds=60), **two, memory_usage=0.1, custom={"jobs": 3, "lag": 8})
    store(environment, start + timedelta(seconds=61), instance="a", requests_per_sec=0.0, latency_p95=5.0)
    past = levels_between(environment.pk, since=start + MINUTE, until=start + 3 * MINUTE, step_s=60)
    assert [at for at, _ in past] == [start + MINUTE, start + 2 * MINUTE]
    levels = past[0][1]
    assert (levels.requests_per_sec, levels.latency_p95) == (40.0, 300.0)
    assert levels.error_rate == pytest.approx(0.1)
    assert levels.cpu_usage == pytest.approx(0.4)
    assert (levels.memory_usage, levels.instances) == (0.6, 2)
    assert levels.custom == {"jobs": 5, "lag": 6}
    assert (past[1][1].requests_per_sec, past[1][1].latency_p95) == (0.0, None)


def test_levels_are_kept_and_samples_removed(made: NewProject) -> None:
    now = timezone.now()
    for minutes in (1, 25, 119, 121):
        store(made.environment, now - minutes * MINUTE, cpu_usage=0.25)
    for _ in range(2):
        pushed.prune(now)
    assert PushedSample.objects.count() == 3
    [level] = MetricLevel.objects.all()
    assert level.cpu_usage == 0.25
    assert level.start <= now - 25 * MINUTE < level.start + 5 * MINUTE


@pytest.mark.django_db(transaction=True)
def test_a_deployment_has_the_pushed_minutes_before_it(made: NewProject) -> None:
    push(made, [{"cpu_usage": 0.5, "at": ago(seconds=10 + 60 * number)} for number in range(9)])
    job = pre_job(start_deployment(made.project, Trigger(env="prod")).deployment)
    before = clients_of_the_database()  # other tests of this process may have left threads with theirs
    found = asyncio.run(measure_for(job, load_endpoints([job])[job.id]))
    with transaction.atomic():
        store_samples([(job, found)])
    samples = MetricSample.objects.filter(phase=Phase.PRE)
    assert samples.count() == 9
    assert {sample.cpu_usage for sample in samples} == {0.5}
    wait_until(lambda: clients_of_the_database() <= before)  # no connection is left behind


def clients_of_the_database() -> set[int]:
    """Return the process IDs of clients' connections: one ends a moment after its client has left."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE (datname, backend_type) = (%s, 'client backend')",
            [connection.settings_dict["NAME"]],
        )
        return {pid for (pid,) in cursor}
