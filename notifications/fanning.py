"""Make the deliveries of events: which channels want them, and when they are sent."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from django.db.models import Max

from events.models import Event
from notifications.models import Channel, Delivery, DeliveryState
from notifications.rules import Timing, send_at
from scheduler.models import ScheduledJob
from scheduler.queue import NewJob, database_now, enqueue

DELIVER = "deliver"
EVENTS_AT_ONCE = 500
REPLANNED_AT_ONCE = 1000
# Alike: of the same kind, in the same environment.
Alike = tuple[int, str, int | None]


def fan_out() -> int:
    """Write the deliveries of events that have none yet, and their jobs; return how many events there were.

    In the caller's transaction. Events that another poller works on are left to it.
    """
    waiting = Event.objects.select_for_update(skip_locked=True).filter(fanned_out_at__isnull=True)
    events = list(waiting.order_by("id")[:EVENTS_AT_ONCE])
    if not events:
        return 0
    now = database_now()
    # Locked: a channel's deliveries are written by one poller at a time, so that its cooldown is kept.
    channels = Channel.objects.select_for_update().active().filter(team_id__in={event.team_id for event in events})
    wanted = [(event, channel) for channel in channels.order_by("pk") for event in events if channel.wants(event)]
    sent = last_sent({channel.pk for _, channel in wanted}, since=now - timedelta(days=1))
    deliveries = []
    for event, channel in wanted:
        alike = (channel.pk, event.kind, event.environment_id)
        at = send_at(timing(channel), now, critical=event.severity == "critical", alike_sent_at=sent.get(alike))
        sent[alike] = max(at, sent.get(alike, at))
        expires_at = max(event.occurred_at, at) + timedelta(seconds=event.useful_for_s)
        deliveries.append(Delivery(event=event, channel=channel, due_at=at, expires_at=expires_at))
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)
    # Read back: with ignore_conflicts they have no ids.
    plan(Delivery.objects.filter(event__in=events, state=DeliveryState.PENDING).select_related("event"), now)
    Event.objects.filter(pk__in=[event.pk for event in events]).update(fanned_out_at=now)
    return len(events)


def timing(channel: Channel) -> Timing:
    return Timing(channel.time_zone, channel.quiet_from, channel.quiet_until, str(channel.digest), channel.cooldown_s)


def last_sent(channel_ids: Iterable[int], *, since: datetime) -> dict[Alike, datetime]:
    """Return when each channel last sent, or is going to send, a kind of event of an environment."""
    rows = (
        Delivery.objects.filter(channel_id__in=list(channel_ids), event__occurred_at__gte=since)
        .exclude(state=DeliveryState.SKIPPED)
        .values_list("channel_id", "event__kind", "event__environment_id")
        .annotate(at=Max("due_at"))
    )
    return {(channel, kind, environment): at for channel, kind, environment, at in rows}


def plan(deliveries: Iterable[Delivery], now: datetime) -> None:
    """Enqueue a job for each delivery; those of a channel that are held back until the same time share one."""
    leaders: dict[tuple[int, datetime], Delivery] = {}
    jobs = []
    followers = []
    for delivery in sorted(deliveries, key=lambda one: one.pk):
        if delivery.sent_with_id is not None:
            continue
        held = delivery.due_at > now
        if held:
            place = (delivery.channel_id, delivery.due_at)
            leader = leaders.get(place) or leader_of(delivery)
            if leader is not None:
                leaders[place] = leader
                delivery.sent_with_id = leader.pk
                followers.append(delivery)
                continue
            leaders[place] = delivery
        jobs.append(job_of(delivery))
    Delivery.objects.bulk_update(followers, ["sent_with_id"])
    enqueue(jobs)


def leader_of(delivery: Delivery) -> Delivery | None:
    """Return the untried delivery in whose message this one can go."""
    return (
        Delivery.objects.select_for_update()
        .filter(
            channel_id=delivery.channel_id,
            due_at=delivery.due_at,
            state=DeliveryState.PENDING,
            attempts=0,
            sent_with__isnull=True,
            pk__lt=delivery.pk,
        )
        .order_by("pk")
        .first()
    )


def job_of(delivery: Delivery) -> NewJob:
    return NewJob(
        DELIVER,
        delivery.due_at,
        fair_key=delivery.event.project_id,
        unique_key=f"delivery {delivery.pk} {delivery.attempts}",
        metadata={"delivery": delivery.pk},
    )


def replan() -> int:
    """Enqueue deliveries whose job is missing: it failed, rows were deleted by hand, the database went back in time.

    Returns: how many there were.
    """
    late = Delivery.objects.filter(
        state=DeliveryState.PENDING, sent_with__isnull=True, due_at__lt=database_now() - timedelta(minutes=1)
    )
    rows = {row.pk: row for row in late.select_related("event").order_by("due_at")[:REPLANNED_AT_ONCE]}
    jobs = ScheduledJob.objects.open().filter(job_type=DELIVER, job_metadata__delivery__in=list(rows))
    for pk in jobs.values_list("job_metadata__delivery", flat=True):
        rows.pop(pk, None)
    # Without the key, which the missing job may have had.
    enqueue([replace(job_of(row), unique_key=None) for row in rows.values()])
    return len(rows)


def resend(delivery: Delivery) -> None:
    """Try an ended delivery again, at once, on a person's request."""
    now = database_now()
    delivery.state = DeliveryState.PENDING
    delivery.due_at = now
    delivery.expires_at = max(delivery.expires_at, now + timedelta(hours=1))
    delivery.sent_with = None
    delivery.save(update_fields=["state", "due_at", "expires_at", "sent_with"])
    enqueue([job_of(delivery)])
