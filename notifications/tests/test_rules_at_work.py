"""Rules, retries and ends of deliveries, with pollers at work and time that passes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import make_team
from events.kinds import Severity
from events.models import Event
from events.outbox import NewEvent, emit
from notifications import fanning
from notifications.fanning import fan_out, leaders_of, replan, resend
from notifications.models import Channel, Delivery
from notifications.services import disable_channel
from notifications.tests.factories import make_channel
from notifications.tests.receivers import Receiver, receiving
from projects.services import create_project
from scheduler.models import ScheduledJob
from scheduler.queue import database_now, notify
from scheduler.tests.kinds import wait_until
from scheduler.tests.pollers import running_poller
from tests.concurrency import in_background

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def shared() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def receiver(shared: Receiver) -> Receiver:
    shared.answers.clear()
    shared.requests.clear()
    return shared


def pass_time(by: timedelta) -> None:
    """Let time pass: everything moves into the past."""
    Event.objects.update(occurred_at=F("occurred_at") - by)
    Delivery.objects.update(due_at=F("due_at") - by, expires_at=F("expires_at") - by)
    ScheduledJob.objects.filter(job_type="deliver", status="pending").update(scheduled_at=F("scheduled_at") - by)
    notify()


def pass_until_due() -> None:
    wait_until(lambda: not ScheduledJob.objects.filter(job_type="deliver", status="running").exists())
    last = Delivery.objects.filter(state="pending").latest("due_at")
    pass_time(last.due_at - database_now())


def ends(channel: Channel) -> list[tuple[Any, ...]]:
    """Return state, error code and answer of the channel's deliveries."""
    rows = channel.deliveries.order_by("pk").values_list("state", "error__code", "answer_status")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(
    "rules",
    [
        {"digest": "daily", "cooldown_s": 600},
        {"digest": "hourly", "quiet_from": (NOW - HOUR).time(), "quiet_until": (NOW + HOUR).time()},
    ],
    ids=["digest", "quiet hours and digest"],
)
def test_what_is_held_back_goes_in_one_message_and_what_is_critical_at_once(
    receiver: Receiver, rules: dict[str, Any]
) -> None:
    channel = make_channel(receiver.url, **rules)
    with running_poller(), running_poller():
        for _ in range(3):
            emit(NewEvent("endpoint_silent", channel.team_id, environment_id=7))
        emit(NewEvent("key_made", channel.team_id), NewEvent("verdict_issued", channel.team_id, severity=Severity.INFO))
        emit(NewEvent("early_rollback", channel.team_id, environment_id=7, deployment_id=1))
        emit(NewEvent("early_rollback", channel.team_id, environment_id=7, deployment_id=2))
        wait_until(lambda: channel.deliveries.filter(state="sent").count() == 2 and channel.deliveries.count() == 7)
        assert [body["type"] for body in receiver.bodies()] == ["early_rollback"] * 2
        assert channel.deliveries.filter(state="pending").values("due_at").distinct().count() == 1
        # The receiver does not take it at first: it is tried again as a whole.
        receiver.answers.append((500, {}, b""))
        pass_until_due()
        wait_until(lambda: channel.deliveries.filter(answer_status=500, attempts=1).count() == 5)
        pass_until_due()
        wait_until(lambda: channel.deliveries.filter(state="sent").count() == 7)
    first, second = receiver.requests[2:]
    assert first[1]["webhook-id"] == second[1]["webhook-id"]
    assert [len(body["others"]) for body in receiver.bodies()[2:]] == [4, 4]


def test_a_cooldown_gathers_what_is_alike_and_lets_other_deployments_through(receiver: Receiver) -> None:
    channel = make_channel(receiver.url, cooldown_s=600)
    alike = NewEvent("endpoint_silent", channel.team_id, environment_id=7)
    with running_poller():
        emit(alike)
        wait_until(lambda: len(receiver.requests) == 1)
        for _ in range(3):
            emit(alike)
        emit(NewEvent("endpoint_silent", channel.team_id, environment_id=8))
        wait_until(lambda: len(receiver.requests) == 2 and channel.deliveries.count() == 5)
        pass_until_due()
        wait_until(lambda: channel.deliveries.filter(state="sent").count() == 5)
    assert [len(body["others"]) for body in receiver.bodies()] == [0, 0, 2]


