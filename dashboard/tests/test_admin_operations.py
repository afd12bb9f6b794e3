"""Operations in Django admin: jobs and pollers, plans, blocked endpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.tests.factories import make_user
from dashboard.tests import scenes
from dashboard.tests.pages import has, shows, words
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from projects.models import Environment, Project
from projects.services import set_policy
from projects.tests.factories import make_environment, make_project
from scheduler.models import JobStatus, Poller, ScheduledJob

pytestmark = pytest.mark.django_db

OVERVIEW = "/admin/scheduler/scheduledjob/overview/"


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_user(username="root", is_staff=True, is_superuser=True))
    return client


def act(client: Client, model: type[Any], action: str, *rows: Any, **fields: str) -> str:
    """Runs an action of the model's list on these rows; the page that follows, as text."""
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    data = {"action": action, "_selected_action": [row.pk for row in rows], **fields}
    return words(client.post(address, data, follow=True))


# --- jobs and pollers ----------------------------------------------------------------------------------------------


def test_jobs_and_pollers_show_what_waits_what_is_stuck_and_who_is_at_work(staff, django_assert_max_num_queries):
    environment = make_environment()
    deployment = scenes.half_observed(environment)
    late = scenes.collection(deployment, 9, scheduled_at=timezone.now() - timedelta(minutes=5), last_error="HTTP 503")
    now = timezone.now()
    Poller.objects.create(name="poller-1", host="a", pid=1, started_at=now, heartbeat_at=now)
    gone = now - timedelta(hours=1)
    Poller.objects.create(name="poller-gone", host="b", pid=2, started_at=gone, heartbeat_at=gone)
    with django_assert_max_num_queries(9):
        page = words(staff.get(OVERVIEW))
    shows(page, "1 poller at work", f"post_collect {late.pk} Pending", "poller-gone not heard of", "poller-1 at work")
    counted = ScheduledJob.objects.filter(job_type="post_collect", status=JobStatus.PENDING).count()
    link = f'?job_type=post_collect&amp;status__exact=pending">{counted}</a>'
    assert link in staff.get(OVERVIEW).content.decode()


def test_jobs_and_pollers_say_so_when_there_is_none(staff):
    shows(staff.get(OVERVIEW), "No poller is at work", "There is no job yet.")


def test_jobs_and_pollers_are_for_staff_who_may_see_jobs(client):
    assert client.get(OVERVIEW).status_code == 302
    person = make_user(is_staff=True)
    client.force_login(person)
    assert client.get(OVERVIEW).status_code == 403
    person.user_permissions.add(Permission.objects.get(codename="view_scheduledjob"))
    assert client.get(OVERVIEW).status_code == 200


def test_every_admin_page_leads_to_the_jobs_and_the_dashboard(staff):
    has(staff.get("/admin/"), f'href="{OVERVIEW}"', "seqpulse/tokens", 'href="/"')


# --- plans ---------------------------------------------------------------------------------------------------------


def test_projects_are_put_on_a_plan(staff):
    free, pro = make_project(plan="free"), make_project(plan="pro")
    assert "1 project is on another plan now." in act(staff, Project, "put_on_plan", free, pro, plan="pro")
    assert set(Project.objects.values_list("plan", flat=True)) == {"pro"}
    assert LogEntry.objects.get().object_id == str(free.pk)


@pytest.mark.parametrize(("plan", "text"), [("", "Choose the plan beside the action"), ("gold", "No action selected")])
def test_a_plan_has_to_be_chosen_and_to_exist(staff, plan, text):
    project = make_project(plan="free")
    assert text in act(staff, Project, "put_on_plan", project, plan=plan)
    project.refresh_from_db()
    assert project.plan == "free"


# --- endpoints -----------------------------------------------------------------------------------------------------


def test_an_endpoint_is_blocked_with_a_reason_and_unblocked(staff):
    environment = make_environment(metrics_endpoint="https://shop.example.com/ds-metrics")
    page = act(staff, Environment, "block", environment, reason="It answers 40 MB.")
    assert "1 endpoint is blocked." in page
    environment.refresh_from_db()
    assert environment.endpoint_blocked_at is not None
    assert environment.endpoint_blocked_reason == "It answers 40 MB."
    assert "0 endpoints are blocked." in act(staff, Environment, "block", environment, reason="Again")
    environment.refresh_from_db()
    assert environment.endpoint_blocked_reason == "It answers 40 MB."

    assert "1 endpoint is asked again." in act(staff, Environment, "unblock", environment)
    fresh = Environment.objects.get(pk=environment.pk)
    assert fresh.endpoint_blocked_at is None
    assert fresh.endpoint_blocked_reason == ""


ASKED_FOR = "Write the reason beside the action"
REFUSED = "No action selected"


@pytest.mark.parametrize(
    ("reason", "expected"), [("", ASKED_FOR), ("   ", ASKED_FOR), ("\x00", REFUSED), ("x" * 201, REFUSED)]
)
def test_an_endpoint_is_not_blocked_without_a_reason(staff, reason, expected):
    environment = make_environment()
    assert expected in act(staff, Environment, "block", environment, reason=reason)
    environment.refresh_from_db()
    assert environment.endpoint_blocked_at is None


def test_staff_who_only_look_change_neither(client):
    person = make_user(is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename__in=("view_project", "view_environment")))
    client.force_login(person)
    environment = make_environment()
    act(client, Environment, "block", environment, reason="because")
    act(client, Project, "put_on_plan", environment.project, plan="pro")
    environment.refresh_from_db()
    assert environment.endpoint_blocked_at is None
    assert Project.objects.get(pk=environment.project_id).plan == "free"


# --- analyses ------------------------------------------------------------------------------------------------------


def test_an_analysis_runs_again_under_the_policy_in_force(staff):
    environment = make_environment()
    slow = scenes.judged(environment, **scenes.SLOWER)
    assert slow.verdict.verdict == "warning"
    set_policy(environment, {"left_out": ["latency_p95"]}, source="dashboard")
    page = act(staff, Deployment, "run_analysis_again", slow)
    assert "1 verdict is revised." in page
    slow.verdict.refresh_from_db()
    assert slow.verdict.verdict == "ok"
    assert [revision["verdict"] for revision in slow.verdict.revisions] == ["warning"]
    assert LogEntry.objects.get().object_id == str(slow.pk)
    assert "There is nothing to store." in act(staff, Deployment, "run_analysis_again", slow)


def test_an_open_window_is_not_judged_by_hand(staff):
    deployment = scenes.half_observed(make_environment())
    assert "Its samples are still coming in." in act(staff, Deployment, "run_analysis_again", deployment)
    assert not hasattr(Deployment.objects.get(pk=deployment.pk), "verdict")


def test_few_analyses_run_at_once_and_only_for_staff_who_may(staff, client):
    environment = make_environment()
    many = [make_deployment(environment=environment, state=State.ANALYZED) for _ in range(51)]
    assert "Select at most 50 deployments at once." in act(staff, Deployment, "run_analysis_again", *many)
    person = make_user(is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename="view_deployment"))
    client.force_login(person)
    has(client.get(reverse("admin:deployments_deployment_changelist")), without=["run_analysis_again"])
