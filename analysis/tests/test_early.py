"""Early verdicts, stored: issued once, kept on record, with the final verdict beside them."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.evidence import load_evidence
from analysis.jobs import analyse_early, load_early, record_early
from analysis.models import DeploymentVerdict, EnvironmentStanding
from analysis.models import Hint as StoredHint
from analysis.services import assess, store_judgements
from analysis.tests.factories import judge_now, make_verdict
from deployments.models import Deployment
from deployments.services import Trigger, finish_deployment, start_deployment
from deployments.tests.pipeline import Pipeline
from metrics.tests.factories import make_sample
from projects.models import Environment
from projects.services import NewProject
from scheduler.models import ScheduledJob
from scheduler.queue import announce_ended
from scheduler.registry import Job, completed
from scheduler.store import JobStore
from scheduler.tests.kinds import plain_connection
from tests.concurrency import in_background
from tests.processes import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(made: NewProject) -> Deployment:
    started = start_deployment(made.project, Trigger(env="prod")).deployment
    finish_deployment(made.project, started.uuid, result="success")
    make_sample(started, phase="pre", collected_at=started.started_at - timedelta(minutes=1))
    return started


def end_collection(*indexes: int) -> None:
    """Completes these post_collect jobs as a poller would, with whatever that sets off."""
    jobs = ScheduledJob.objects.filter(job_type="post_collect", sequence_index__in=indexes)
    jobs.update(scheduled_at=timezone.now() - timedelta(minutes=1), expires_at=None)
    store = JobStore("collector", 30)
    mine = [job for job in store.claim(50)[0] if job.job_type == "post_collect"]
    ScheduledJob.objects.filter(pk__in=[job.id for job in mine]).update(status="completed")
    announce_ended([completed(job) for job in mine])


def look() -> bool:
    """Runs the early looks that are due; whether one of them brought a verdict."""
    jobs = [job for job in JobStore("judge", 30).claim(50)[0] if job.job_type == "early_analysis"]
    evidence = load_early(jobs)
    results: list[tuple[Job, Any]] = [(job, analyse_early(job, evidence.get(job.id))) for job in jobs]
    record_early(results)
    return any(result is not None for _, result in results)


def test_each_sample_between_the_first_and_the_last_makes_the_judge_look(deployment: Deployment) -> None:
    for index in range(1, 6):
        make_sample(deployment, sequence_index=index)
        end_collection(index)
    looks = ScheduledJob.objects.filter(job_type="early_analysis").order_by("pk")
    assert list(looks.values_list("sequence_index", "fair_key")) == [(n, deployment.project_id) for n in (2, 3, 4)]
    assert look() is False
    assert not DeploymentVerdict.objects.exists()


def test_a_service_that_answers_only_errors_is_called_out_before_the_end(
    pipeline: Pipeline, deployment: Deployment
) -> None:
    for index in (1, 2, 3):
        make_sample(deployment, sequence_index=index, error_rate=1.0)
        end_collection(index)
        assert look() is False
    make_sample(deployment, sequence_index=4, error_rate=1.0)
    end_collection(4)
    assert look() is True
    verdict = DeploymentVerdict.objects.get()
    deployment.refresh_from_db()
    assert (verdict.verdict, verdict.early, deployment.state) == ("rollback_recommended", True, "finished")
    assert StoredHint.objects.filter(severity="critical").exists()
    # What is still to come is not missing.
    assert not StoredHint.objects.filter(code="missing_data").exists()
    answer = pipeline.verdict(deployment.uuid)
    body = answer.json()
    assert (answer.status_code, body["verdict"], body["early"], body["gate"]) == (200, verdict.verdict, True, "fail")
    assert body["final"] is None


def test_the_final_word_is_kept_beside_the_early_verdict(deployment: Deployment) -> None:
    for index in (1, 2, 3, 4):
        make_sample(deployment, sequence_index=index, error_rate=1.0)
    end_collection(1, 2, 3, 4)
    assert look()
    make_sample(deployment, sequence_index=5, error_rate=1.0)
    row = judge_now(Deployment.objects.get(pk=deployment.pk))
    verdict = DeploymentVerdict.objects.get()
    assert (verdict.early, verdict.verdict, row.state) == (True, "rollback_recommended", "analyzed")
    assert verdict.final is not None
    assert verdict.final["verdict"] == "rollback_recommended"
    assert verdict.final["evidence"]["post_samples"] == 5
    positions = list(StoredHint.objects.values_list("position", flat=True))
    assert positions == sorted(set(positions))


def test_no_early_look_is_recorded_once_the_verdict_stands(deployment: Deployment) -> None:
    for index in (1, 2, 3, 4):
        make_sample(deployment, sequence_index=index, error_rate=1.0)
    end_collection(1, 2, 3)
    assert look()
    end_collection(4)
    assert look() is False


def test_in_shadow_mode_the_verdict_is_recorded_and_never_gates(
    pipeline: Pipeline, made: NewProject, deployment: Deployment
) -> None:
    made.environment.policy = {"shadow": True}
    made.environment.save()
    for index in range(1, 6):
        make_sample(deployment, sequence_index=index, error_rate=0.5)
    row = judge_now(Deployment.objects.get(pk=deployment.pk))
    body = pipeline.verdict(row.uuid).json()
    assert (body["verdict"], body["shadow"], body["gate"]) == ("rollback_recommended", True, "pass")


@pytest.mark.django_db(transaction=True)
def test_judgements_of_several_environments_lock_their_standings_in_one_order(made: NewProject) -> None:
    """An early verdict's final word is a statement of its own: it must not lock after another environment's verdict."""
    other = Environment.objects.create(project=made.project, name="other")
    first, second = (start_deployment(made.project, Trigger(env=name)).deployment for name in ("prod", "other"))
    for deployment in (first, second):
        finish_deployment(made.project, deployment.uuid, result="success")
    later = timezone.now() + timedelta(minutes=6)
    evidence = load_evidence(list(Deployment.objects.select_related("environment")), later)
    judgements = {pk: assess(each) for pk, each in evidence.items()}
    for deployment in (first, second):
        make_verdict(deployment, early=True)
    Deployment.objects.update(state="finished")
    DeploymentVerdict.objects.filter(deployment=second).delete()
    EnvironmentStanding.objects.create(
        environment_id=other.pk, deployment_id=second.pk, verdict="ok", critical_hints=0, unhealthy=False
    )
    lock = "SELECT 1 FROM environment_standings WHERE environment_id = %s FOR UPDATE NOWAIT"
    with plain_connection() as link, link.transaction():
        link.execute(lock, [first.environment_id])
        storing = in_background(lambda: store_judgements(judgements))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_for(lambda: link.execute(waiting).fetchone() != (0,), "the judgements to wait")
        link.execute(lock, [other.pk])
    assert sorted(storing.result(10)) == sorted([first.pk, second.pk])
