"""The whole way: an event in a transaction, its deliveries, the receiver's answer."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models import F

from events.models import Event
from events.outbox import NewEvent, emit
from explain.facts import Fact
from notifications.delivering import refusal
from notifications.fanning import fan_out
from notifications.models import Channel, Delivery, DeliveryState
from notifications.tests.factories import make_channel
from notifications.tests.receivers import receiving
from scheduler.models import ScheduledJob
from scheduler.tests.kinds import wait_until
from scheduler.tests.pollers import running_poller

pytestmark = pytest.mark.django_db(transaction=True)


KINDS = ("deliver", "roll_back", "refresh_messages", "update_message")


def work_off() -> None:
    """Run a poller until every event is fanned out and no delivery is due."""
    with running_poller():
        wait_until(
            lambda: (
                not Event.objects.filter(fanned_out_at__isnull=True).exists()
                and not ScheduledJob.objects.filter(job_type__in=KINDS, status__in=("pending", "running")).exists()
            )
        )


def emit_to(channel: Channel, kind: str = "key_made", **fields: object) -> Event:
    emit(NewEvent(kind, channel.team_id, **fields))  # type: ignore[arg-type]  # fields of any type
    return Event.objects.latest("id")


def test_an_event_reaches_each_channel_of_its_team_once() -> None:
    with receiving() as receiver:
        channel = make_channel(receiver.url)
        other = make_channel(receiver.url, team=channel.team, name="second")
        make_channel(receiver.url, name="another team's")
        emit_to(channel)
        work_off()
    assert sorted(Delivery.objects.values_list("channel_id", "state", "answer_status", "answer")) == [
        (channel.pk, "sent", 200, "ok"),
        (other.pk, "sent", 200, "ok"),
    ]
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 2
    assert receiver.bodies()[0]["type"] == "key_made"


def test_an_event_of_a_rolled_back_transaction_is_not_delivered() -> None:
    channel = make_channel()
    with transaction.atomic():
        emit_to(channel)
        transaction.set_rollback(True)
    assert not Event.objects.exists() and not ScheduledJob.objects.exists()


@pytest.mark.parametrize("digest", ["", "daily"])
def test_after_days_without_a_poller_what_is_of_no_use_any_more_is_not_sent(digest: str) -> None:
    channel = make_channel(digest=digest)
    for hours in (23, 25):
        event = emit_to(channel)
        Event.objects.filter(pk=event.pk).update(occurred_at=F("occurred_at") - timedelta(hours=hours))
    with transaction.atomic():
        fan_out()
    rows = channel.deliveries.select_related("event", "channel").order_by("pk")
    # What a digest holds back keeps the time that it had left.
    assert [refusal(row, row.due_at) for row in rows] == [None, Fact("delivery.too_late")]


def test_an_event_with_a_key_is_delivered_once() -> None:
    channel = make_channel()
    for _ in range(3):
        emit(NewEvent("key_made", channel.team_id, key="this one"))
    assert Event.objects.count() == 1


def test_a_receiver_that_is_gone_disables_its_channel_and_the_others_are_notified() -> None:
    with receiving((410, {}, b"gone")) as gone, receiving() as other:
        channel = make_channel(gone.url)
        make_channel(other.url, team=channel.team, events=["channel_disabled"])
        emit_to(channel)
        work_off()
        work_off()
    channel.refresh_from_db()
    assert channel.disabled_at and Delivery.objects.get(channel=channel).state == DeliveryState.FAILED
    assert [body["type"] for body in other.bodies()] == ["channel_disabled"]


def test_a_busy_receiver_is_tried_again_when_it_says_so() -> None:
    with receiving((503, {"Retry-After": "90"}, b"later")) as receiver:
        channel = make_channel(receiver.url)
        emit_to(channel)
        with running_poller():
            wait_until(lambda: Delivery.objects.filter(attempts=1, answer_status=503).exists())
    delivery = Delivery.objects.get()
    assert delivery.state == DeliveryState.PENDING
    assert delivery.attempted_at is not None and (delivery.due_at - delivery.attempted_at).total_seconds() > 80
    job = ScheduledJob.objects.get(job_type="deliver", status="pending")
    assert job.scheduled_at == delivery.due_at
