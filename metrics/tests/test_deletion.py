"""Archived and deleted projects, environments and teams, also under concurrent calls."""

from datetime import timedelta

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from accounts.models import Role, Team
from accounts.tests.factories import make_membership, make_user
from deployments.models import Deployment, State
from deployments.services import ProjectArchived, Trigger, finish_deployment, start_deployment
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import Pipeline
from events import incidents
from events.models import Event, Incident
from events.outbox import NewEvent, emit
from metrics import deletion
from metrics.baseline import KIND, load_endpoints, sweep
from metrics.deletion import archive, delete_environment, delete_project, delete_team, remove_deleted, unarchive
from metrics.models import MetricSample
from metrics.retention import advisory_lock
from metrics.storing import store
from metrics.tests.factories import make_row, make_samples, of_job
from projects.models import ApiKey, Environment, ExcludedWindow, PolicyVersion, Project
from projects.services import NewProject, create_project, create_project_in, set_policy
from projects.tests.factories import make_environment, make_project
from scheduler.models import ScheduledJob
from scheduler.store import JobStore
from tests.concurrency import at_once, in_background

db = pytest.mark.django_db
# The advisory lock and threads need real transactions.
real = pytest.mark.django_db(transaction=True)


def shop(**kwargs: object) -> NewProject:
    return create_project("shop", environment="prod", endpoint="http://metrics.example/m", plan="pro", **kwargs)


def waiting() -> int:
    return ScheduledJob.objects.filter(job_type=KIND, status="pending").count()


@db
def test_an_archived_project_is_not_measured_until_it_is_unarchived() -> None:
    made = shop()
    sweep()
    assert waiting() == 1
    assert archive(made.project)
    assert not archive(made.project)
    job = ScheduledJob.objects.get(job_type=KIND)
    assert (job.status, job.error_code) == ("cancelled", "archived")
    sweep()
    assert waiting() == 0
    assert unarchive(made.project)
    assert not unarchive(made.project)
    # The tick of the cancelled job has passed.
    ScheduledJob.objects.update(unique_key="the tick before")
    sweep()
    assert waiting() == 1


@db
def test_a_baseline_job_that_was_claimed_before_finds_nothing_to_ask() -> None:
    made = shop()
    sweep()
    ScheduledJob.objects.update(scheduled_at=timezone.now() - timedelta(minutes=1))
    [job] = [job for job in JobStore("a", 30).claim(10)[0] if job.job_type == KIND]
    assert job.id in load_endpoints([job])
    archive(made.project)
    assert load_endpoints([job]) == {}
    unarchive(made.project)
    Environment.objects.update(endpoint_blocked_at=timezone.now())
    assert load_endpoints([job]) == {}


@db
def test_a_blocked_endpoint_gets_no_baseline() -> None:
    shop()
    Environment.objects.update(endpoint_blocked_at=timezone.now())
    sweep()
    assert waiting() == 0


@db
def test_what_runs_in_an_archived_project_is_finished_and_nothing_new_begins() -> None:
    made = shop()
    started = start_deployment(made.project, Trigger(env="prod", idempotency_key="7")).deployment
    archive(made.project)
    pipeline = Pipeline(made.api_key)
    assert pipeline.trigger(idempotency_key="7").json()["status"] == "existing"
    assert pipeline.finish(started.uuid).json()["status"] == "accepted"
    refused = pipeline.trigger()
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "project_archived"
    assert "Take it out of the archive in its settings" in refused.json()["detail"]
    assert Project.objects.get().last_number == 1
    assert ScheduledJob.objects.filter(deployment=started, job_type="post_collect", status="pending").count() == 10
    unarchive(made.project)
    assert pipeline.trigger().json()["status"] == "created"


@real
def test_of_archiving_and_a_trigger_at_once_either_the_deployment_was_first_or_it_is_refused() -> None:
    """The trigger has read the project before it was archived."""
    made = shop()

    def call(number: int) -> str | int:
        if number == 4:
            archive(made.project)
            return Deployment.objects.count()
        try:
            return start_deployment(made.project, Trigger(env="prod", idempotency_key=str(number), force=True)).status
        except ProjectArchived:
            return "refused"

    *outcomes, written = at_once(5, call)
    assert Deployment.objects.count() == outcomes.count("created") == written == Project.objects.get().last_number


