"""Verifications: the service is verified from now on, although nothing is deployed."""

from typing import Any

import pytest
from django.test import Client

from deployments.models import Deployment, State
from deployments.tests.pipeline import Pipeline
from projects.models import Freeze
from projects.services import NewProject
from scheduler.models import ScheduledJob

pytestmark = pytest.mark.django_db


def verify(made: NewProject, **body: Any) -> Any:
    headers = {"X-API-Key": made.api_key}
    given = {"env": "prod", **body}
    return Client().post("/verifications", given, content_type="application/json", headers=headers)


def test_a_verification_is_observed_at_once(made: NewProject) -> None:
    answer = verify(made, reason="flag new-checkout on", version="2.1")
    assert answer.status_code == 200
    assert answer.json()["status"] == "created"
    assert "observ" in answer.json()["message"]
    [deployment] = Deployment.objects.all()
    assert str(deployment.uuid) == answer.json()["deployment_id"]
    assert (deployment.kind, deployment.state, deployment.pipeline_result) == ("verification", "finished", "success")
    assert (deployment.commit_title, deployment.version) == ("flag new-checkout on", "2.1")
    kinds = list(ScheduledJob.objects.filter(deployment=deployment).values_list("job_type", flat=True))
    assert kinds.count("post_collect") == deployment.window_samples
    assert {"pre_collect", "analysis"} <= set(kinds)


def test_a_repetition_gets_the_same_one(made: NewProject) -> None:
    first, second = (verify(made, idempotency_key="flag-1").json() for _ in range(2))
    assert (first["deployment_id"], second["status"]) == (second["deployment_id"], "existing")
    assert Deployment.objects.count() == 1


def test_a_running_deployment_is_neither_finished_nor_superseded(made: NewProject, pipeline: Pipeline) -> None:
    pipeline.trigger(idempotency_key="run-1")
    for body in ({}, {"idempotency_key": "flag-1"}, {"idempotency_key": "run-1"}):
        refused = verify(made, **body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "deployment_running")
        assert "#1 of prod is still running" in refused.json()["error"]["message"]
    assert Deployment.objects.get().state == State.RUNNING


def test_a_freeze_concerns_deployments_only(made: NewProject) -> None:
    Freeze.objects.create(team=made.project.team, reason="Black Friday")
    assert verify(made).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"env": ""}, "env"),
        ({"env": "nowhere"}, "env"),
        ({"settle_seconds": -1}, "settle_seconds"),
    ],
)
def test_what_cannot_be_read_is_named(made: NewProject, body: Any, field: str) -> None:
    answer = verify(made, **body)
    assert answer.status_code == 400
    assert field in answer.json()["error"]["fields"]
    assert not Deployment.objects.exists()
