"""Stepwise rollouts: a verdict per step, by what was measured since it began."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.evidence import PLACES_OF_STEP
from analysis.jobs import steps
from analysis.models import Step
from deployments.models import Deployment
from deployments.tests.pipeline import ENDPOINT, Pipeline
from metrics.alerting import parse_alerts, store_alerts
from metrics.configuring import add_source
from metrics.models import Group, Phase
from metrics.storing import store
from metrics.tests.factories import HEALTHY, make_row, make_sample
from metrics.tests.test_alerts import alert
from projects.models import Environment
from projects.services import NewProject, create_project
from scheduler.models import ScheduledJob
from scheduler.queue import wake_when_done
from scheduler.store import JobStore

pytestmark = pytest.mark.django_db
RATE = HEALTHY["requests_per_sec"]


@pytest.fixture
def made() -> NewProject:
    return create_project("shop", environment="prod", endpoint=ENDPOINT)


@pytest.fixture
def pipeline(made: NewProject) -> Pipeline:
    return Pipeline(made.api_key)


def begin(pipeline: Pipeline, **body: Any) -> Deployment:
    deployment = Deployment.objects.get(uuid=pipeline.start(**body))
    before = [deployment.started_at - timedelta(minutes=number + 1) for number in range(20)]
    store(make_row(deployment.environment, at) for at in before)
    make_sample(deployment, phase=Phase.PRE)
    return deployment


def step(pipeline: Pipeline, deployment: Deployment, percent: Any, **more: Any) -> Any:
    return pipeline.post(f"/deployments/{deployment.uuid}/step", {"percent": percent, **more})


def measure(
    deployment: Deployment, number: int, *, count: int = 5, group: str = Group.TREATMENT, **values: Any
) -> None:
    begun = Step.objects.get(deployment=deployment, number=number)
    for place in range(1, count + 1):
        at = begun.starts_at + timedelta(seconds=place * begun.interval_s + number)
        index = number * PLACES_OF_STEP + place
        make_sample(deployment, phase=Phase.STEP, sequence_index=index, collected_at=at, group=group, **values)


def judge_steps(deployment: Deployment) -> None:
    """Run the analyses of the deployment's steps that are due once their samples are in."""
    ScheduledJob.objects.filter(job_type="step_collect").update(status="completed")
    wake_when_done("step_analysis", [deployment.pk], awaited=("step_collect",))
    ScheduledJob.objects.filter(job_type="step_analysis").update(scheduled_at=timezone.now() - timedelta(minutes=1))
    jobs = [job for job in JobStore("a", 30).claim(20)[0] if job.job_type == "step_analysis"]
    found = steps.load_steps(jobs)
    steps.store_steps([(job, steps.analyse_step(job, found.get(job.id))) for job in jobs])


def test_a_step_is_measured_judged_and_says_what_is_next(pipeline: Pipeline) -> None:
    deployment = begin(pipeline)
    first = step(pipeline, deployment, 25)
    assert (first.status_code, first.json()["next"], first.json()["status"]) == (202, "wait", "created")
    assert first.headers["Retry-After"]
    assert ScheduledJob.objects.filter(job_type="step_collect").count() == 5
    measure(deployment, 1, requests_per_sec=RATE / 4)
    judge_steps(deployment)
    again = step(pipeline, deployment, 25).json()
    assert (again["status"], again["next"], again["verdict"], again["conclusive"]) == (
        "existing",
        "continue",
        "ok",
        True,
    )
    assert again["summary"]
    assert all(check["sentence"] for check in again["checks"])
    assert not any("fact" in check for check in again["checks"])
    assert step(pipeline, deployment, 50).json()["number"] == 2
    measure(deployment, 2, requests_per_sec=RATE / 2, error_rate=0.4)
    judge_steps(deployment)
    assert step(pipeline, deployment, 50).json()["next"] == "rollback"
    # Each by its own samples, and the deployment by those of its window.
    listed = pipeline.get(f"/deployments/{deployment.uuid}/step").json()["results"]
    assert [(one["percent"], one["verdict"]) for one in listed] == [(25, "ok"), (50, "rollback_recommended")]
    assert pipeline.finish(deployment.uuid).json()["status"] == "accepted"
    assert ScheduledJob.objects.filter(job_type="post_collect").count() == 5


@pytest.mark.parametrize(
    ("percent", "rate", "verdict"),
    [(25, 0.25, "ok"), (25, 1.0, "ok"), (50, 0.55, "ok"), (100, 1.0, "ok"), (50, 0.05, "lost"), (100, 0.25, "lost")],
)
def test_fewer_requests_are_no_loss_down_to_the_share_of_the_step(
    pipeline: Pipeline, percent: int, rate: float, verdict: str
) -> None:
    deployment = begin(pipeline)
    step(pipeline, deployment, percent)
    measure(deployment, 1, requests_per_sec=RATE * rate)
    judge_steps(deployment)
    found = step(pipeline, deployment, percent).json()
    assert (found["verdict"] == "ok") == (verdict == "ok"), found["summary"]