def test_an_hour_of_refusals_ends_in_success_and_a_day_of_them_in_the_last_answer(receiver: Receiver) -> None:
    channel = make_channel(receiver.url)
    with running_poller():
        emit(NewEvent("key_made", channel.team_id))
        receiver.answers += [(500, {}, b"down")] * 4 + [(200, {}, b"thanks")]
        for attempt in range(1, 5):
            wait_until(lambda attempt=attempt: channel.deliveries.filter(attempts=attempt, answer="down").exists())  # type: ignore[misc]
            pass_until_due()
        thanked = channel.deliveries.filter(state="sent", attempts=5, answer="thanks", error__isnull=True)
        wait_until(thanked.exists)
        # Expired before the next attempt is due: nothing is sent, and the last answer stays.
        receiver.answers += [(503, {"Retry-After": "60"}, b"still down")]
        emit(NewEvent("key_made", channel.team_id))
        wait_until(lambda: channel.deliveries.filter(answer="still down").exists())
        pass_time(25 * HOUR)
        wait_until(lambda: channel.deliveries.filter(state="expired").exists())
    assert ends(channel) == [("sent", None, 200), ("expired", "delivery.busy", 503)]
    assert len(receiver.requests) == 6
    assert channel.deliveries.get(state="expired").attempts == 1


def test_events_are_delivered_whatever_became_of_what_they_are_about(receiver: Receiver) -> None:
    """What was deleted, edited or disabled meanwhile, or is of a later version, stops no other delivery."""
    team = make_team()
    made = create_project("gone", environment="prod")
    sound = make_channel(receiver.at("/sound"), team=team)
    ended = {"quiet_from": (NOW - 2 * HOUR).time(), "quiet_until": (NOW - HOUR).time()}
    broken = [
        make_channel(team=team, kind="carrier_pigeon", name="of a later version"),
        make_channel(team=team, name="without its address"),
        make_channel(team=team, name="of another form"),
        make_channel(team=team, name="of another key"),
        make_channel(receiver.at("/zone"), team=team, name="in no zone", time_zone="Europe/Atlantis", **ended),
        make_channel(receiver.at("/late"), team=team, name="disabled meanwhile", digest="daily"),
        make_channel(receiver.at("/late"), team=team, name="deleted meanwhile", digest="daily"),
        make_channel(receiver.at("/old"), team=team, name="edited meanwhile", digest="daily"),
    ]
    make_channel(receiver.at("/odd"), team=team, name="with odd rules", events=5, environments={"7": 1})
    Channel.objects.filter(pk=broken[1].pk).update(config='{"secret": ""}')
    Channel.objects.filter(pk=broken[2].pk).update(config='["http://127.0.0.1/"]')
    with connection.cursor() as cursor:
        cursor.execute("UPDATE notification_channels SET config = 'gAAAAAnothing' WHERE id = %s", [broken[3].pk])
    environment = made.project.environments.get()
    about = {"project_id": made.project.pk, "environment_id": environment.pk, "deployment_id": 999}
    emit(NewEvent("deployment_abandoned", team.pk, **about))
    emit(NewEvent("key_made", team.pk, parameters={"name": ["odd"], "project": 7, "deployment": "none"}))
    Event.objects.create(kind="of_a_later_version", severity="dire", team_id=team.pk)
    made.project.delete()
    with running_poller():
        wait_until(lambda: sound.deliveries.filter(state="sent").count() == 3)
        wait_until(lambda: Delivery.objects.filter(state="pending").exclude(channel__in=broken[5:]).count() == 0)
        disable_channel(broken[5])
        broken[6].delete()
        Channel.objects.filter(pk=broken[7].pk).update(config=json.dumps({"url": receiver.at("/new")}))
        pass_until_due()
        wait_until(lambda: not Delivery.objects.filter(state="pending").exists())
    assert [sorted({end[:2] for end in ends(channel)}) for channel in (*broken[:4], broken[5])] == [
        [("skipped", "delivery.unknown_kind")],
        [("failed", "delivery.unreadable")],
        [("failed", "delivery.unreadable")],
        [("failed", "delivery.unreadable")],
        [("skipped", "delivery.channel_disabled")],
    ]
    assert {path for path, _, _ in receiver.requests} == {"/sound", "/zone", "/odd", "/new"}
    assert not ScheduledJob.objects.filter(job_type__in=("deliver", "fan_out"), status="failed").exists()


