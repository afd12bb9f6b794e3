"""A verification that is begun on the page of an environment."""

import pytest
from django.test import Client

from accounts.models import Role
from dashboard.tests.pages import HOSTILE, elements, shows
from deployments.models import Deployment, State
from projects.models import Environment
from tests.factories import make_deployment

pytestmark = [pytest.mark.django_db, pytest.mark.environment(metrics_endpoint="https://shop.example/m")]


def page(environment: Environment) -> str:
    return f"/dashboard/environments/{environment.pk}/"


def test_a_member_verifies_now_once_however_often_it_is_sent(browser_of: Client, environment: Environment) -> None:
    [form] = elements(browser_of.get(page(environment)), "#verify form")
    sent = {field.get("name"): field.get("value") or "" for field in form.iter("input")}
    for _ in range(2):
        answer = browser_of.post(form.get("action"), {**sent, "reason": "flag on"}, follow=True)
    [deployment] = Deployment.objects.all()
    shows(answer, "#1", "Verification", "flag on", "No verdict yet")
    assert (deployment.kind, deployment.author) == ("verification", "ada")


@pytest.mark.parametrize("text", HOSTILE)
def test_odd_texts_are_read_as_the_api_reads_them(browser_of: Client, environment: Environment, text: str) -> None:
    answer = browser_of.post(f"{page(environment)}verify/", {"reason": text, "sent": text})
    assert answer.status_code == 302
    [deployment] = Deployment.objects.all()
    assert deployment.commit_message in (text.strip()[:500], "")


def test_a_running_deployment_goes_first(browser_of: Client, environment: Environment) -> None:
    make_deployment(environment=environment, state=State.RUNNING)
    answer = browser_of.post(f"{page(environment)}verify/", {}, follow=True)
    shows(answer, "Deployment #1 of prod is still running")
    assert Deployment.objects.count() == 1


@pytest.mark.environment(role=Role.VIEWER)
def test_a_viewer_is_not_offered_it(browser_of: Client, environment: Environment) -> None:
    assert not elements(browser_of.get(page(environment)), "#verify")
