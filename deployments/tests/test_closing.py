"""Deployments that end without a finish, superseded or abandoned; and when jobs of ended ones may be pruned."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from deployments.closing import abandon_stale
from deployments.models import Deployment, State
from deployments.services import Trigger, finish_deployment, start_deployment
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import Pipeline
from events.models import Event
from projects.services import NewProject
from scheduler.models import ScheduledJob
from scheduler.operations import prune

pytestmark = pytest.mark.django_db


def started_hours_ago(made: NewProject, hours: float) -> Deployment:
    deployment = start_deployment(made.project, Trigger(env="prod")).deployment
    Deployment.objects.filter(pk=deployment.pk).update(started_at=timezone.now() - timedelta(hours=hours))
    return deployment


def test_force_supersedes_the_running_one_and_says_so(pipeline: Pipeline) -> None:
    old = pipeline.trigger().json()
    new = pipeline.trigger(force=True).json()
    assert (new["status"], new["number"]) == ("created", 2)
    assert "#1 was still running and is superseded" in new["message"]
    row = Deployment.objects.get(uuid=old["deployment_id"])
    assert (row.state, str(row.superseded_by and row.superseded_by.uuid)) == (State.SUPERSEDED, new["deployment_id"])
    shown = pipeline.get(f"/deployments/{row.uuid}").json()
    assert (shown["state"], shown["superseded_by"], shown["verdict"]) == ("superseded", new["deployment_id"], None)


def test_without_force_the_running_one_stays(pipeline: Pipeline) -> None:
    old = pipeline.trigger().json()
    again = pipeline.trigger().json()
    assert (again["status"], again["deployment_id"]) == ("existing", old["deployment_id"])


def test_force_with_the_key_of_the_running_one_finds_it(pipeline: Pipeline) -> None:
    first, second = (pipeline.trigger(idempotency_key="run-1", force=True).json() for _ in range(2))
    assert (second["status"], second["deployment_id"]) == ("existing", first["deployment_id"])


def test_force_without_a_running_one_changes_nothing(pipeline: Pipeline) -> None:
    new = pipeline.trigger(force=True).json()
    assert (new["status"], new["message"]) == ("created", None)


def test_the_samples_from_before_of_a_superseded_one_are_not_taken(made: NewProject) -> None:
    old = start_deployment(made.project, Trigger(env="prod")).deployment
    start_deployment(made.project, Trigger(env="prod", force=True))
    job = ScheduledJob.objects.get(deployment=old)
    assert (job.status, job.error_code) == ("cancelled", "superseded")


def test_a_deployment_without_finish_is_abandoned_and_frees_its_environment(made: NewProject) -> None:
    stale = started_hours_ago(made, 25)
    assert abandon_stale() == 1
    stale.refresh_from_db()
    assert stale.state == State.ABANDONED
    assert ScheduledJob.objects.get(deployment=stale).error_code == "abandoned"
    assert start_deployment(made.project, Trigger(env="prod")).status == "created"


@pytest.mark.parametrize(("hours", "limit", "abandoned"), [(23, 24, 0), (3, 2, 1)])
def test_the_time_until_then_is_a_setting(
    made: NewProject, settings: Any, hours: float, limit: float, abandoned: int
) -> None:
    settings.SEQPULSE_ABANDON_AFTER_HOURS = limit
    started_hours_ago(made, hours)
    assert abandon_stale() == abandoned


def test_a_finished_deployment_is_never_abandoned(made: NewProject) -> None:
    deployment = started_hours_ago(made, 99)
    finish_deployment(made.project, deployment.uuid, result="success")
    assert abandon_stale() == 0


@pytest.mark.parametrize("end", ["abandoned", "superseded"])
def test_what_ended_without_finish_is_never_judged(made: NewProject, pipeline: Pipeline, end: str) -> None:
    deployment = started_hours_ago(made, 25)
    if end == "abandoned":
        abandon_stale()
    else:
        start_deployment(made.project, Trigger(env="prod", force=True))
    finished = pipeline.finish(deployment.uuid).json()
    assert (finished["status"], end in finished["message"]) == ("ignored", True)
    answer = pipeline.verdict(deployment.uuid)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, end)
    assert "no verdict" in answer.json()["detail"]
    assert not ScheduledJob.objects.filter(deployment=deployment, job_type="analysis").exists()


@pytest.mark.parametrize(("state", "kept"), [("running", 1), ("finished", 1), ("analyzed", 0), ("abandoned", 0)])
def test_jobs_of_deployments_that_are_not_judged_yet_stay(state: str, kept: int) -> None:
    long_ago = timezone.now() - timedelta(days=31)
    ScheduledJob.objects.create(
        job_type="post_collect",
        deployment=make_deployment(state=state),
        scheduled_at=long_ago,
        finished_at=long_ago,
        status="failed",
    )
    prune(30)
    assert ScheduledJob.objects.count() == kept


def test_an_abandoned_deployment_is_told_once(made: NewProject) -> None:
    deployment = started_hours_ago(made, 25)
    abandon_stale()
    abandon_stale()
    event = Event.objects.get()
    assert (event.kind, event.severity, event.deployment_id) == ("deployment_abandoned", "warning", deployment.pk)
    assert event.parameters["hours"] == 24
    assert (event.parameters["project"], event.parameters["environment"]) == ("shop", "prod")
