from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.evidence import load_evidence
from analysis.jobs import analyse, load, reconcile_missing_verdicts
from analysis.models import DeploymentVerdict
from analysis.models import Hint as StoredHint
from analysis.services import assess, store_judgement, store_unjudged
from deployments.models import Deployment
from deployments.services import Trigger, finish_deployment, start_deployment
from deployments.tests.pipeline import Pipeline
from explain.facts import Fact
from explain.rendering import render
from metrics.tests.factories import make_sample
from projects.services import NewProject, create_project, set_policy
from scheduler import operations
from scheduler.models import ScheduledJob
from scheduler.queue import cancel
from scheduler.registry import Job, JobError
from scheduler.store import JobStore

pytestmark = pytest.mark.django_db


def finished(made: NewProject) -> Deployment:
    started = start_deployment(made.project, Trigger(env="prod")).deployment
    finish_deployment(made.project, started.uuid, result="success")
    return Deployment.objects.select_related("environment").get(pk=started.pk)


def add_samples(deployment: Deployment, *, post: int = 5, **metrics: Any) -> None:
    make_sample(deployment, phase="pre", collected_at=deployment.started_at - timedelta(seconds=1))
    for index in range(1, post + 1):
        make_sample(deployment, sequence_index=index, **metrics)


def judge_it(deployment: Deployment) -> bool:
    now = timezone.now() + timedelta(minutes=6)
    return store_judgement(deployment.pk, assess(load_evidence([deployment], now)[deployment.pk]))


@pytest.mark.parametrize(
    ("metrics", "verdict"),
    [({}, "ok"), ({"latency_p95": 236}, "warning"), ({"error_rate": 0.2}, "rollback_recommended")],
)
def test_stored_samples_become_a_stored_verdict(made: NewProject, metrics: dict[str, Any], verdict: str) -> None:
    deployment = finished(made)
    add_samples(deployment, **metrics)
    assert judge_it(deployment)
    stored = DeploymentVerdict.objects.get()
    deployment.refresh_from_db()
    assert (stored.verdict, stored.conclusive, deployment.state) == (verdict, True, "analyzed")
    severities = set(StoredHint.objects.values_list("severity", flat=True))
    assert ("critical" in severities) == (verdict == "rollback_recommended")
    assert [failed["metric"] for failed in stored.failed_metrics] == list(metrics)


def test_a_verdict_is_written_once_whatever_runs_twice(made: NewProject) -> None:
    deployment = finished(made)
    add_samples(deployment, error_rate=0.2)
    assert judge_it(deployment)
    hints = StoredHint.objects.count()
    assert not judge_it(deployment)
    assert (DeploymentVerdict.objects.count(), StoredHint.objects.count()) == (1, hints)


def test_a_finished_deployment_whose_jobs_are_gone_is_judged_after_all(made: NewProject) -> None:
    deployment = finished(made)
    assert reconcile_missing_verdicts() == 0
    ScheduledJob.objects.all().delete()
    assert (reconcile_missing_verdicts(), reconcile_missing_verdicts()) == (1, 0)
    job = ScheduledJob.objects.get()
    assert (job.job_type, job.status, job.deployment_id) == ("analysis", "pending", deployment.pk)
    # Not in the middle of its window.
    assert deployment.finished_at is not None
    assert job.scheduled_at - deployment.finished_at == timedelta(minutes=6)


def test_a_finished_deployment_whose_analysis_left_no_verdict_gets_one(made: NewProject) -> None:
    deployment = finished(made)
    ScheduledJob.objects.filter(job_type="analysis").update(status="failed")
    assert (reconcile_missing_verdicts(), reconcile_missing_verdicts()) == (1, 0)
    verdict = DeploymentVerdict.objects.get(deployment=deployment)
    assert (verdict.verdict, verdict.conclusive) == ("warning", False)
    assert "ended as failed" in verdict.summary


def claimed_analysis(deployment: Deployment) -> Job:
    """Its analysis, due at the latest time there is and claimed."""
    due = timezone.now() - timedelta(minutes=1)
    ScheduledJob.objects.filter(deployment=deployment, job_type="analysis").update(scheduled_at=due)
    [job] = [job for job in JobStore("judge", 30).claim(50)[0] if job.job_type == "analysis"]
    return job


def test_the_latest_analysis_waits_for_a_sample_that_is_under_way(made: NewProject) -> None:
    deployment = finished(made)
    samples = ScheduledJob.objects.filter(deployment=deployment, job_type="post_collect")
    samples.exclude(sequence_index=5).update(status="completed")
    samples.filter(sequence_index=5).update(status="running", locked_by="slow", locked_until=timezone.now())
    job = claimed_analysis(deployment)
    with pytest.raises(JobError, match="still being collected"):
        analyse(job, load([job])[job.id])
    samples.update(status="completed")
    assert analyse(job, load([job])[job.id]) is not None


