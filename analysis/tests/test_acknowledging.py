"""Acknowledgements of a deployment: stored once, notified, and feeding the marks."""

from typing import Any

import pytest
from django.test import Client

from accounts.tests.factories import make_user
from analysis.acknowledging import MOST_OF_ONE, CannotAcknowledge, acknowledge
from analysis.models import Acknowledgement, Feedback
from analysis.services import give_feedback
from analysis.tests.factories import make_verdict
from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from events.models import Event
from projects.tests.factories import make_api_key, make_environment
from tests.concurrency import at_once

pytestmark = pytest.mark.django_db
BAD = "rollback_recommended"


def judged(verdict: str | None = BAD, **fields: Any) -> Deployment:
    deployment = make_deployment(state="finished", environment=make_environment(name="prod"), **fields)
    if verdict is not None:
        make_verdict(deployment, verdict=verdict)
    return Deployment.objects.select_related("project", "environment").get(pk=deployment.pk)


def said(deployment: Deployment) -> list[tuple[str, str]]:
    return list(Acknowledgement.objects.filter(deployment=deployment).order_by("pk").values_list("who", "what"))


def test_it_is_kept_and_told_with_what_a_message_needs() -> None:
    deployment, ana = judged(), make_user(username="ana")
    done = acknowledge(deployment, "on_it", who="ana", via="page", by=ana, reason=" looking\x00 ")
    assert done.is_new and (done.row.who, done.row.by, done.row.reason) == ("ana", ana, "looking")
    event = Event.objects.get()
    assert (event.kind, event.deployment_id, event.severity) == ("acknowledged", deployment.pk, "info")
    facts = {name: event.parameters[name] for name in ("what", "who", "via", "reason", "about", "environment")}
    expected = {"what": "on_it", "who": "ana", "via": "page", "reason": "looking", "about": BAD, "environment": "prod"}
    assert facts == expected


def test_repetitions_change_nothing_and_changes_are_kept() -> None:
    deployment = judged()
    course = [
        ("ana", "on_it", "", True),
        ("ana", "on_it", "", False),
        ("bo", "on_it", "", True),
        ("ana", "on_it", "", False),
        ("ana", "on_it", "found it", True),
        ("ana", "on_it", "", False),
        ("bo", "ignored", "known", True),
        ("bo", "ignored", "known", False),
        ("ana", "on_it", "", True),
        ("bo", "ignored", "known", True),
    ]
    for who, what, reason, is_new in course:
        assert acknowledge(deployment, what, who=who, via="api", reason=reason).is_new == is_new
    assert Event.objects.count() == len(said(deployment)) == 6


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_are_both_kept_and_a_double_click_once() -> None:
    deployment = judged()
    at_once(8, lambda number: acknowledge(deployment, "rolled_back", who=f"p{number % 2}", via="page"))
    assert sorted(said(deployment)) == [("p0", "rolled_back"), ("p1", "rolled_back")]
    assert Event.objects.count() == 2 and Feedback.objects.get().right


@pytest.mark.parametrize(
    ("verdict", "what", "reason", "code", "field"),
    [
        (BAD, "ignored", " ", "acknowledged.no_reason", "reason"),
        (BAD, "ignored", "\x07", "acknowledged.no_reason", "reason"),
        (BAD, "ignored", "\u200b\u200d\ufe0f", "acknowledged.no_reason", "reason"),
        (None, "ignored", "why", "acknowledged.no_verdict", "what"),
    ],
)
def test_what_cannot_be_said(verdict: str | None, what: str, reason: str, code: str, field: str) -> None:
    deployment = judged(verdict)
    with pytest.raises(CannotAcknowledge) as refused:
        acknowledge(deployment, what, who="ana", via="page", reason=reason)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert not Acknowledgement.objects.exists() and not Event.objects.exists()


def test_a_script_that_runs_wild_is_stopped() -> None:
    deployment = judged()
    rows = [
        Acknowledgement(deployment=deployment, environment_id=deployment.environment_id, what="on_it", who=f"p{number}")
        for number in range(MOST_OF_ONE)
    ]
    Acknowledgement.objects.bulk_create(rows)
    assert not acknowledge(deployment, "on_it", who="p5", via="").is_new
    with pytest.raises(CannotAcknowledge):
        acknowledge(deployment, "on_it", who="new", via="api")


@pytest.mark.parametrize(
    ("verdict", "what", "before", "right"),
    [
        (BAD, "rolled_back", None, True),
        (BAD, "rolled_back", False, False),
        (BAD, "on_it", None, None),
        (BAD, "ignored", None, None),
        # It was not recommended.
        ("warning", "rolled_back", None, None),
        (None, "rolled_back", None, None),
    ],
)
def test_to_have_rolled_back_marks_the_recommendation_right(
    verdict: str | None, what: str, before: bool | None, right: bool | None
) -> None:
    deployment = judged(verdict)
    if before is not None:
        give_feedback(deployment.verdict, right=before, by=None)
    done = acknowledge(deployment, what, who="ana", via="page", reason="because")
    assert [mark.right for mark in Feedback.objects.all()] == ([] if right is None else [right])
    assert done.marked == (right is True)


def test_the_api_takes_names_and_repetitions_and_knows_only_its_own_deployments() -> None:
    deployment = judged()
    _, secret = make_api_key(project=deployment.project, name="ci")
    client = Client(headers={"X-API-Key": secret})
    address = f"/deployments/{deployment.uuid}/acknowledgements"

    def post(**body: Any) -> Any:
        return client.post(address, body, content_type="application/json")

    first = post(what="on_it")
    assert (first.status_code, first.json()["who"], first.json()["via"]) == (201, "ci", "api")
    for nobody in (None, "", " ", "\u200b\u200d"):
        assert post(what="on_it", who=nobody).json() == first.json()
    again = post(what="on_it", who=None, reason=None)
    assert (again.status_code, again.json()) == (200, first.json())
    assert post(what="ignored", who="bo", reason="known").status_code == 201
    assert [one["who"] for one in client.get(address).json()] == ["ci", "bo"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"what": "ignored"}, "reason"),
        ({"what": "fixed"}, "what"),
        ({}, "what"),
        ({"what": "on_it", "who": "x" * 151}, "who"),
        ({"what": "on_it", "reason": "x" * 501}, "reason"),
        ({"what": "on_it", "who": "a\0b"}, "who"),
        ({"what": ["on_it"]}, "what"),
    ]
    for body, field in wrong:
        answer = post(**body)
        assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, [field])
    assert "on_it, rolled_back, ignored" in post(what="ON IT").json()["error"]["message"]
    other = Client(headers={"X-API-Key": make_api_key()[1]})
    for method in (other.get, lambda url: other.post(url, {"what": "on_it"}, content_type="application/json")):
        unknown = method(f"/deployments/{'0' * 8}-0000-0000-0000-{'0' * 12}/acknowledgements")
        assert (method(address).status_code, method(address).json()) == (404, unknown.json())
    assert Client().post(address, {"what": "on_it"}, content_type="application/json").status_code == 401
    assert len(said(deployment)) == 2
