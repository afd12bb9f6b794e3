"""Query parameters of the API's lists: what they do not know, or cannot read, is refused by name."""

from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from analysis.tests.factories import make_hint
from deployments.models import Deployment, DeploymentKey, State
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import Pipeline
from projects.services import NewProject
from projects.tests.factories import make_environment, make_project

pytestmark = pytest.mark.django_db

KNOWN = {
    "/deployments": "cursor, environment, format, idempotency_key, limit, started_after, started_before, state"
    ", verdict",
    "/sdh": "code, cursor, deployment, format, limit, severity",
}


def fields_of(answer: Any) -> dict[str, list[str]]:
    """Return the named fields of a refusal."""
    assert answer.status_code == 400, answer.content
    fields: dict[str, list[str]] = answer.json()["error"]["fields"]
    return fields


@pytest.mark.parametrize(("path", "known"), KNOWN.items())
def test_an_unknown_parameter_is_refused_with_the_known_ones(pipeline: Pipeline, path: str, known: str) -> None:
    asked = {"deployment_id": "1", "page": "2", "ordering": "number", "": "x", "State": "running", "x" * 500: ""}
    fields = fields_of(pipeline.get(path, asked))
    assert fields == {name[:100]: [f"Unknown. There are: {known}."] for name in asked}
    assert len(fields_of(pipeline.get(path, {f"x{number}": "" for number in range(500)}))) == 20
    assert pipeline.get(path, dict.fromkeys(known.split(", "), "")).status_code == 200


def test_calls_that_are_no_lists_refuse_unknown_parameters_too(pipeline: Pipeline) -> None:
    uuid = pipeline.start()
    known = {"": "format", "/metrics": "format", "/verdict": "format, wait"}
    for path, names in known.items():
        answer = pipeline.get(f"/deployments/{uuid}{path}", {"waits": "5"})
        assert fields_of(answer) == {"waits": [f"Unknown. There are: {names}."]}
        assert fields_of(pipeline.get(f"/deployments/{uuid}{path}", {"format": ["json", "json"]}))
        assert pipeline.get(f"/deployments/{uuid}{path}", {"format": "json"}).status_code in (200, 202)
    for path in ("trigger", "finish"):
        answer = pipeline.post(f"/deployments/{path}?force=true", {"env": "prod"})
        assert fields_of(answer) == {"force": ["Unknown. There are: format."]}


@pytest.mark.parametrize(
    ("path", "name", "words"),
    [
        ("/deployments", "state", "x is none of: "),
        ("/deployments", "verdict", "x is none of: ok, warning, rollback_recommended."),
        ("/deployments", "started_after", "This has to be a time in ISO 8601"),
        ("/sdh", "severity", "x is none of: "),
        ("/sdh", "deployment", "This has to be an id as `trigger` returns it"),
        ("/sdh", "format", "x is none of: json."),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_with_what_can(
    pipeline: Pipeline, path: str, name: str, words: str
) -> None:
    [message] = fields_of(pipeline.get(path, {name: "x"}))[name]
    assert message.startswith(words)


@pytest.mark.parametrize("path", KNOWN)
def test_a_parameter_that_is_sent_twice_is_refused(pipeline: Pipeline, path: str) -> None:
    assert fields_of(pipeline.get(path, {"limit": ["1", "2"]})) == {"limit": ["Send this once."]}


@pytest.mark.parametrize("path", KNOWN)
def test_there_is_no_other_format_than_json(pipeline: Pipeline, path: str) -> None:
    assert pipeline.get(path, {"format": "json"}).status_code == 200
    assert "format" in fields_of(pipeline.get(path, {"format": "csv"}))


@pytest.mark.parametrize("path", KNOWN)
@pytest.mark.parametrize("limit", ["0", "-1", "1.5", "x", "1e3", "9" * 4400, "0x10", "\0"])
def test_a_limit_that_is_no_number_of_rows_is_refused(pipeline: Pipeline, path: str, limit: str) -> None:
    assert "limit" in fields_of(pipeline.get(path, {"limit": limit}))


# Not base64, without and with a position, positions that are no ids, and one of more digits than Python converts.
CURSORS = ["x", "é", "cD14", "bz0tMQ==", "cD0lMDA=", "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk=", "cD0" + "5OTk5" * 2000]


@pytest.mark.parametrize("path", KNOWN)
@pytest.mark.parametrize("cursor", CURSORS, ids=range(len(CURSORS)))
def test_what_is_no_cursor_of_the_list_is_refused(pipeline: Pipeline, path: str, cursor: str) -> None:
    assert "cursor" in fields_of(pipeline.get(path, {"cursor": cursor}))


@pytest.mark.parametrize("path", KNOWN)
def test_a_cursor_without_any_character_of_base64_is_the_first_page(pipeline: Pipeline, path: str) -> None:
    assert pipeline.get(path, {"cursor": "\0"}).json() == pipeline.get(path).json()


def test_the_rows_are_those_of_the_limit_and_the_next_page_goes_on(made: NewProject, pipeline: Pipeline) -> None:
    for _ in range(3):
        make_hint(make_deployment(environment=made.project.environments.get(), state=State.ANALYZED))
    for path in KNOWN:
        first = pipeline.get(path, {"limit": "2"}).json()
        assert len(first["results"]) == 2
        second = pipeline.client.get(first["next"]).json()
        assert len(second["results"]) == 1
        assert second["next"] is None
        assert pipeline.get(path, {"limit": "1000"}).json()["next"] is None


def test_a_key_finds_the_deployments_that_calls_with_it_got(made: NewProject, pipeline: Pipeline) -> None:
    make_environment(name="staging", project=made.project)

    def found(key: str, **query: str) -> list[str]:
        rows = pipeline.get("/deployments", {"idempotency_key": key, "limit": "1", **query}).json()["results"]
        return [row["deployment_id"] for row in rows]

    first = pipeline.start(idempotency_key="run-1")
    # A call with another key, while the first deployment is running.
    assert pipeline.start(idempotency_key="run-2") == first
    elsewhere = pipeline.start(idempotency_key="run-1", env="staging")
    make_deployment(project=make_project(), idempotency_key="run-3")
    assert found("run-2") == [first]
    assert (found("run-1"), found("run-1", environment="prod")) == ([elsewhere], [first])
    assert found("run-3") == found("run") == []


def test_a_key_is_found_by_the_indexes(made: NewProject) -> None:
    # On empty tables one plan is as good as another, whenever they were last analyzed.
    environment, state, now = made.project.environments.get(), State.ANALYZED, timezone.now()
    given = {"environment": environment, "project": made.project, "state": state, "started_at": now}
    planted = Deployment.objects.bulk_create(
        Deployment(number=number, idempotency_key=f"run-{number}", **given) for number in range(1, 1001)
    )
    DeploymentKey.objects.bulk_create(
        DeploymentKey(environment=environment, key=f"key-{one.number}", deployment=one) for one in planted
    )
    rows = Deployment.objects.of(made.project).with_key_in(made.project, "run-1")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE deployments, deployment_keys, projects_environment")
    plan = rows.explain()
    assert "one_deployment_per_key" in plan
    assert "deployments_by_key" in plan or "one_deployment_per_idempotency_key" in plan
