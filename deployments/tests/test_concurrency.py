"""Races, on the database's own constraints: real connections, real threads."""

from typing import Any
from uuid import UUID

import pytest

from deployments.models import Deployment, DeploymentKey
from deployments.services import Finished, Started, Trigger, finish_deployment, start_deployment
from projects.models import Project
from projects.services import create_project
from scheduler.models import ScheduledJob
from tests.concurrency import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project() -> Project:
    return create_project("shop", environment="prod", endpoint="http://metrics.example/m").project


def test_fifty_parallel_triggers_with_one_key_make_one_deployment(project: Project) -> None:
    started = at_once(50, lambda _: start_deployment(project, Trigger(env="prod", idempotency_key="run-1")))
    assert Deployment.objects.count() == 1
    assert ScheduledJob.objects.count() == 1
    assert [one.status for one in started].count("created") == 1
    assert {one.deployment.pk for one in started} == {Deployment.objects.get().pk}


def test_fifty_parallel_triggers_with_fifty_keys_make_one_running_deployment(project: Project) -> None:
    triggers = [Trigger(env="prod", idempotency_key=f"run-{number}") for number in range(50)]
    started = at_once(50, lambda number: start_deployment(project, triggers[number]))
    assert Deployment.objects.count() == 1
    assert [one.status for one in started].count("created") == 1


def test_parallel_triggers_of_many_environments_get_numbers_without_gaps(project: Project) -> None:
    for number in range(20):
        project.environments.create(name=f"env-{number}", metrics_endpoint="http://metrics.example/m")
    started = at_once(20, lambda number: start_deployment(project, Trigger(env=f"env-{number}")))
    assert sorted(one.deployment.number for one in started) == list(range(1, 21))


def test_parallel_forced_triggers_leave_one_running(project: Project) -> None:
    start_deployment(project, Trigger(env="prod"))
    started = at_once(10, lambda _: start_deployment(project, Trigger(env="prod", force=True)))
    assert [one.status for one in started].count("created") == 10
    states = list(Deployment.objects.order_by("number").values_list("state", flat=True))
    assert states == ["superseded"] * 10 + ["running"]


def test_parallel_triggers_of_two_runs_with_ten_commits_leave_one_running_and_one_deployment_per_key(
    project: Project,
) -> None:
    def start(number: int) -> Started:
        run = number // 2
        trigger = Trigger(env="prod", idempotency_key=f"run-{run}", facts={"commit_sha": f"{run}" * 7})
        return start_deployment(project, trigger)

    started = at_once(20, start)
    assert [one.status for one in started].count("created") == 10
    assert [one.deployment.pk for one in started[::2]] == [one.deployment.pk for one in started[1::2]]
    states = list(Deployment.objects.order_by("number").values_list("state", flat=True))
    assert states == ["superseded"] * 9 + ["running"]
    assert DeploymentKey.objects.count() == 10


def test_a_key_gets_one_deployment_while_the_running_one_finishes(project: Project) -> None:
    for turn in range(10):
        running = start_deployment(project, Trigger(env="prod", idempotency_key=f"first-{turn}")).deployment

        def call(number: int, turn: int = turn, running: Deployment = running) -> int:
            if number == 0:
                finish_deployment(project, running.uuid, result="success")
                return running.pk
            return start_deployment(project, Trigger(env="prod", idempotency_key=f"second-{turn}")).deployment.pk

        found = set(at_once(6, call)[1:])
        assert len(found) == 1
        Deployment.objects.update(state="finished")


def test_plain_forced_and_policy_triggers_at_once_all_get_an_answer(project: Project) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"force": True},
        {"policy": {"sensitivity": "high"}},
        {"policy": {"sensitivity": "low"}, "force": True},
    ]

    def start(number: int) -> list[Started]:
        return [start_deployment(project, Trigger(env="prod", **kinds[(number + turn) % 4])) for turn in range(12)]

    started = [one for many in at_once(12, start) for one in many]
    created = [one for one in started if one.status == "created"]
    assert len(started) == 144
    assert sorted(one.deployment.number for one in created) == list(range(1, len(created) + 1))
    assert Deployment.objects.filter(state="running").count() == 1


def test_triggers_that_bring_a_policy_or_an_endpoint_at_once_all_get_an_answer() -> None:
    kinds: list[dict[str, Any]] = [
        {"metrics_endpoint": "http://metrics.example/m"},
        {"policy": {"sensitivity": "high"}, "force": True},
        {},
    ]
    for turn in range(8):
        bare = create_project(f"bare {turn}", environment="prod").project

        def start(number: int, bare: Project = bare) -> Started:
            return start_deployment(bare, Trigger(env="prod", **kinds[number % 3]))

        assert len(at_once(9, start)) == 9
        assert Deployment.objects.of(bare).filter(state="running").count() == 1


def test_twenty_parallel_finishes_close_it_once_and_plan_once(project: Project) -> None:
    deployment = start_deployment(project, Trigger(env="prod")).deployment

    finished = at_once(20, lambda _: finish_deployment(project, deployment.uuid, result="success"))
    statuses = [one.status for one in finished]
    assert (statuses.count("accepted"), statuses.count("ignored")) == (1, 19)
    planned = ScheduledJob.objects.exclude(job_type="pre_collect")
    assert (planned.filter(job_type="post_collect").count(), planned.filter(job_type="analysis").count()) == (5, 1)


def test_parallel_calls_that_bring_different_endpoints_settle_on_one() -> None:
    bare = create_project("bare", environment="prod").project

    triggers = [Trigger(env="prod", metrics_endpoint=f"http://metrics-{number}.example/m") for number in range(10)]
    outcomes = [one.status for one in at_once(10, lambda number: start_deployment(bare, triggers[number]))]
    assert (outcomes.count("created"), outcomes.count("existing")) == (1, 9)
    taken = bare.environments.get().metrics_endpoint
    assert taken == f"http://metrics-{outcomes.index('created')}.example/m"


def test_parallel_finishes_that_bring_different_endpoints_close_it_once_and_take_one() -> None:
    bare = create_project("bare", environment="prod").project
    deployment = start_deployment(bare, Trigger(env="prod")).deployment

    def finish(number: int) -> Finished:
        given = f"http://metrics-{number}.example/m"
        return finish_deployment(bare, deployment.uuid, result="success", metrics_endpoint=given)

    outcomes = [one.status for one in at_once(10, finish)]
    assert (outcomes.count("accepted"), outcomes.count("ignored")) == (1, 9)
    taken = bare.environments.get().metrics_endpoint
    assert taken == f"http://metrics-{outcomes.index('accepted')}.example/m"


def test_forced_triggers_and_finishes_that_bring_an_endpoint_all_get_an_answer() -> None:
    given = "http://metrics.example/m"
    for turn in range(8):
        bare = create_project(f"bare {turn}", environment="prod").project
        uuid = start_deployment(bare, Trigger(env="prod")).deployment.uuid

        def call(number: int, bare: Project = bare, uuid: UUID = uuid) -> str:
            if number % 2:
                return finish_deployment(bare, uuid, result="success", metrics_endpoint=given).status
            trigger = Trigger(env="prod", force=True, policy={"sensitivity": "high"}, metrics_endpoint=given)
            return start_deployment(bare, trigger).status

        assert at_once(8, call)[::2] == ["created"] * 4
        assert bare.environments.get().metrics_endpoint == given