def test_percent_has_to_rise_and_a_step_that_is_overtaken_ends_with_what_it_has(pipeline: Pipeline) -> None:
    deployment = begin(pipeline)
    step(pipeline, deployment, 25, seconds=600)
    assert ScheduledJob.objects.filter(job_type="step_collect").count() == 10
    measure(deployment, 1, count=6, requests_per_sec=RATE / 4)
    refused = step(pipeline, deployment, 10)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "step_not_rising")
    assert "25 %" in refused.json()["detail"]
    step(pipeline, deployment, 60)
    first = ScheduledJob.objects.filter(job_type="step_collect", sequence_index__lt=200)
    assert set(first.values_list("status", flat=True)) == {"cancelled"}
    judge_steps(deployment)
    judged = Step.objects.get(number=1)
    assert judged.verdict
    assert judged.outcome["evidence"]["post_samples"] == 6
    assert Step.objects.get(number=2).outcome["evidence"]["post_samples"] == 0
    assert Step.objects.get(number=2).verdict != "ok"


@pytest.mark.parametrize("wrong", [0, 101, -1, "many", None, 12.5, True])
def test_a_wrong_percentage_is_refused_by_name(pipeline: Pipeline, wrong: Any) -> None:
    answer = step(pipeline, begin(pipeline), wrong)
    assert answer.status_code == 400
    assert "percent" in answer.json()["error"]["fields"]


def test_a_deployment_that_is_over_takes_no_steps(pipeline: Pipeline) -> None:
    deployment = begin(pipeline)
    step(pipeline, deployment, 5)
    pipeline.finish(deployment.uuid)
    refused = step(pipeline, deployment, 50)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "finished")
    assert "takes no more steps" in refused.json()["detail"]
    assert step(pipeline, deployment, 5).status_code == 202
    other = begin(pipeline)
    step(pipeline, other, 5)
    pipeline.trigger(force=True)
    refused = step(pipeline, other, 5)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "superseded")
    open_jobs = ScheduledJob.objects.filter(deployment=other, status="pending")
    assert not open_jobs.filter(job_type__startswith="step").exists()
    assert pipeline.post("/deployments/00000000-0000-4000-8000-000000000000/step", {"percent": 5}).status_code == 404


def test_a_short_step_is_a_sample_and_one_that_is_asked_for_late_gets_its_verdict(pipeline: Pipeline) -> None:
    deployment = begin(pipeline)
    assert step(pipeline, deployment, 1, seconds=0.5).status_code == 400
    step(pipeline, deployment, 1, seconds=1)
    assert ScheduledJob.objects.filter(job_type="step_collect").count() == 1
    measure(deployment, 1, count=1, requests_per_sec=RATE / 50)
    step(pipeline, deployment, 2, seconds=1)
    # The one before is asked for again, and begins nothing.
    assert step(pipeline, deployment, 1).json()["status"] == "existing"
    measure(deployment, 2, count=1, error_rate=0.9)
    pipeline.finish(deployment.uuid)
    Deployment.objects.update(state="analyzed")
    assert step(pipeline, deployment, 2).json()["next"] == "wait"
    judge_steps(deployment)
    found = [step(pipeline, deployment, percent).json() for percent in (1, 2)]
    assert [(one["next"], one["conclusive"]) for one in found] == [("continue", True), ("rollback", True)]
    assert step(pipeline, deployment, 3).json()["error"]["code"] == "analyzed"


def test_with_a_control_group_a_step_is_compared_with_it(pipeline: Pipeline) -> None:
    deployment = begin(pipeline, control=f"{ENDPOINT}/old")
    for number in range(3):
        make_sample(deployment, phase=Phase.PRE, group=Group.CONTROL, sequence_index=number)
    step(pipeline, deployment, 25)
    measure(deployment, 1, latency_p95=500.0, requests_per_sec=RATE / 4)
    measure(deployment, 1, latency_p95=510.0, group=Group.CONTROL)
    judge_steps(deployment)
    found = step(pipeline, deployment, 25).json()
    assert (found["verdict"], found["next"]) == ("ok", "continue")
    assert "control group" in found["summary"]


def test_a_step_is_judged_by_the_alerts_that_fire_in_it(made: NewProject, pipeline: Pipeline) -> None:
    source = add_source(made.environment, "alerts", {})
    deployment = begin(pipeline)
    # It began longer ago than a window lasts.
    Deployment.objects.update(started_at=timezone.now() - timedelta(minutes=30))
    ended = {"status": "resolved", "endsAt": (timezone.now() - timedelta(minutes=10)).isoformat()}
    store_alerts(
        source, parse_alerts({"alerts": [alert("gone", started=timezone.now() - timedelta(minutes=20), **ended)]})
    )
    found: list[str] = []
    for percent in (25, 50):
        step(pipeline, deployment, percent)
        measure(deployment, len(found) + 1)
        judge_steps(deployment)
        found.append(step(pipeline, deployment, percent).json()["next"])
        store_alerts(source, parse_alerts({"alerts": [alert("Checkout", started=timezone.now())]}))
    assert found == ["continue", "rollback"]
    assert Step.objects.get(number=1).verdict == "ok"


def test_in_shadow_mode_no_step_says_rollback(pipeline: Pipeline) -> None:
    Environment.objects.update(policy={"shadow": True})
    deployment = begin(pipeline)
    step(pipeline, deployment, 25)
    measure(deployment, 1, error_rate=0.9)
    judge_steps(deployment)
    found = step(pipeline, deployment, 25).json()
    assert (found["verdict"], found["next"], found["shadow"]) == ("rollback_recommended", "continue", True)
