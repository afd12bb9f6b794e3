from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from scheduler.models import ScheduledJob
from scheduler.tests.kinds import Journal, make_job

pytestmark = pytest.mark.django_db
LIST = "/admin/scheduler/scheduledjob/"


def act(client: Client, action: str, *jobs: ScheduledJob) -> Any:
    return client.post(LIST, {"action": action, "_selected_action": [job.pk for job in jobs]}, follow=True)


def test_failed_jobs_are_retried_and_refusals_shown(admin_client: Client, journal: Journal) -> None:
    failed = make_job(status="failed", error_code="refused", last_error="connection refused")
    running = make_job(status="running", locked_by="a")
    page = act(admin_client, "retry_jobs", failed, running).content.decode()
    failed.refresh_from_db()
    assert (failed.status, failed.retry_count) == ("pending", 0)
    assert f"Job {running.pk}: it is running" in page
    assert "by admin" in admin_client.get(f"{LIST}{failed.pk}/change/").content.decode()


def test_pending_jobs_are_cancelled(admin_client: Client, journal: Journal) -> None:
    job = make_job(due_in_s=60)
    act(admin_client, "cancel_jobs", job)
    assert [ended.status for ended in journal.ended] == ["cancelled"]
    job.refresh_from_db()
    assert (job.status, job.last_error) == ("cancelled", "cancelled by admin")
    page = admin_client.get(f"{LIST}{job.pk}/change/", headers={"Accept-Language": "fr"}).content.decode()
    assert page.count("annulée par admin") == 2
    assert "cancelled by admin" not in page


def test_who_may_only_look_may_not_act(client: Client, django_user_model: Any) -> None:
    viewer = django_user_model.objects.create_user("viewer", password="long enough 1", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_scheduledjob"))
    client.force_login(viewer)
    job = make_job(due_in_s=60)
    act(client, "cancel_jobs", job)
    job.refresh_from_db()
    assert job.status == "pending"


def test_late_jobs_can_be_listed(admin_client: Client) -> None:
    late, early = make_job(due_in_s=-60), make_job(due_in_s=60)
    page = admin_client.get(f"{LIST}?late=yes").content.decode()
    assert f"/{late.pk}/change/" in page
    assert f"/{early.pk}/change/" not in page
