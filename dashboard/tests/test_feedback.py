"""Marking a verdict right or wrong."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import Membership, Role, User
from accounts.tests.factories import make_membership
from analysis.models import Feedback, VerdictName
from analysis.tests.factories import make_verdict
from dashboard.tests import scenes
from dashboard.tests.pages import address, elements, shows, words
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from projects.models import Environment

pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(environment: Environment) -> Deployment:
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_verdict(deployment, verdict=VerdictName.ROLLBACK_RECOMMENDED)
    return deployment


def mark(client: Client, deployment: Deployment, **fields: str) -> Any:
    return client.post(f"{address(deployment)}feedback/", {f"feedback-{name}": text for name, text in fields.items()})


def as_role(client: Client, environment: Environment, role: str) -> Client:
    client.force_login(make_membership(team=environment.project.team, role=role).user)
    return client


def test_a_mark_is_stored_and_shown_with_who_gave_it_and_why(browser_of, deployment, user):
    answer = mark(browser_of, deployment, mark="wrong", should_have_been="ok", reason="The load test did that.")
    assert (answer.status_code, answer["Location"]) == (302, f"{address(deployment)}#feedback")
    feedback = Feedback.objects.get()
    assert (feedback.right, feedback.should_have_been, feedback.given_by) == (False, "ok", user)
    text = words(browser_of.get(address(deployment)))
    shows(text, "Marked wrong , it should have been: OK · ada · just now", "The load test did that.")


def test_a_later_mark_replaces_the_first(browser_of, client, deployment, environment):
    mark(browser_of, deployment, mark="wrong", should_have_been="ok")
    mark(as_role(client, environment, Role.ADMIN), deployment, mark="right", should_have_been="warning")
    feedback = Feedback.objects.get()
    assert (feedback.right, feedback.should_have_been, feedback.label) == (True, "", "rollback_recommended")
    assert "Marked right" in words(client.get(address(deployment)))


def test_the_form_to_change_a_mark_shows_it_as_it_stands(browser_of, deployment):
    mark(browser_of, deployment, mark="wrong", should_have_been="warning", reason="Only slow.")
    page = browser_of.get(address(deployment)).content.decode()
    assert "Change feedback" in page
    assert [field.get("value") for field in elements(page, "input[checked]")] == ["wrong"]
    assert '<option value="warning" selected>' in page


def test_a_wrong_verdict_cannot_have_been_the_right_one(browser_of, deployment):
    shows(mark(browser_of, deployment, mark="wrong", should_have_been="rollback_recommended"), "Select a valid choice")
    assert not Feedback.objects.exists()


def test_a_viewer_sees_the_mark_and_no_form(browser_of, deployment, user):
    mark(browser_of, deployment, mark="right", reason="I looked.")
    Membership.objects.filter(user=user).update(role=Role.VIEWER)
    page = browser_of.get(address(deployment))
    shows(page, "Marked right", "I looked.")
    assert "feedback-form" not in page.content.decode()


def test_a_viewer_reads_that_nobody_has_marked_it(client, deployment, environment):
    shows(as_role(client, environment, Role.VIEWER).get(address(deployment)), "Nobody has marked it yet.")


def test_without_a_verdict_there_is_nothing_to_mark(browser_of, environment):
    running = make_deployment(environment=environment, state=State.FINISHED)
    assert mark(browser_of, running, mark="right").status_code == 404
    assert "Was this verdict right?" not in words(browser_of.get(address(running)))


def test_an_early_verdict_can_be_marked_while_its_window_goes_on(browser_of, environment):
    deployment = scenes.called_out_early(environment)
    assert mark(browser_of, deployment, mark="right").status_code == 302
    assert "Marked right" in words(browser_of.get(address(scenes.end_window(deployment))))


def test_a_mark_outlives_the_person_who_gave_it(browser_of, client, deployment, environment, user):
    mark(browser_of, deployment, mark="right")
    User.objects.filter(pk=user.pk).delete()
    shows(as_role(client, environment, Role.MEMBER).get(address(deployment)), "Marked right · – ·")


HOSTILE = [
    "",
    "\x00",
    "x" * 600,
    "é\u202e",
    "<script>alert(1)</script>",
    "right\x00",
    "9" * 5000,
    "' OR 1=1",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:30])
@pytest.mark.parametrize("field", ["mark", "should_have_been", "reason"])
def test_every_field_takes_every_hostile_text(browser_of, deployment, field, text):
    answer = mark(browser_of, deployment, **{"mark": "wrong", field: text})
    assert answer.status_code in (200, 302)
    assert "<script>alert(1)" not in answer.content.decode()
    assert "<script>alert(1)" not in browser_of.get(address(deployment)).content.decode()
