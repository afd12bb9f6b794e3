"""The verdict endpoint as pipelines poll it."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError

from analysis.tests.factories import make_verdict
from deployments.models import Deployment
from deployments.tests.pipeline import Pipeline
from security.limits import Rate

pytestmark = pytest.mark.django_db


def test_every_answer_of_the_gate_carries_the_gate(pipeline: Pipeline, settings: Any) -> None:
    """A poller that reads this one field neither misses a verdict nor takes an error for one."""

    def asked(answer: Any) -> tuple[int, str]:
        assert int(answer.get("Content-Length", len(answer.content))) == len(answer.content)
        return answer.status_code, answer.json()["gate"]

    uuid = pipeline.start()
    assert asked(pipeline.verdict(uuid)) == (202, "pending")
    assert asked(pipeline.get(f"/deployments/{uuid}/verdict/")) == (202, "pending")
    assert asked(pipeline.verdict(uuid, wait="soon")) == (400, "none")
    assert asked(pipeline.verdict(uuid4())) == (404, "none")
    assert asked(pipeline.verdict("of-nobody")) == (404, "none")
    assert asked(pipeline.verdict("")) == (404, "none")
    assert asked(Pipeline("sp_wrong").verdict(uuid)) == (401, "none")
    assert asked(pipeline.post(f"/deployments/{uuid}/verdict", {})) == (405, "none")
    second = pipeline.start(force=True)
    closed = pipeline.verdict(uuid)
    assert asked(closed) == (409, "none")
    assert {name: closed.json()[name] for name in ("state", "samples", "verdict")} == {
        "state": "superseded",
        "samples": {"collected": 0, "expected": 5},
        "verdict": None,
    }
    for shadow, gate in ((False, "fail"), (True, "pass")):
        verdict = {"verdict": "rollback_recommended", "shadow": shadow}
        judged = make_verdict(Deployment.objects.get(uuid=second), **verdict)
        assert asked(pipeline.verdict(second)) == (200, gate)
        judged.delete()
    settings.SEQPULSE_RATE_LIMITS = True
    settings.SEQPULSE_RATES = {**settings.SEQPULSE_RATES, "deployments": Rate(1, 60)}
    found = [asked(pipeline.verdict(second)) for _ in range(2)]
    assert found == [(202, "pending"), (429, "pending")]
    assert "gate" not in pipeline.get("/deployments").json()


@pytest.mark.parametrize(("error", "status"), [(OperationalError, 503), (ZeroDivisionError, 500)])
def test_where_the_server_fails_the_gate_is_pending(
    pipeline: Pipeline, monkeypatch: Any, error: type[Exception], status: int
) -> None:
    uuid = pipeline.start()
    pipeline.client.raise_request_exception = False

    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr("analysis.api.sample_count", broken)
    answer = pipeline.verdict(uuid)
    assert (answer.status_code, answer.json()["gate"], answer["Retry-After"]) == (status, "pending", "5")
