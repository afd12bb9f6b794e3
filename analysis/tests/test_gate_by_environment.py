"""The gate of tools that know no deployment id, as each of them reads it (docs/ci/)."""

from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from analysis.models import DeploymentVerdict
from analysis.tests.factories import make_verdict
from deployments.models import Deployment
from deployments.tests.pipeline import Pipeline
from projects.models import Freeze, Project
from projects.services import NewProject
from security.limits import Rate

pytestmark = pytest.mark.django_db

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def judged(uuid: str, **kwargs: Any) -> DeploymentVerdict:
    return make_verdict(Deployment.objects.get(uuid=uuid), **kwargs)


def gate(pipeline: Pipeline, **query: Any) -> Any:
    return pipeline.get("/gate", {"env": "prod", **query})


def bad(uuid: str) -> DeploymentVerdict:
    return judged(uuid, verdict="rollback_recommended")


def test_an_environment_is_asked_before_during_and_after_a_deployment(pipeline: Pipeline) -> None:
    before = gate(pipeline)
    assert (before.status_code, before["Retry-After"], before.json()["gate"]) == (202, "15", "pending")
    assert before.json()["message"] == "prod has no deployment yet: call trigger when one begins."
    uuid = pipeline.start(commit_sha=COMMIT, version="1.2")
    for query in ({}, {"commit": COMMIT}, {"commit": COMMIT[:7].upper()}, {"version": "1.2"}):
        during = gate(pipeline, **query)
        assert (during.status_code, during.json()) == (202, pipeline.verdict(uuid).json())
    bad(uuid)
    after = gate(pipeline, commit=COMMIT, version="1.2")
    assert (after.status_code, after.json()) == (200, pipeline.verdict(uuid).json())
    assert after.json()["gate"] == "fail"


def test_a_commit_that_has_not_begun_is_pending_whatever_stands(pipeline: Pipeline) -> None:
    judged(pipeline.start(commit_sha=COMMIT, version="1.2"))
    for query, which in (({"commit": "fedcba9"}, "fedcba9"), ({"commit": COMMIT, "version": "1.3"}, f"{COMMIT} 1.3")):
        answer = gate(pipeline, **query)
        assert (answer.status_code, answer.json()["gate"]) == (202, "pending")
        assert answer.json()["message"] == f"prod has no deployment of {which} yet: call trigger when it begins."


def test_an_old_verdict_is_none_of_the_rollout_that_asks(pipeline: Pipeline) -> None:
    verdict = judged(pipeline.start(commit_sha=COMMIT))
    DeploymentVerdict.objects.filter(pk=verdict.pk).update(created_at=timezone.now() - timedelta(hours=2))
    stale = gate(pipeline)
    assert (stale.status_code, stale.json()["gate"]) == (202, "pending")
    assert "more than 3600 s (max_age) ago" in stale.json()["message"]
    assert gate(pipeline, max_age=3 * 3600).json()["gate"] == "pass"
    assert gate(pipeline, commit=COMMIT).json()["gate"] == "pass"
    assert gate(pipeline, commit=COMMIT, max_age=60).json()["gate"] == "pending"


def test_a_closed_deployment_has_no_gate_and_a_freeze_is_named(pipeline: Pipeline, made: NewProject) -> None:
    freeze(made)
    assert "frozen: Christmas." in gate(pipeline).json()["message"]
    Freeze.objects.all().delete()
    uuid = pipeline.start(commit_sha=COMMIT)
    pipeline.start(commit_sha="fedcba9", force=True)
    closed = gate(pipeline, commit=COMMIT)
    assert (closed.status_code, closed.json()["gate"]) == (409, "none")
    assert closed.json() == pipeline.verdict(uuid).json()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"env": ""}, "env"),
        ({"env": "nowhere"}, "env"),
        ({"env": "x" * 101}, "env"),
        ({"commit": "a\0b"}, "commit"),
        ({"max_age": "soon"}, "max_age"),
        ({"max_age": "0"}, "max_age"),
        ({"wait": "61"}, "wait"),
        ({"environment": "prod"}, "environment"),
    ],
)
def test_a_wrong_question_names_the_parameter(pipeline: Pipeline, query: dict[str, str], field: str) -> None:
    answer = gate(pipeline, **query)
    assert (answer.status_code, answer.json()["gate"]) == (400, "none")
    assert list(answer.json()["error"]["fields"]) == [field]


