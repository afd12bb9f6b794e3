"""A freeze refuses new deployments, and nothing else."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.tests.factories import make_team
from deployments.models import Deployment
from deployments.tests.pipeline import Pipeline
from events.models import Event
from projects.models import Environment, Freeze
from projects.services import NewProject

pytestmark = pytest.mark.django_db


def freeze(made: NewProject, **fields: Any) -> Freeze:
    return Freeze.objects.create(**{"team": made.project.team, "reason": "Black Friday", **fields})


def test_a_frozen_environment_answers_423_with_reason_and_end(pipeline: Pipeline, made: NewProject) -> None:
    until = timezone.now().replace(microsecond=0) + timedelta(hours=3)
    freeze(made, ends_at=until)
    answer = pipeline.trigger()
    assert answer.status_code == 423
    error = answer.json()["error"]
    assert error["code"] == "frozen" and "Black Friday" in error["message"] and "force" in error["message"]
    assert error["fields"] == {"reason": "Black Friday", "until": until.isoformat()}
    assert not Deployment.objects.exists()


def test_an_open_freeze_names_no_end(pipeline: Pipeline, made: NewProject) -> None:
    freeze(made)
    assert pipeline.trigger().json()["error"]["fields"]["until"] is None


def test_known_keys_and_running_deployments_answer_as_always(pipeline: Pipeline, made: NewProject) -> None:
    first = pipeline.trigger(idempotency_key="run-1").json()
    freeze(made)
    for body in ({"idempotency_key": "run-1"}, {}, {"idempotency_key": "run-2"}):
        assert pipeline.trigger(**body).json()["deployment_id"] == first["deployment_id"]
    assert pipeline.finish(first["deployment_id"]).json()["status"] == "accepted"
    # The key of a closed one, too.
    assert pipeline.trigger(idempotency_key="run-1").json()["status"] == "existing"
    assert pipeline.trigger(idempotency_key="run-3").status_code == 423


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "rollback"}, 200),
        ({"kind": "Rollback"}, 200),
        ({"kind": "deployment"}, 423),
        ({"kind": "verification"}, 423),
        ({"force": True}, 423),
        ({"force": True, "reason": "  "}, 423),
        ({"force": True, "reason": "\u200b\u200d\ufe0f"}, 423),
        ({"reason": "hotfix"}, 423),
        ({"force": True, "reason": "hotfix of the checkout"}, 200),
    ],
)
def test_what_passes_a_freeze(pipeline: Pipeline, made: NewProject, body: dict[str, Any], status: int) -> None:
    freeze(made)
    assert pipeline.trigger(**body).status_code == status


def test_force_is_recorded(pipeline: Pipeline, made: NewProject) -> None:
    freeze(made)
    answer = pipeline.trigger(force=True, reason="hotfix, see https://ana:hunter2@git.example", author="ana").json()
    assert "Black Friday" in answer["message"]
    event = Event.objects.get()
    assert (event.kind, event.severity, event.deployment_id) == (
        "freeze_forced",
        "warning",
        Deployment.objects.get().pk,
    )
    said = event.parameters
    assert (said["frozen"], said["deployment"]["author"]) == ("Black Friday", "ana")
    # Told also when the rows are gone, without secrets.
    assert (said["project"], said["environment"]) == (made.project.name, "prod")
    assert said["reason"].startswith("hotfix, see https://") and "hunter2" not in said["reason"]


def test_a_freeze_of_others_concerns_nobody(pipeline: Pipeline, made: NewProject) -> None:
    other = Environment.objects.create(project=made.project, name="staging")
    freeze(made, environment=other)
    freeze(made, team=make_team())
    freeze(made, lifted_at=timezone.now())
    assert pipeline.trigger().status_code == 200
    assert pipeline.trigger(env="staging").status_code == 423
