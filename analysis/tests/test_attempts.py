"""A re-run of a pipeline with the key of its first attempt is told whose verdict it gets."""

from datetime import UTC

import pytest

from analysis.tests.factories import make_verdict
from deployments.models import Deployment
from deployments.tests.pipeline import Pipeline

pytestmark = pytest.mark.django_db


@pytest.fixture
def pipeline(pipeline: Pipeline) -> Pipeline:
    pipeline.trigger(idempotency_key="run-1")
    return pipeline


def test_a_rerun_is_told_whose_verdict_it_gets(pipeline: Pipeline) -> None:
    prod = Deployment.objects.get(idempotency_key="run-1")
    # A repeated call while it runs is no second attempt.
    assert "attempt" not in pipeline.trigger(idempotency_key="run-1").json()["message"]
    first = pipeline.finish(prod.uuid).json()
    assert "attempt" not in first["message"]
    again = pipeline.trigger(idempotency_key="run-1").json()
    started = prod.started_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    words = f"This is the verdict of attempt 1, of {started} (deployment #1): attempt 2 brought the same"
    assert (again["status"], again["deployment_id"]) == ("existing", str(prod.uuid))
    assert words in again["message"]
    ignored = pipeline.finish(prod.uuid).json()
    assert ignored["status"] == "ignored" and words in ignored["message"]
    waiting = pipeline.verdict(prod.uuid)
    assert waiting.status_code == 202 and words in waiting.json()["message"]
    make_verdict(Deployment.objects.get(pk=prod.pk))
    verdict = pipeline.verdict(prod.uuid)
    assert verdict.status_code == 200 and words in verdict.json()["message"]
    assert "attempt 3 brought" in pipeline.trigger(idempotency_key="run-1").json()["message"]


def test_a_deployment_of_one_attempt_says_nothing_of_attempts(pipeline: Pipeline) -> None:
    prod = Deployment.objects.get(idempotency_key="run-1")
    pipeline.finish(prod.uuid)
    assert pipeline.verdict(prod.uuid).json()["message"] is None
    make_verdict(Deployment.objects.get(pk=prod.pk))
    assert pipeline.verdict(prod.uuid).json()["message"] is None


def test_a_rerun_whose_first_attempt_was_superseded_is_told_so(pipeline: Pipeline) -> None:
    first = Deployment.objects.get(idempotency_key="run-1")
    pipeline.trigger(idempotency_key="run-2", force=True)
    pipeline.trigger(idempotency_key="run-1")
    for message in (pipeline.finish(first.uuid).json()["message"], pipeline.verdict(first.uuid).json()["detail"]):
        assert "was superseded by #2" in message
        assert "This is attempt 1, of" in message
