"""One deployment and the list of all in the API: rows as they are, without objects."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analysis.one import find
from analysis.tests.factories import make_hint, make_verdict
from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import Pipeline
from metrics.models import MARGIN, MEASURED, Group, MetricSample, Phase
from metrics.tests.factories import make_sample
from projects.models import Environment
from projects.services import NewProject

pytestmark = pytest.mark.django_db

HEALTHS: list[dict[str, Any]] = [
    {"health": {"healthy": "yes", "reasons": []}},
    {"health": {}},
    {"health": {"healthy": "yes"}, "final": {"verdict": "warning", "health": {"healthy": "no"}}, "early": True},
    {"health": {"healthy": "no"}, "final": {"verdict": "ok"}},
]


@pytest.fixture
def environment(made: NewProject) -> Environment:
    return made.project.environments.get()


def test_the_list_says_of_each_deployment_what_its_own_answer_says(
    pipeline: Pipeline, environment: Environment
) -> None:
    for values in HEALTHS:
        make_verdict(make_deployment(environment=environment, state="finished"), **values)
    running = make_deployment(environment=environment, commit_message="é", committed_at="2026-01-02T03:04:05.678Z")
    make_deployment(environment=environment, state="superseded", superseded_by=running)
    shown = pipeline.get("/deployments").json()["results"]
    assert len(shown) == len(HEALTHS) + 2
    for row in shown:
        deployment = Deployment.objects.get(uuid=row["deployment_id"])
        verdict = getattr(deployment, "verdict", None)
        assert row["healthy"] == (verdict and verdict.healthy)
        assert (row["verdict"], row["early"]) == (verdict and verdict.verdict, verdict and verdict.early)
        assert row["started_at"] == deployment.started_at.isoformat().replace("+00:00", "Z")
        assert row["superseded_by"] == (str(running.uuid) if deployment.state == "superseded" else None)
        own = pipeline.get(f"/deployments/{deployment.uuid}").json()
        assert own.pop("samples") == {"collected": 0, "expected": 5}
        assert own == row


def test_a_pending_verdict_takes_two_statements(pipeline: Pipeline, environment: Environment) -> None:
    deployment = make_deployment(environment=environment, state="finished")
    assert pipeline.verdict(deployment.uuid).json()["levels"] == {}
    for index, rate in ((1, 0.4), (2, 0.6)):
        make_sample(deployment, phase=Phase.POST, sequence_index=index, error_rate=rate)
    make_sample(deployment, phase=Phase.PRE, error_rate=0.25, latency_p95=None)
    make_sample(deployment, phase=Phase.PRE, error_rate=0.9, group=Group.CONTROL)
    pipeline.verdict(deployment.uuid)
    with CaptureQueriesContext(connection) as asked:
        answer = pipeline.verdict(deployment.uuid)
    assert (answer.status_code, answer.json()["samples"]) == (202, {"collected": 2, "expected": 5})
    assert answer.json()["levels"]["error_rate"] == {"before": 0.25, "after": 0.5}
    # Without requests before the deployment there was no latency.
    assert "latency_p95" not in answer.json()["levels"]
    # The key with the count of its calls, and the deployment.
    assert len(asked) == 2


@pytest.mark.parametrize("finished", [False, True])
def test_the_samples_that_are_counted_are_those_that_are_judged(environment: Environment, finished: bool) -> None:
    started = timezone.now()
    deployment = make_deployment(
        environment=environment,
        state="finished" if finished else "running",
        started_at=started,
        finished_at=started + timedelta(seconds=5) if finished else None,
        settle_s=90,
    )
    other = make_deployment(environment=environment, state="finished")
    end = started + timedelta(seconds=5 + 90 + deployment.window_samples * deployment.interval_s) + MARGIN
    second = timedelta(seconds=1)
    times = (started - MARGIN - second, started - MARGIN, started, end - second, end)
    for place, at in enumerate(times):
        make_sample(deployment, sequence_index=place + 1, collected_at=at)
    nothing: dict[str, Any] = dict.fromkeys(MEASURED)
    some: tuple[dict[str, Any], ...] = ({}, {"cpu_usage": 0.5}, {"custom_metrics": {"jobs": 3.0}})
    for place, known in enumerate(some, start=10):
        make_sample(deployment, sequence_index=place, collected_at=started + place * second, **{**nothing, **known})
    make_sample(deployment, sequence_index=20, collected_at=started + 20 * second, group=Group.CONTROL)
    make_sample(deployment, phase=Phase.PRE)
    make_sample(other, collected_at=started)
    found = find(environment.project_id, deployment.uuid)
    judged = MetricSample.objects.of(deployment).filter(phase=Phase.POST).count()
    assert found is not None
    assert found.collected == judged == (5 if finished else 6)


def test_a_hint_in_the_list_names_its_deployment(pipeline: Pipeline, environment: Environment) -> None:
    deployment = make_deployment(environment=environment, state="finished")
    make_hint(deployment, metric="")
    [hint] = pipeline.get("/sdh").json()["results"]
    assert (hint["deployment_id"], hint["metric"], hint["severity"]) == (str(deployment.uuid), None, "warning")