def test_unknown_keys_and_other_projects(pipeline: Pipeline) -> None:
    judged(pipeline.start())
    wrong = gate(Pipeline("sp_wrong"))
    assert (wrong.status_code, wrong.json()["gate"]) == (401, "none")
    assert Client().get("/gate?env=prod").status_code == 401


def test_every_answer_of_the_gate_has_the_field_that_tools_read(
    pipeline: Pipeline, made: NewProject, settings: Any, monkeypatch: Any
) -> None:
    """As Argo Rollouts, Kargo and Spinnaker evaluate `$.gate`: JSON in any answer, with one text at this path.

    A 200 that is no JSON would be a success for Argo Rollouts (metricproviders/webmetric, parseResponse).
    """

    def read(answer: Any) -> tuple[int, str]:
        assert answer["Content-Type"].startswith("application/json")
        found = answer.json()["gate"]
        assert isinstance(found, str)
        return answer.status_code, found

    client = pipeline.client
    client.raise_request_exception = False
    assert read(gate(pipeline)) == (202, "pending")
    freeze(made)
    assert read(gate(pipeline)) == (202, "pending")
    metadata = {"metadata": {"env": "prod"}}
    assert read(pipeline.post("/gate/flagger/confirm-rollout", metadata)) == (423, "none")
    Freeze.objects.all().delete()
    assert read(Client().get("/gate?env=prod")) == (401, "none")
    assert read(pipeline.get("/gate")) == (400, "none")
    assert read(client.get("/gate?env=prod", headers={"Host": "evil.example"})) == (400, "none")
    assert read(pipeline.get("/gate/prod")) == (404, "none")
    assert read(pipeline.post("/gate/flagger/load", metadata)) == (404, "none")
    assert read(pipeline.post("/gate", {})) == (405, "none")
    assert read(client.get("/gate/flagger/rollback")) == (405, "none")
    assert read(client.post("/gate/flagger/rollback", "x", content_type="text/plain")) == (415, "none")
    first = pipeline.start(commit_sha=COMMIT)
    assert read(gate(pipeline, commit=COMMIT)) == (202, "pending")
    second = pipeline.start(force=True)
    assert read(gate(pipeline, commit=COMMIT)) == read(pipeline.verdict(first)) == (409, "none")
    judged(second)
    assert read(gate(pipeline)) == (200, "pass")
    assert read(pipeline.post("/gate/flagger/rollback", metadata)) == (409, "pass")
    for error, status in ((OperationalError, 503), (ZeroDivisionError, 500)):
        with monkeypatch.context() as patch:
            patch.setattr("analysis.gate.environment_named", Mock(side_effect=error))
            assert read(gate(pipeline)) == (status, "pending")
            assert read(pipeline.post("/gate/flagger/rollback", metadata)) == (status, "pending")
    settings.SEQPULSE_RATE_LIMITS = True
    settings.SEQPULSE_RATES = {**settings.SEQPULSE_RATES, "deployments": Rate(1, 86400)}
    assert [read(gate(pipeline)) for _ in range(2)] == [(200, "pass"), (429, "pending")]
    assert read(pipeline.post("/gate/flagger/rollback", metadata)) == (429, "pending")


def freeze(made: NewProject) -> None:
    team = Project.objects.get(pk=made.project.pk).team_id
    Freeze.objects.create(team_id=team, reason="Christmas", starts_at=timezone.now() - timedelta(hours=1))


def hook(key: Any, kind: str, **metadata: Any) -> tuple[int, dict[str, Any]]:
    """Call as Flagger does, without headers; return the status and the answer."""
    shown = {"name": "shop", "namespace": "prod", "phase": "Progressing", "checksum": "7d8f"}
    body = {**shown, "metadata": {"env": "prod", "key": key, **metadata}}
    answer = Client().post(f"/gate/flagger/{kind}", body, content_type="application/json")
    return answer.status_code, answer.json()