def test_a_sample_that_nobody_came_to_is_told_as_expired(made: NewProject) -> None:
    deployment = finished(made)
    add_samples(deployment, post=4)
    samples = ScheduledJob.objects.filter(deployment=deployment, job_type="post_collect")
    samples.exclude(sequence_index=5).update(status="completed")
    job = claimed_analysis(deployment)
    samples.filter(sequence_index=5).update(expires_at=timezone.now() - timedelta(minutes=1))
    judgement = analyse(job, load([job])[job.id])
    assert samples.get(sequence_index=5).status == "expired"
    misses = [(miss.sequence_index, miss.reason) for miss in judgement.evidence.window.misses if miss.phase == "post"]
    assert misses == [(5, "expired")]


def test_an_analysis_that_is_retried_judges_what_could_not_be_judged(made: NewProject) -> None:
    deployment = finished(made)
    add_samples(deployment, error_rate=0.2)
    analysis = ScheduledJob.objects.get(deployment=deployment, job_type="analysis")
    ScheduledJob.objects.filter(pk=analysis.pk).update(status="failed")
    store_unjudged(deployment.pk, Fact("analysis_ended", {"status": "failed"}))
    assert DeploymentVerdict.objects.get().verdict == "warning"
    assert operations.retry([analysis.pk])[0].done
    deployment.refresh_from_db()
    assert (DeploymentVerdict.objects.count(), deployment.state) == (0, "finished")
    assert judge_it(deployment)
    assert DeploymentVerdict.objects.get().verdict == "rollback_recommended"


def test_an_analysis_that_is_retried_leaves_a_verdict_of_the_judge_alone(made: NewProject) -> None:
    deployment = finished(made)
    add_samples(deployment)
    assert judge_it(deployment)
    analysis = ScheduledJob.objects.get(deployment=deployment, job_type="analysis")
    ScheduledJob.objects.filter(pk=analysis.pk).update(status="cancelled")
    operations.retry([analysis.pk])
    deployment.refresh_from_db()
    assert (DeploymentVerdict.objects.get().verdict, deployment.state) == ("ok", "analyzed")


def test_without_any_sample_it_is_an_inconclusive_warning(made: NewProject) -> None:
    deployment = finished(made)
    ScheduledJob.objects.filter(job_type="post_collect").update(status="failed", error_code="refused")
    assert judge_it(deployment)
    stored = DeploymentVerdict.objects.get()
    assert (stored.verdict, stored.conclusive) == ("warning", False)
    assert {miss["reason"] for miss in stored.evidence["misses"]} == {"refused"}


def test_the_environments_own_limits_are_used_and_stored(made: NewProject) -> None:
    set_policy(made.environment, {"kind": "fixed", "latency_p95": {"limit": 800}}, source="admin")
    deployment = finished(made)
    add_samples(deployment, latency_p95=500)
    judge_it(deployment)
    stored = DeploymentVerdict.objects.get()
    assert (stored.verdict, stored.policy["latency_p95"]["limit"]) == ("ok", 800)


def test_an_analysis_that_was_given_up_still_leaves_a_verdict(made: NewProject) -> None:
    deployment = finished(made)
    cancel([deployment.pk], ["analysis"], Fact("cancelled", {"by": "ann"}))
    stored = DeploymentVerdict.objects.get()
    deployment.refresh_from_db()
    assert (stored.verdict, stored.conclusive, deployment.state) == ("warning", False, "analyzed")


def test_the_gate_answers_with_verdict_and_hints(pipeline: Pipeline, made: NewProject) -> None:
    deployment = finished(made)
    add_samples(deployment, error_rate=0.2)
    judge_it(deployment)
    answer = pipeline.verdict(deployment.uuid)
    body = answer.json()
    assert (answer.status_code, body["verdict"], body["state"]) == (200, "rollback_recommended", "analyzed")
    assert body["samples"] == {"collected": 5, "expected": 5}
    assert body["hints"][0]["severity"] == "critical"
    assert 3 <= len(body["hints"][0]["actions"]) <= 5
    # What pages need for other languages is no part of the answer.
    assert '"fact"' not in answer.content.decode()
    assert "details" not in body["hints"][0]
    assert render(DeploymentVerdict.objects.get().judged.verdict.summary) == body["summary"]
    listed = pipeline.get("/deployments?verdict=rollback_recommended").json()["results"]
    assert [row["verdict"] for row in listed] == ["rollback_recommended"]
    hints = pipeline.get(f"/sdh?severity=critical&deployment={deployment.uuid}").json()["results"]
    assert {hint["deployment_id"] for hint in hints} == {str(deployment.uuid)}
    samples = pipeline.get(f"/deployments/{deployment.uuid}/metrics").json()["samples"]
    assert [sample["phase"] for sample in samples] == ["pre"] + ["post"] * 5


def test_another_projects_hints_are_not_shown(made: NewProject) -> None:
    deployment = finished(made)
    add_samples(deployment, error_rate=0.2)
    judge_it(deployment)
    other = Pipeline(create_project("blog", environment="prod").api_key)
    for path in ("/sdh", f"/sdh?deployment={deployment.uuid}"):
        assert other.get(path).json()["results"] == []