def test_sent_again_once_however_often_it_is_asked(receiver: Receiver) -> None:
    channel = make_channel(receiver.url, digest="hourly")
    receiver.answers.append((404, {}, b""))
    emit(*(NewEvent("key_made", channel.team_id) for _ in range(3)))
    with running_poller():
        wait_until(lambda: channel.deliveries.count() == 3)
        pass_until_due()
        wait_until(lambda: channel.deliveries.filter(state="failed").count() == 3)
        leader, follower, _ = channel.deliveries.order_by("pk")
        assert [resend(leader), resend(leader)] == [True, False]
        wait_until(lambda: channel.deliveries.filter(state="sent").count() == 3)
        assert resend(follower)
        wait_until(lambda: not channel.deliveries.filter(state="pending").exists())
    assert [len(body["others"]) for body in receiver.bodies()] == [2, 2, 0]
    # A delivery whose leader ended without it is planned again.
    Delivery.objects.filter(pk=follower.pk).update(state="pending", sent_with=leader.pk, due_at=NOW - HOUR)
    assert replan() == 1


def test_what_has_a_job_does_not_hide_what_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanning, "REPLANNED_AT_ONCE", 1)
    channel = make_channel()
    emit(*(NewEvent("key_made", channel.team_id) for _ in range(2)))
    with transaction.atomic():
        fan_out()
    first, second = channel.deliveries.order_by("pk")
    ScheduledJob.objects.filter(job_metadata__delivery=second.pk).delete()
    for delivery, since in ((first, 2 * HOUR), (second, HOUR)):
        Delivery.objects.filter(pk=delivery.pk).update(due_at=NOW - since)
    assert [replan(), replan()] == [1, 0]
    assert ScheduledJob.objects.filter(job_type="deliver", job_metadata__delivery=second.pk).count() == 1


def test_held_deliveries_are_locked_in_the_order_of_their_ids() -> None:
    """As deliveries that are sent are: else a full hour, when many are due and others come, ends in a deadlock."""
    channel = make_channel()
    events = [Event.objects.create(kind="key_made", severity="info", team_id=channel.team_id) for _ in range(2)]
    first, second = (
        Delivery.objects.create(event=event, channel=channel, due_at=NOW + hours * HOUR, expires_at=NOW + 9 * HOUR)
        for hours, event in enumerate(events, 1)
    )

    def lock() -> None:
        with transaction.atomic():
            leaders_of([first, second])

    def waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)))")
            return bool(cursor.fetchone()[0])

    with transaction.atomic():
        Delivery.objects.select_for_update().get(pk=first.pk)
        other = in_background(lock)
        wait_until(waits)
        assert Delivery.objects.select_for_update(skip_locked=True).filter(pk=second.pk).exists()
    other.result(30)


def test_the_events_that_one_job_leaves_are_the_next_ones() -> None:
    channel = make_channel(events=["recovered"])
    emit(*(NewEvent("key_made", channel.team_id) for _ in range(fanning.EVENTS_AT_ONCE + 1)))
    with running_poller():
        wait_until(lambda: not Event.objects.filter(fanned_out_at__isnull=True).exists())
    assert ScheduledJob.objects.filter(job_type="fan_out").count() == 2


def test_a_thousand_events_are_delivered_once_by_each_channel(receiver: Receiver) -> None:
    team = make_team()
    channels = [make_channel(receiver.at(f"/{number}"), team=team, cooldown_s=600) for number in range(3)]
    emit(*(NewEvent("key_made", team.pk, environment_id=number) for number in range(1000)))
    counts = []
    for _ in range(2):
        with transaction.atomic(), CaptureQueriesContext(connection) as queries:
            assert fan_out() == 500
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 12
    with running_poller():
        wait_until(lambda: not Delivery.objects.exclude(state="sent").exists(), 60)
    for number, channel in enumerate(channels):
        delivered = [
            json.loads(body)["data"]["event_id"] for path, _, body in receiver.requests if path == f"/{number}"
        ]
        assert len(delivered) == len(set(delivered)) == 1000
        assert channel.deliveries.filter(attempts=1).count() == 1000