def is_yes(answer: tuple[int, Any]) -> bool:
    """Decide as Flagger does."""
    return answer[0] <= 202


def test_flagger_promotes_and_rolls_back_by_the_verdict_alone(pipeline: Pipeline, made: NewProject) -> None:
    def both() -> tuple[bool, bool, str]:
        promotion, rollback = (hook(made.api_key, kind) for kind in ("confirm-promotion", "rollback"))
        assert promotion[1]["gate"] == rollback[1]["gate"]
        return is_yes(promotion), is_yes(rollback), promotion[1]["gate"]

    assert both() == (False, False, "pending")
    uuid = pipeline.start()
    assert both() == (False, False, "pending")
    verdict = judged(uuid)
    assert both() == (True, False, "pass")
    verdict.delete()
    verdict = bad(uuid)
    assert both() == (False, True, "fail")
    refused = hook(made.api_key, "confirm-promotion")
    assert refused[1]["error"]["code"] == "failed"
    assert refused[1]["detail"] == "Deployment #1 of prod should be rolled back."
    verdict.delete()
    judged(uuid, verdict="rollback_recommended", shadow=True)
    assert both() == (True, False, "pass")
    assert hook(made.api_key, "rollback", commit="fedcba9")[1]["error"]["code"] == "pending"


def test_flagger_begins_no_rollout_in_a_freeze(pipeline: Pipeline, made: NewProject) -> None:
    assert is_yes(hook(made.api_key, "confirm-rollout"))
    freeze(made)
    status, answer = hook(made.api_key, "confirm-rollout")
    assert (status, answer["error"]["code"], answer["gate"]) == (423, "frozen", "none")
    assert answer["error"]["fields"]["reason"] == "Christmas"


@pytest.mark.parametrize("kind", ["confirm-rollout", "confirm-promotion", "rollback"])
def test_wrong_calls_of_flagger_never_mean_yes(made: NewProject, kind: str) -> None:
    for key, words in ((None, "metadata.key"), ("", "metadata.key"), (7, "metadata.key"), ("sp_wrong", "not known")):
        status, answer = hook(key, kind)
        assert (status, answer["gate"]) == (401, "none")
        assert words in answer["detail"]
    assert hook(made.api_key, kind, env="nowhere")[1]["error"]["fields"] == {
        "env": ["This project has no environment 'nowhere'. It has: prod."]
    }
    wrong: tuple[dict[str, Any], ...] = (
        {"env": None},
        {"env": []},
        {"env": "x" * 999},
        {"commit": {}},
        {"max_age": "-1"},
        {"env": "\0"},
    )
    for metadata in wrong:
        status, answer = hook(made.api_key, kind, **metadata)
        assert (status, answer["gate"]) == (400, "none")
        assert list(answer["error"]["fields"]["metadata"]) == list(metadata)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 401),
        (b"[]", 401),
        (b"7", 401),
        (b'{"metadata": [1]}', 401),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b'{"metadata": {"key": "\\ud800"}}', 401),
        (b'{"metadata": {"key": "a\\u0000b"}}', 401),
        (b'{"metadata": ' + b'{"a":' * 9000 + b"1" + b"}" * 9001, 400),
        (b'"' + b"x" * 600_000 + b'"', 413),
    ],
)
def test_hostile_bodies_are_refused(body: bytes, status: int, db: None) -> None:
    answer = Client().post("/gate/flagger/rollback", body, content_type="application/json")
    assert answer.status_code == status
    assert answer.json()["gate"] == "none"
    form = Client().post("/gate/flagger/rollback", {"key": "sp_x"})
    assert form.status_code == 415
    assert Client().get("/gate/flagger/rollback").status_code in (401, 405)
    assert Client().post("/gate/flagger/pre-rollout", b"{}", content_type="application/json").status_code == 404


def test_a_key_in_metadata_works_like_one_in_the_header(pipeline: Pipeline, made: NewProject) -> None:
    answer = pipeline.post("/gate/flagger/confirm-rollout", {"metadata": {"env": "prod"}})
    assert answer.status_code == 200
    wrong = Pipeline("sp_wrong").post("/gate/flagger/rollback", {"metadata": {"env": "prod", "key": made.api_key}})
    assert wrong.status_code == 401