@db
def test_a_deleted_project_is_hidden_at_once_from_all_users() -> None:
    owner = make_membership(role="owner").user
    team = owner.teams.get()
    made = create_project_in(team, "shop", environment="prod", endpoint="http://metrics.example/m", signed=True)
    sweep()
    deployment = make_deployment(environment=made.environment)
    assert delete_project(made.project)
    assert not delete_project(made.project)
    for user in (owner, make_user(is_superuser=True)):
        assert not Project.objects.visible_to(user).exists()
        assert not Environment.objects.visible_to(user).exists()
        assert not Deployment.objects.visible_to(user).exists()
    assert Pipeline(made.api_key).get("/deployments").status_code == 401
    environment = Environment.objects.get()
    assert (environment.metrics_endpoint, bool(environment.hmac_secret)) == ("", False)
    assert waiting() == 0
    assert Deployment.objects.filter(pk=deployment.pk).exists()
    # Its name is free.
    create_project_in(team, "Shop", environment="prod")


@db
def test_a_deleted_environment_is_hidden_at_once_and_others_stay() -> None:
    owner = make_membership(role="owner").user
    made = create_project_in(owner.teams.get(), "shop", environment="prod")
    staging = make_environment(project=made.project, name="staging")
    assert delete_environment(made.environment)
    assert not delete_environment(made.environment)
    assert list(Environment.objects.visible_to(owner)) == [staging]
    make_environment(project=made.project, name="prod")


@pytest.mark.django_db
def test_no_name_that_can_be_guessed_prevents_a_deletion() -> None:
    made = shop()
    make_project(team=made.project.team, name=f"shop (deleted {made.project.uuid.hex[:12]})")
    make_environment(project=made.project, name=f"prod (deleted {made.environment.pk})")
    assert delete_environment(made.environment)
    assert delete_project(made.project)
    assert shop().project.name == "shop"


@pytest.mark.django_db
def test_no_call_reaches_a_deleted_environment() -> None:
    made = create_project("shop", environment="prod")
    make_environment(project=made.project, name="staging")
    pipeline = Pipeline(made.api_key)
    uuid = pipeline.start()
    delete_environment(made.environment)
    finished = pipeline.finish(uuid, metrics_endpoint="https://shop.example/m")
    assert finished.json()["status"] == "accepted"
    made.environment.refresh_from_db()
    assert made.environment.metrics_endpoint == ""
    for name in ("prod", made.environment.name):
        answer = pipeline.trigger(env=name, metrics_endpoint="https://shop.example/m")
        assert answer.status_code == 400
        assert "It has: staging" in answer.json()["detail"]
    made.environment.refresh_from_db()
    assert made.environment.metrics_endpoint == ""


def filled(made: NewProject) -> None:
    """Create rows of every kind in the project."""
    for number in range(101, 106):
        make_samples(make_deployment(environment=made.environment, state=State.FINISHED, number=number))
    started = start_deployment(made.project, Trigger(env="prod")).deployment
    finish_deployment(made.project, started.uuid, result="success")
    now = timezone.now()
    store([make_row(made.environment, now - timedelta(days=days, minutes=1)) for days in (0, 0.5, 3, 40)])
    set_policy(made.environment, {}, source="dashboard")
    ExcludedWindow.objects.create(environment=made.environment, starts_at=now, ends_at=now + timedelta(hours=1))


@real
def test_a_poller_removes_every_deleted_row_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "SAMPLES_AT_ONCE", 3)
    monkeypatch.setattr(deletion, "DEPLOYMENTS_AT_ONCE", 2)
    kept, gone = create_project("kept", environment="prod"), shop()
    filled(kept)
    filled(gone)
    tables = [model for model in apps.get_models() if model._meta.app_label not in ("contenttypes", "auth")]
    before = {model: model._base_manager.count() for model in tables}
    remove_deleted()
    assert {model: model._base_manager.count() for model in tables} == before
    delete_project(gone.project)
    remove_deleted()
    for model in (Project, Environment, Deployment, MetricSample, PolicyVersion, ExcludedWindow):
        assert model._base_manager.count() * 2 == before[model], model
    assert set(MetricSample.objects.values_list("environment_id", flat=True)) == {kept.environment.pk}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sample_places WHERE deployment_id NOT IN (SELECT id FROM deployments)")
        assert cursor.fetchone() == (0,)


