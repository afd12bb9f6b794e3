"""Messages of real events: with the rows, without them, and for many deliveries in a fixed number of queries."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analysis.services import store_judgement
from analysis.tests.test_outbox import judgement
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from events.kinds import KINDS
from events.models import Event
from events.outbox import NewEvent, emit
from notifications.describing import describe
from notifications.message import Message
from notifications.models import Channel, Delivery
from notifications.tests.factories import make_channel
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db


def delivery(event: Event, channel: Channel, **fields: Any) -> Delivery:
    now = timezone.now()
    return Delivery.objects.create(event=event, channel=channel, due_at=now, expires_at=now, **fields)


def judged(verdict: str = "rollback_recommended", **fields: Any) -> tuple[Deployment, Event]:
    deployment = make_deployment(
        environment=make_environment(name="prod"), state=State.FINISHED, commit_sha="7c1f2a", author="ana"
    )
    store_judgement(deployment.pk, judgement(verdict, **fields))
    return deployment, Event.objects.latest("id")


def described(event: Event, **fields: Any) -> Message:
    channel = make_channel(**fields)
    [message] = describe([delivery(event, channel)]).values()
    return message


def test_a_message_opens_its_deployment_and_has_the_event_for_machines(settings) -> None:
    settings.SEQPULSE_PUBLIC_URL = "https://seqpulse.example/ops"
    deployment, event = judged()
    message = described(event)
    assert message.headline.startswith(f"{deployment.project.name} prod #{deployment.number} (7c1f2a, ana): ")
    assert message.link == f"https://seqpulse.example/ops/dashboard/deployments/{deployment.uuid}/"
    assert (message.deployment, message.severity) == (str(deployment.uuid), "critical")
    assert (message.incident, message.resolves) == (f"environment-{deployment.environment_id}", False)
    data = message.data
    assert (data["kind"], data["project"], data["environment"]) == ("verdict_issued", deployment.project.name, "prod")
    assert data["deployment"]["id"] == str(deployment.uuid) and data["deployment"]["commit"] == "7c1f2a"
    assert data["verdict"]["verdict"] == "rollback_recommended" and data["verdict"]["checks"] == []


def test_it_is_the_same_when_the_rows_are_gone() -> None:
    deployment, event = judged()
    channel = make_channel()
    sent = delivery(event, channel)
    before = describe([sent])
    deployment.project.delete()
    assert describe([sent]) == before


def test_an_event_without_names_is_named_by_its_rows() -> None:
    deployment, _ = judged()
    emit(
        NewEvent(
            "rollback_failed",
            deployment.project.team_id,
            deployment.project_id,
            deployment.environment_id,
            deployment.pk,
        )
    )
    message = described(Event.objects.latest("id"))
    assert f"prod #{deployment.number} (7c1f2a, ana): the rollback failed." in message.headline


@pytest.mark.parametrize(
    ("verdict", "fields", "incident"),
    [("warning", {"conclusive": False}, "deployment"), ("warning", {}, "environment"), ("ok", {}, "environment")],
)
def test_what_no_recovery_follows_on_is_an_incident_of_its_own(
    verdict: str, fields: dict[str, Any], incident: str
) -> None:
    _, event = judged(verdict, **fields)
    assert described(event).incident.partition("-")[0] == incident


def test_a_recovery_resolves_what_it_ends() -> None:
    deployment, bad = judged()
    later = make_deployment(environment=deployment.environment, state=State.FINISHED)
    store_judgement(later.pk, judgement("ok"))
    message, trouble = described(Event.objects.get(kind="recovered")), described(bad)
    assert message.resolves and message.incident == trouble.incident
    assert (message.severity, message.data["severity"]) == ("info", "critical")


def test_many_take_as_many_queries_as_few_and_later_ones_go_into_the_thread() -> None:
    channel = make_channel()

    def queries(size: int) -> int:
        sent = [delivery(judged()[1], channel, state="sent", reference=f"r{number}") for number in range(size)]
        for one in sent:
            place = (one.event.team_id, one.event.project_id, one.event.environment_id, one.event.deployment_id)
            emit(NewEvent("rollback_fired", *place))
        events = Event.objects.order_by("-id")[:size]
        waiting = [delivery(event, channel) for event in events]
        with CaptureQueriesContext(connection) as asked:
            messages = describe(waiting)
        assert sorted(one.thread for one in messages.values()) == [f"r{number}" for number in range(size)]
        return len(asked)

    assert queries(2) == queries(9) <= 6


@pytest.mark.parametrize("value", [5, "text", [1, "x"], {"verdict": 5, "checks": 7, "doubts": "x"}, None])
def test_parameters_of_another_form_are_left_out(value: Any) -> None:
    """As of another version, or of a kind that gives a name another meaning: one must not stop the others."""
    deployment, _ = judged()
    names = ("verdict", "hints", "deployment", "last_good", "early", "who", "reason", "why")
    for kind in KINDS:
        said = {"project": "shop", **dict.fromkeys(names, value)}
        emit(NewEvent(kind, deployment.project.team_id, parameters=said))
        assert described(Event.objects.latest("id")).headline
