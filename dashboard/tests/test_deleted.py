"""Deleted objects disappear from every page at once, while their rows are still being removed."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from analysis.models import Severity
from analysis.tests.factories import make_hint, make_verdict
from dashboard.tests.pages import LIST, address
from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from projects.models import Environment, Project
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db

LISTS = ("/dashboard/", LIST, f"{LIST}json/", "/dashboard/hints/")


@pytest.fixture
def judged(environment: Environment) -> Deployment:
    deployment = make_deployment(environment=environment)
    make_verdict(deployment, verdict="rollback_recommended")
    make_hint(deployment, code="cpu_spike", severity=Severity.CRITICAL)
    return deployment


def text_of(browser: Client, path: str) -> str:
    response = browser.get(path)
    assert response.status_code == 200
    return response.getvalue().decode()


def test_a_deleted_environment_is_on_no_page(browser_of: Client, environment: Environment, judged: Deployment) -> None:
    kept = make_deployment(environment=make_environment(project=environment.project, name="kept"))
    make_verdict(kept)
    assert all(str(judged.uuid) in text_of(browser_of, path) for path in LISTS)
    Environment.objects.filter(pk=environment.pk).update(deleting_at=timezone.now(), name="a name that is going")
    for path in LISTS:
        shown = text_of(browser_of, path)
        assert str(judged.uuid) not in shown, path
        assert "a name that is going" not in shown, path
    assert browser_of.get(address(judged)).status_code == 404
    assert browser_of.get(f"{address(kept)}compare/", {"with": str(judged.uuid)}).status_code == 404
    assert str(kept.uuid) in text_of(browser_of, LIST)


def test_a_deleted_project_is_on_no_page_of_a_superuser(
    browser_of: Client, user: User, environment: Environment, judged: Deployment
) -> None:
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    assert str(judged.uuid) in text_of(browser_of, LIST)
    Project.objects.filter(pk=environment.project_id).update(deleting_at=timezone.now())
    assert all(str(judged.uuid) not in text_of(browser_of, path) for path in LISTS)
    assert json.loads(text_of(browser_of, f"{LIST}json/"))["count"] == 0
