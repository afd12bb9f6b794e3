"""Finish by environment and key."""

from typing import Any

import pytest

from deployments.models import Deployment
from deployments.tests.pipeline import ENDPOINT, Pipeline
from projects.services import create_project
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db
FINISH = "/deployments/finish"


@pytest.fixture
def pipeline(pipeline: Pipeline) -> Pipeline:
    """The pipeline of a project with two environments, which run one deployment each, of the same key."""
    pipeline.trigger(idempotency_key="run-1")
    make_environment(project=Deployment.objects.get().project, name="staging")
    pipeline.trigger(env="staging", idempotency_key="run-1")
    return pipeline


@pytest.mark.parametrize("empty", [{}, {"deployment_id": None}, {"deployment_id": ""}, {"deployment_id": " \n"}])
@pytest.mark.parametrize("key", [{}, {"idempotency_key": "run-1"}, {"idempotency_key": ""}])
def test_a_deployment_is_finished_by_its_environment_with_or_without_its_key(
    pipeline: Pipeline, empty: dict[str, str | None], key: dict[str, str]
) -> None:
    answer = pipeline.post(FINISH, {"env": "staging", "result": "success", **empty, **key}).json()
    finished = Deployment.objects.get(environment__name="staging")
    assert (answer["status"], answer["deployment_id"], finished.state) == ("accepted", str(finished.uuid), "finished")
    assert Deployment.objects.get(environment__name="prod").state == "running"


def test_the_key_may_come_in_the_header(pipeline: Pipeline) -> None:
    body = {"env": "prod", "result": "success", "idempotency_key": "another"}
    assert pipeline.post(FINISH, body, **{"X-Idempotency-Key": "run-1"}).json()["status"] == "accepted"


def test_a_key_is_the_same_in_the_header_as_in_the_body(pipeline: Pipeline) -> None:
    key = "größe-漢-1"
    pipeline.post("/deployments/trigger", {"env": "prod", "force": True}, **{"X-Idempotency-Key": in_header(key)})
    body = {"env": "prod", "result": "success", "idempotency_key": key}
    assert pipeline.post(FINISH, body).json()["status"] == "accepted"
    again = pipeline.post(FINISH, {"env": "prod", "result": "success"}, **{"X-Idempotency-Key": in_header(key)}).json()
    assert again["status"] == "ignored"


def in_header(text: str) -> str:
    """Return the text as WSGI gives a header of its bytes to the application."""
    return text.encode().decode("latin-1")


@pytest.mark.parametrize("named", ["nowhere", "x" * 300, "\0", True, 5, {"name": "prod"}, []])
def test_the_id_decides_whatever_else_is_named(pipeline: Pipeline, named: Any) -> None:
    staging = Deployment.objects.get(environment__name="staging")
    body = {"deployment_id": str(staging.uuid), "env": named, "idempotency_key": named, "result": "success"}
    assert pipeline.post(FINISH, body).json()["deployment_id"] == str(staging.uuid)


def test_every_key_that_got_a_deployment_finishes_it(pipeline: Pipeline) -> None:
    # Answered with the running one, and remembered.
    pipeline.trigger(idempotency_key="run-2")
    answer = pipeline.post(FINISH, {"env": "prod", "idempotency_key": "run-2", "result": "success"}).json()
    assert (answer["status"], Deployment.objects.get(environment__name="prod").state) == ("accepted", "finished")


def test_a_second_finish_by_key_is_ignored_and_one_by_environment_finds_nothing(pipeline: Pipeline) -> None:
    by_key = {"env": "prod", "idempotency_key": "run-1", "result": "success"}
    first = pipeline.post(FINISH, by_key).json()
    second = pipeline.post(FINISH, by_key).json()
    assert (second["status"], second["deployment_id"]) == ("ignored", first["deployment_id"])
    alone = pipeline.post(FINISH, {"env": "prod", "result": "success"}).json()
    assert alone == {"status": "not_found", "message": "No deployment of prod is running.", "deployment_id": None}


def test_an_unknown_key_and_another_projects_look_the_same(pipeline: Pipeline) -> None:
    other = create_project("blog", environment="prod", endpoint=ENDPOINT)
    Pipeline(other.api_key).trigger(idempotency_key="foreign")
    foreign, unknown = (
        pipeline.post(FINISH, {"env": "prod", "idempotency_key": key, "result": "success"}).json()
        for key in ("foreign", "unknown")
    )
    assert foreign == unknown
    assert foreign["status"] == "not_found"
    assert not Deployment.objects.exclude(state="running").exists()


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"deployment_id", "env"}),
        ({"idempotency_key": "run-1"}, {"deployment_id", "env"}),
        ({"deployment_id": "", "env": ""}, {"deployment_id", "env"}),
        ({"env": "nowhere"}, {"env"}),
        ({"env": "nowhere", "idempotency_key": "run-1"}, {"env"}),
        ({"deployment_id": "42"}, {"deployment_id"}),
    ],
)
def test_a_call_that_names_no_deployment_is_told_which_field_is_wrong(
    pipeline: Pipeline, body: dict[str, str], wrong: set[str]
) -> None:
    answer = pipeline.post(FINISH, {**body, "result": "success"})
    assert (answer.status_code, set(answer.json()["error"]["fields"])) == (400, wrong)
    if body.get("env"):
        assert "It has: prod, staging." in answer.json()["detail"]
