"""Make the deliveries of events: which channels want them, and when they are sent."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import Case, Exists, F, Max, OuterRef, Q, TextField, When
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Greatest

from analysis.outbox import repeats_early
from common.batches import together_or_each
from deployments.models import Deployment
from events.kinds import KINDS, Severity
from events.models import Event
from notifications.models import Channel, Delivery, DeliveryState
from notifications.refreshing import refresh, with_predecessors
from notifications.rollbacks.attempts import handle_events
from notifications.rules import Timing, send_at
from scheduler.models import ScheduledJob
from scheduler.queue import NewJob, database_now, enqueue

logger = structlog.get_logger(__name__)

# What emits these has messages with buttons changed already (analysis.acknowledging.announce).
ANNOUNCED = frozenset({"acknowledged", "rollback_asked", "rollback_fired", "rollback_failed", "rollback_unknown"})
FAN_OUT, DELIVER = "fan_out", "deliver"
EVENTS_AT_ONCE = 500
REPLANNED_AT_ONCE = 1000
# Of a rollback, at most so many deployments before it were replaced.
MOST_REPLACED = 50
# Alike: by the same channel, of the same kind, in the same environment; what is critical, about the same deployment.
Alike = tuple[int, str, int | None, int | None]


def fan_out() -> int:
    """Write the deliveries of events that have none yet, and their jobs; return how many events there were.

    In the caller's transaction. Events that another poller works on are left to it.
    """
    waiting = Event.objects.select_for_update(skip_locked=True).filter(fanned_out_at__isnull=True)
    events = list(waiting.order_by("id")[:EVENTS_AT_ONCE])
    if not events:
        return 0
    together_or_each(transaction.atomic(handle_events), events, not_handled)
    now = database_now()
    # Locked: a channel's deliveries are written by one poller at a time, so that its cooldown is kept.
    channels = Channel.objects.select_for_update().active().filter(team_id__in={event.team_id for event in events})
    wanted = wanted_by(list(channels.order_by("pk")), events)
    sent = last_sent(((event, channel) for event, channel, _ in wanted), now)
    deliveries = []
    for event, channel, critical in wanted:
        all_alike: Alike = (channel.pk, event.kind, event.environment_id, None)
        alike = (*all_alike[:3], event.deployment_id) if critical else all_alike
        at = send_at(timing(channel), now, critical=critical, alike_sent_at=sent.get(alike))
        for one in {alike, all_alike}:
            sent[one] = max(at, sent.get(one, at))
        # Held back by the rules it keeps its time, but not where no poller ran.
        expires_at = event.occurred_at + (at - now) + timedelta(seconds=event.useful_for_s)
        deliveries.append(Delivery(event=event, channel=channel, due_at=at, expires_at=expires_at))
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)
    # Read back: with ignore_conflicts they have no ids.
    plan(Delivery.objects.filter(event__in=events, state=DeliveryState.PENDING), now)
    refresh(
        with_predecessors(
            event.deployment_id for event in events if event.deployment_id and event.kind not in ANNOUNCED
        )
    )
    Event.objects.filter(pk__in=[event.pk for event in events]).update(fanned_out_at=now)
    return len(events)


def wanted_by(channels: Sequence[Channel], events: Sequence[Event]) -> list[tuple[Event, Channel, bool]]:
    """Return which events go by which channels, and whether they are critical.

    What follows an alert goes to the channels that got the alert, and is as urgent: who was woken by a verdict has to
    hear that somebody is on it.
    """
    about = {event.pk: deployments_of(event) for event in events}
    alerts = alerts_sent(channels, {pk for event in events if follows(event) for pk in about[event.pk]})
    wanted = []
    for channel in channels:
        for event in events:
            found = [alerts[channel.pk, pk] for pk in about[event.pk] if (channel.pk, pk) in alerts]
            answers = bool(found) and follows(event)
            if not channel.wants(event, follows=answers):
                continue
            critical = event.severity == Severity.CRITICAL
            wanted.append((event, channel, critical or (answers and any(found))))
            if event.deployment_id is not None:
                alerts[channel.pk, event.deployment_id] = critical or any(found)
    return wanted


def follows(event: Event) -> bool:
    """Return whether the event belongs to those who got an alert about the same.

    Not a final verdict that only repeats the early one, nor one that is a recovery: that has an event of its own.
    """
    if event.kind not in KINDS or not KINDS[event.kind].follows:
        return False
    said = event.parameters
    return not (said.get("recovers") or repeats_early(said)) if event.kind == "verdict_issued" else True


def deployments_of(event: Event) -> list[int]:
    """Return the deployments that an event answers: its own, and those that a rollback replaces."""
    if event.deployment_id is None:
        return []
    if event.kind != "rolled_back":
        return [event.deployment_id]
    restored = event.parameters.get("rolls_back_to")
    number = restored.get("number") if isinstance(restored, dict) else None
    earlier = Deployment.objects.filter(environment=event.environment_id, pk__lt=event.deployment_id).order_by("-pk")
    replaced = earlier.filter(number__gt=number)[:MOST_REPLACED] if isinstance(number, int) else earlier[:1]
    return [event.deployment_id, *replaced.values_list("pk", flat=True)]


def alerts_sent(channels: Sequence[Channel], deployments: Collection[int]) -> dict[tuple[int, int], bool]:
    """Return which channels got messages about which of these deployments, and whether one was critical."""
    if not deployments:
        return {}
    rows = Delivery.objects.filter(
        channel__in=[channel.pk for channel in channels],
        event_id__in=Event.objects.filter(deployment_id__in=deployments).values("id"),
        state__in=(DeliveryState.SENT, DeliveryState.PENDING),
    )
    found: dict[tuple[int, int], bool] = {}
    for channel, deployment, severity in rows.values_list(
        "channel_id", "event__deployment_id", "event__severity"
    ).distinct():
        if deployment is not None:
            critical = severity == Severity.CRITICAL
            found[channel, deployment] = found.get((channel, deployment), False) or critical
    return found


def not_handled(event: Event, error: Exception) -> None:
    logger.exception("rollback_events_not_handled", event_id=event.pk)


def timing(channel: Channel) -> Timing:
    return Timing(channel.time_zone, channel.quiet_from, channel.quiet_until, str(channel.digest), channel.cooldown_s)


def last_sent(wanted: Iterable[tuple[Event, Channel]], now: datetime) -> dict[Alike, datetime]:
    """Return when what is alike was last sent by each channel, or is going to be, as far as a cooldown may ask."""
    wanted = list(wanted)
    longest_s = max((channel.cooldown_s for _, channel in wanted), default=0)
    rows = Delivery.objects.filter(
        channel__in={channel.pk for _, channel in wanted},
        due_at__gt=now - timedelta(seconds=longest_s),
        state__in=(DeliveryState.SENT, DeliveryState.PENDING),
        event__kind__in={event.kind for event, _ in wanted},
    )
    about = Case(When(event__severity=Severity.CRITICAL, then=F("event__deployment_id")), default=None)
    found: dict[Alike, datetime] = {}
    grouped = rows.values_list("channel_id", "event__kind", "event__environment_id", about).annotate(at=Max("due_at"))
    for channel, kind, environment, deployment, at in grouped:
        for alike in {(channel, kind, environment, deployment), (channel, kind, environment, None)}:
            found[alike] = max(at, found.get(alike, at))
    return found


def plan(deliveries: Iterable[Delivery], now: datetime) -> None:
    """Enqueue a job for each delivery; those of a channel that are held back until the same time share one."""
    new = sorted((one for one in deliveries if one.sent_with_id is None), key=lambda one: one.pk)
    leaders = leaders_of([one for one in new if one.due_at > now])
    jobs, followers = [], []
    for delivery in new:
        leader = leaders.get((delivery.channel_id, delivery.due_at), delivery)
        if leader.pk == delivery.pk:
            jobs.append(job_of(delivery))
        else:
            delivery.sent_with_id = leader.pk
            followers.append(delivery)
    Delivery.objects.bulk_update(followers, ["sent_with_id"], batch_size=EVENTS_AT_ONCE)
    enqueue(jobs)


def leaders_of(held: Sequence[Delivery]) -> dict[tuple[int, datetime], Delivery]:
    """Return the first untried delivery of each channel and time, in whose message the others go."""
    if not held:
        return {}
    waiting = Delivery.objects.select_for_update().filter(
        channel__in={one.channel_id for one in held},
        due_at__in={one.due_at for one in held},
        state=DeliveryState.PENDING,
        attempts=0,
        sent_with__isnull=True,
    )
    # Locked in the order of ids, as whoever sends or resends them does.
    return {(one.channel_id, one.due_at): one for one in reversed(list(waiting.order_by("pk")))}


def job_of(delivery: Delivery) -> NewJob:
    return NewJob(
        DELIVER,
        delivery.due_at,
        # The receiver, so that a slow one takes no more than its share.
        fair_key=delivery.channel_id,
        unique_key=f"delivery {delivery.pk} {delivery.attempts} {delivery.due_at.timestamp()}",
        metadata={"delivery": delivery.pk},
    )


def replan() -> int:
    """Enqueue deliveries whose job is missing: it failed, rows were deleted by hand, the database went back in time.

    Returns: how many there were.
    """
    late = Delivery.objects.filter(state=DeliveryState.PENDING, due_at__lt=database_now() - timedelta(minutes=1))
    late.filter(sent_with__in=Delivery.objects.exclude(state=DeliveryState.PENDING)).update(sent_with=None)
    jobs = ScheduledJob.objects.open().filter(job_type=DELIVER).annotate(delivery=KT("job_metadata__delivery"))
    has_job = Exists(jobs.filter(delivery=Cast(OuterRef("pk"), TextField())))
    missing = late.filter(~has_job, sent_with__isnull=True).order_by("due_at")[:REPLANNED_AT_ONCE]
    # Without the key, which the missing job may have had.
    enqueue([replace(job_of(row), unique_key=None) for row in missing])
    return len(missing)


def resend(delivery: Delivery) -> bool:
    """Try an ended delivery again at once, on a person's request, with those that went in its message.

    Returns: False where it has not ended, or is sent again already.
    """
    with transaction.atomic():
        now = database_now()
        together = Delivery.objects.select_for_update().filter(Q(pk=delivery.pk) | Q(sent_with=delivery.pk))
        rows = {row.pk: row for row in together.order_by("pk")}
        first = rows.get(delivery.pk)
        if first is None or first.state == DeliveryState.PENDING:
            return False
        first.due_at, first.sent_with_id = now, None
        ended = [pk for pk, row in rows.items() if row.state == first.state]
        Delivery.objects.filter(pk__in=ended).update(
            state=DeliveryState.PENDING, due_at=now, expires_at=Greatest("expires_at", now + timedelta(hours=1))
        )
        Delivery.objects.filter(pk=first.pk).update(sent_with=None)
        enqueue([job_of(first)])
    return True
