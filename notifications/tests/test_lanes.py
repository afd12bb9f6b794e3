"""Receivers that hang or drip: they delay no other channel, and get one attempt at a time."""

from collections import Counter

import pytest
from django.db.models import F, Q

from events.models import Event
from events.outbox import NewEvent, emit
from notifications.models import Channel, Delivery
from notifications.tests.factories import make_channel
from notifications.tests.receivers import receiving
from scheduler.tests.kinds import wait_until
from scheduler.tests.pollers import running_poller

pytestmark = pytest.mark.django_db(transaction=True)

EVENTS, MANY = 40, 500


def emit_many(channel: Channel) -> None:
    emit(*(NewEvent("key_made", channel.team_id) for _ in range(EVENTS)))


def unsent(*channels: Channel) -> int:
    wanted = Event.objects.filter(team_id__in=[channel.team_id for channel in channels]).count()
    return wanted - Delivery.objects.filter(channel__in=channels, state="sent").count()


def test_receivers_that_do_not_answer_delay_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifications.channels.posting.DEADLINE_S", 3.0)
    with receiving() as receiver:
        hanging = make_channel(receiver.at("/hang"))
        beside = make_channel(receiver.at("/beside"), team=hanging.team)
        dripping = make_channel(receiver.at("/drip"))
        control = make_channel(receiver.at("/control"))
        for channel in (hanging, dripping, control):
            emit_many(channel)
        with running_poller():
            wait_until(lambda: unsent(beside, control) == 0)
            # All other channels delivered while the first few attempts there were waiting.
            tried = Counter(path for path, _, _ in receiver.requests)
            assert 0 < tried["/hang"] <= 4 and 0 < tried["/drip"] <= 4
            waiting = Delivery.objects.filter(channel__in=[hanging, dripping], state="pending")
            wait_until(lambda: not waiting.filter(error__isnull=True).exists())
        # A few were tried; the others know why they wait, and have lost no attempt.
        assert waiting.count() == 2 * EVENTS
        assert waiting.filter(attempts=0).count() >= 2 * EVENTS - 8
        assert not waiting.filter(Q(due_at__lte=F("attempted_at")) | Q(answer_status__isnull=False)).exists()


def test_each_of_many_events_goes_once_by_each_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifications.channels.posting.DEADLINE_S", 2.0)
    with receiving() as receiver:
        first = make_channel(receiver.at("/1"))
        for path in ("/2", "/hang"):
            make_channel(receiver.at(path), team=first.team)
        emit(*(NewEvent("key_made", first.team_id) for _ in range(MANY - 40)))
        with running_poller():
            for _ in range(40):
                emit(NewEvent("key_made", first.team_id))
            wait_until(lambda: Delivery.objects.filter(state="sent").count() == 2 * MANY)
        received = Counter((path, headers["webhook-id"]) for path, headers, _ in receiver.requests if path != "/hang")
    assert len(received) == 2 * MANY and set(received.values()) == {1}
    assert Delivery.objects.count() == 3 * MANY