@real
def test_a_failed_removal_delays_no_other_and_is_retried() -> None:
    stuck, gone = shop(), create_project("gone", environment="prod")
    for made in (stuck, gone):
        filled(made)
        delete_project(made.project)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE keeps_it (project bigint REFERENCES projects_project)")
        cursor.execute("INSERT INTO keeps_it VALUES (%s)", [stuck.project.pk])
    try:
        remove_deleted()
        assert list(Project.objects.all()) == [stuck.project]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE keeps_it")
    remove_deleted()
    assert not Project.objects.exists()


@real
def test_an_environment_is_removed_without_its_project() -> None:
    made = shop()
    filled(made)
    staging = make_environment(project=made.project, name="staging")
    other = make_deployment(environment=staging, number=201)
    delete_environment(made.environment)
    remove_deleted()
    assert list(Environment.objects.all()) == [staging]
    assert list(Deployment.objects.all()) == [other]
    assert not MetricSample.objects.exists()


@real
def test_a_poller_loses_the_sample_of_a_deleted_project_and_no_other() -> None:
    """It asked the endpoint before the project was deleted and writes after its rows are gone."""
    kept, gone = create_project("kept", environment="prod", endpoint="http://metrics.example/m"), shop()
    for made in (kept, gone):
        start_deployment(made.project, Trigger(env="prod"))
    jobs_store = JobStore("a", 30)
    jobs = [job for job in jobs_store.claim(10)[0] if job.job_type == "pre_collect"]
    assert len(jobs) == 2
    delete_project(gone.project)
    remove_deleted()
    environments = dict(Deployment.objects.values_list("pk", "environment_id"))
    done = [
        (job, of_job(job, environments.get(job.deployment_id, gone.environment.pk), job.claimed_at)) for job in jobs
    ]
    ours = jobs_store.complete(done)
    assert len(ours) == 1
    assert list(MetricSample.objects.values_list("environment_id", flat=True)) == [kept.environment.pk]


@real
def test_deletion_waits_for_a_poller_that_writes_just_now() -> None:
    made = shop()
    start_deployment(made.project, Trigger(env="prod"))
    jobs_store = JobStore("a", 30)
    [job] = [job for job in jobs_store.claim(10)[0] if job.job_type == "pre_collect"]
    delete_project(made.project)
    collected = of_job(job, made.environment.pk, job.claimed_at)
    completing = in_background(lambda: jobs_store.complete([(job, collected)]))
    in_background(remove_deleted).result(30)
    completing.result(30)
    assert not Project.objects.exists()
    assert not Deployment.objects.exists()


@real
def test_of_two_runs_one_does_nothing() -> None:
    made = shop()
    delete_project(made.project)
    with advisory_lock(deletion.LOCK):
        in_background(remove_deleted).result(20)
        assert Project.objects.exists()
    remove_deleted()
    assert not Project.objects.exists()


@real
def test_a_deleted_team_goes_with_all_its_projects_and_with_nothing_else() -> None:
    made, kept = shop(), make_deployment()
    owner = make_membership(team=made.project.team, role=Role.OWNER).user
    make_samples(make_deployment(environment=made.environment, state=State.FINISHED))
    delete_team(made.project.team, typed=made.project.team.name, by=owner)
    assert not Team.objects.visible_to(owner).exists()
    assert not ApiKey.objects.usable().filter(project=made.project).exists()
    # Created concurrently.
    make_project(team=made.project.team)
    remove_deleted()
    assert list(Team.objects.all()) == [kept.project.team]
    assert list(Deployment.objects.all()) == [kept]
    assert not MetricSample.objects.exists()


@db
def test_a_team_is_deleted_whole_or_not_at_all() -> None:
    made = shop()
    owner = make_membership(team=made.project.team, role=Role.OWNER).user
    with pytest.raises(ValidationError):
        delete_team(made.project.team, typed="another name", by=owner)
    assert list(Project.objects.visible_to(owner)) == [made.project]


@real
def test_events_go_with_what_they_tell_of() -> None:
    team = make_membership(role=Role.OWNER).team
    kept, gone = make_project(team=team), make_project(team=team)
    for project in (kept, gone):
        emit(NewEvent("key_made", team.pk, project.pk))
        environment = make_environment(project=project)
        incidents.seen({incidents.key_of(incidents.ENDPOINT, environment.pk): 1})
    delete_project(gone)
    incident = Incident.objects.earliest("id")
    remove_deleted()
    assert Incident.objects.get() == incident
    assert list(Event.objects.values_list("project_id", flat=True)) == [kept.pk]
