"""Operations in Django admin: jobs and pollers, plans, blocked endpoints, analyses, accounts."""

from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from dashboard.tests import scenes
from dashboard.tests.pages import fresh, has, shows, words
from deployments.models import Deployment, State
from projects.models import Environment, Project
from projects.services import set_policy
from scheduler.models import JobStatus, Poller, ScheduledJob
from tests.factories import (
    PASSWORD,
    make_deployment,
    make_environment,
    make_project,
    make_sample,
    make_user,
    make_verdict,
)

pytestmark = pytest.mark.django_db

OVERVIEW = "/admin/scheduler/scheduledjob/overview/"


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
    has(
        staff.get("/admin/"),
        f'href="{OVERVIEW}"',
        "seqpulse/tokens",
        'href="/dashboard/"',
        'href="/dashboard/status/operation/"',
    )


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
    assert fresh(project).plan == "free"


# --- endpoints -----------------------------------------------------------------------------------------------------


def test_an_endpoint_is_blocked_with_a_reason_and_unblocked(staff):
    environment = make_environment(metrics_endpoint="https://shop.example.com/ds-metrics")
    page = act(staff, Environment, "block", environment, reason="It answers 40 MB.")
    assert "1 endpoint is blocked." in page
    assert fresh(environment).endpoint_blocked_at is not None
    assert environment.endpoint_blocked_reason == "It answers 40 MB."
    assert "0 endpoints are blocked." in act(staff, Environment, "block", environment, reason="Again")
    assert fresh(environment).endpoint_blocked_reason == "It answers 40 MB."

    assert "1 endpoint is asked again." in act(staff, Environment, "unblock", environment)
    assert fresh(environment).endpoint_blocked_at is None
    assert environment.endpoint_blocked_reason == ""


ASKED_FOR = "Write the reason beside the action"
REFUSED = "No action selected"


@pytest.mark.parametrize(
    ("reason", "expected"), [("", ASKED_FOR), ("   ", ASKED_FOR), ("\x00", REFUSED), ("x" * 201, REFUSED)]
)
def test_an_endpoint_is_not_blocked_without_a_reason(staff, reason, expected):
    environment = make_environment()
    assert expected in act(staff, Environment, "block", environment, reason=reason)
    assert fresh(environment).endpoint_blocked_at is None


def test_staff_who_only_look_change_neither(client):
    person = make_user(is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename__in=("view_project", "view_environment")))
    client.force_login(person)
    environment = make_environment()
    act(client, Environment, "block", environment, reason="because")
    act(client, Project, "put_on_plan", environment.project, plan="pro")
    assert fresh(environment).endpoint_blocked_at is None
    assert Project.objects.get(pk=environment.project_id).plan == "free"


# --- analyses ------------------------------------------------------------------------------------------------------


def test_an_analysis_runs_again_under_the_policy_in_force(staff):
    environment = make_environment()
    slow = scenes.judged(environment, **scenes.SLOWER)
    assert slow.verdict.verdict == "warning"
    set_policy(environment, {"left_out": ["latency_p95"]}, source="dashboard")
    assert "1 verdict is revised." in act(staff, Deployment, "run_analysis_again", slow)
    assert fresh(slow.verdict).verdict == "ok"
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


# --- accounts ---


@pytest.fixture
def ada() -> User:
    return make_user(username="ada", email="ada@example.org")


def page(model: Any, name: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def test_tables_with_readable_secrets_are_not_there(staff):
    registered = {model._meta.label for model in admin.site._registry}
    assert not registered & {"socialaccount.SocialApp", "socialaccount.SocialToken", "sessions.Session"}


def test_a_second_factor_is_shown_without_its_secret_and_can_be_taken_away(staff, ada):
    row = Authenticator.objects.create(user=ada, type="totp", data={"secret": "do-not-show-this"})
    for address in (page(Authenticator, "changelist"), page(Authenticator, "change", row.pk)):
        shown = staff.get(address)
        assert "ada" in words(shown)
        assert "do-not-show-this" not in shown.content.decode()
    staff.post(page(Authenticator, "delete", row.pk), {"post": "yes"})
    assert not Authenticator.objects.exists()


@pytest.mark.parametrize("how", ["one", "chosen"])
def test_a_session_is_shown_without_its_key_and_ending_it_signs_out(staff, ada, how):
    theirs = Client()
    theirs.post("/accounts/login/", {"login": "ada", "password": PASSWORD})
    row = UserSession.objects.get(user=ada)
    for address in (page(UserSession, "changelist"), page(UserSession, "change", row.pk)):
        assert row.session_key not in staff.get(address).content.decode()
    if how == "one":
        staff.post(page(UserSession, "delete", row.pk), {"post": "yes"})
    else:
        chosen = {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"}
        staff.post(page(UserSession, "changelist"), chosen)
    assert theirs.get("/dashboard/settings/").status_code == 302


def test_ops_staff_give_no_address_twice(staff, ada):
    EmailAddress.objects.create(user=ada, email="other@example.org", verified=True)
    form = {"username": "eve", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    staff.post(page(User, "add"), form)
    eve = User.objects.get(username="eve")
    for taken in ("ADA@example.org", "Other@example.org"):
        shows(staff.post(page(User, "change", eve.pk), changed(eve, email=taken)), "Another account has this address.")


def test_an_address_that_ops_staff_give_is_the_one_that_mails_go_to(staff, ada):
    EmailAddress.objects.create(user=ada, email="ada@example.org", verified=True, primary=True)
    assert staff.post(page(User, "change", ada.pk), changed(ada, email="New@example.org")).status_code == 302
    assert fresh(ada).email == "new@example.org"
    assert EmailAddress.objects.get_primary_email(ada) == "new@example.org"


def changed(person: User, **fields: str) -> dict[str, str]:
    """Submit the user's page as a browser does."""
    joined = person.date_joined
    kept = {"username": person.username, "is_active": "on", "email": person.email}
    return {**kept, "date_joined_0": f"{joined:%Y-%m-%d}", "date_joined_1": f"{joined:%H:%M:%S}", **fields}


def test_a_failed_job_leads_to_its_project(client: Client) -> None:
    client.force_login(make_user(is_superuser=True, is_staff=True))
    deployment = make_deployment()
    scenes.collection(deployment, 1, status=JobStatus.FAILED, last_error="connection refused")
    page = client.get("/admin/scheduler/scheduledjob/?status__exact=failed")
    has(page, f'<a href="/dashboard/projects/{deployment.project.uuid}/">', "connection refused")


def test_a_deployment_leads_to_its_samples_verdict_and_jobs_and_these_lead_back(staff: Client) -> None:
    deployment, other = make_deployment(), make_deployment()
    for one in (deployment, other):
        make_sample(one)
        make_verdict(one)
        scenes.collection(one, 1)
    own, others = (f"/admin/deployments/deployment/{one.pk}/change/" for one in (deployment, other))
    page = staff.get(own)
    has(page, f'href="/dashboard/deployments/{deployment.uuid}/"')
    for name in ("metrics/metricsample", "analysis/deploymentverdict", "analysis/hint", "scheduler/scheduledjob"):
        address = f"/admin/{name}/?deployment__id__exact={deployment.pk}"
        has(page, f'href="{address}"')
        assert staff.get(address).status_code == 200
        if name in ("metrics/metricsample", "analysis/deploymentverdict"):
            rows = staff.get(address)
            has(rows, f'href="{own}"')
            assert others not in rows.content.decode()
