"""Send deliveries and keep what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from common.batches import together_or_each
from events.outbox import NewEvent, emit
from explain.facts import Fact
from notifications.channels import channel_kind
from notifications.channels.base import Asked, ChannelKind, SendError, Sent, Settings
from notifications.counting import count_ends
from notifications.describing import describe
from notifications.fanning import job_of
from notifications.masking import without_secrets
from notifications.message import Message
from notifications.models import Channel, Delivery, DeliveryState
from outbound.transfer import OutboundError
from scheduler.queue import database_now, enqueue
from scheduler.registry import Job

logger = structlog.get_logger(__name__)

# Seconds after the first, second, … failed attempt; the last one repeats until the delivery expires.
DELAYS_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
# How deliveries end that were not tried; others have failed.
ENDED_BY: Mapping[str, DeliveryState] = {
    "delivery.too_late": DeliveryState.EXPIRED,
    "delivery.channel_disabled": DeliveryState.SKIPPED,
    "delivery.unknown_kind": DeliveryState.SKIPPED,
}
REFERENCE = 255


@dataclass(frozen=True, slots=True)
class Sending:
    """A delivery that is to be sent: everything that needs no database any more.

    settings: None: they cannot be read. until: when it is too late for it, by time.monotonic().
    """

    delivery: Delivery
    kind: ChannelKind
    settings: Settings | None
    message: Message
    until: float = float("inf")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt. why: of a failure; after_s: when the receiver wants it again; gone: never."""

    sent: Sent
    why: Fact | None = None
    retry: bool = False
    after_s: float | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class PutOff:
    """A delivery that was not tried, because its receiver hangs. why: what failed there; after_s: when to try it."""

    after_s: float
    why: Fact | None


# What a run is given: what to send, or why it is not sent; and what it ends with.
Prepared = Sending | Fact | None
Ending = Outcome | PutOff | Fact | None


def prepare(jobs: Sequence[Job]) -> Mapping[int, Sending | Fact]:
    """Count the attempt, and load what is to be sent; a fact instead where it is not to be sent any more."""
    wanted = {job.metadata.get("delivery"): job for job in jobs}
    ids = [pk for pk in wanted if isinstance(pk, int)]
    prepared: dict[int, Sending | Fact] = {}
    tried: list[Delivery] = []
    with transaction.atomic():
        now = database_now()
        # One that is due later is another job's: it was tried meanwhile.
        due = Delivery.objects.filter(pk__in=ids, state=DeliveryState.PENDING, due_at__lte=now).order_by("pk")
        for delivery in due.select_for_update(of=("self",)).select_related("event", "channel"):
            why = refusal(delivery, now)
            if why is None:
                tried.append(delivery)
            else:
                prepared[wanted[delivery.pk].id] = why
        together = Q(pk__in=[one.pk for one in tried]) | Q(sent_with__in=tried)
        Delivery.objects.filter(together, state=DeliveryState.PENDING).update(
            attempts=F("attempts") + 1, attempted_at=now
        )
    rows = Delivery.objects.filter(sent_with__in=tried, state=DeliveryState.PENDING)
    followers = list(rows.select_related("event", "channel").order_by("pk"))
    messages, settings = described([*tried, *followers]), ready(tried)
    for delivery in tried:
        kind, found = channel_kind(delivery.channel.kind), messages[delivery.pk]
        if isinstance(found, Fact) or kind is None:
            prepared[wanted[delivery.pk].id] = found if isinstance(found, Fact) else Fact("delivery.unknown_kind")
            continue
        others = [messages[other.pk] for other in followers if other.sent_with_id == delivery.pk]
        message = replace(found, others=tuple(other for other in others if isinstance(other, Message)))
        until = monotonic() + (delivery.expires_at - now).total_seconds()
        prepared[wanted[delivery.pk].id] = Sending(delivery, kind, settings[delivery.pk], message, until)
    return prepared


def refusal(delivery: Delivery, now: datetime) -> Fact | None:
    """Return why a delivery is not to be tried, if it is not."""
    if delivery.channel.disabled_at is not None:
        return Fact("delivery.channel_disabled")
    if delivery.expires_at <= now:
        return Fact("delivery.too_late")
    # None: of a later version, before a downgrade.
    return Fact("delivery.unknown_kind") if channel_kind(delivery.channel.kind) is None else None


def described(deliveries: Sequence[Delivery]) -> dict[int, Message | Fact]:
    """Return the message of each delivery; a fact for one that cannot be put in words: it must not stop the others."""
    messages: dict[int, Message | Fact] = {}

    def failed(delivery: Delivery, error: Exception) -> None:
        logger.exception("delivery_not_described", delivery=delivery.pk)
        messages[delivery.pk] = Fact("delivery.raised", {"error": type(error).__name__})

    for found in together_or_each(describe, deliveries, failed):
        messages.update(found)
    return messages


def ready(deliveries: Sequence[Delivery]) -> dict[int, Settings | None]:
    """Return by its id the settings with which each is sent; None where they cannot be read.

    A few queries for all: a poller has one thread for its database.
    """
    found: dict[int, Settings | None] = {one.pk: reveal(one.channel) for one in deliveries}
    asked: dict[ChannelKind, dict[int, Asked]] = {}
    for one in deliveries:
        kind, settings = channel_kind(one.channel.kind), found[one.pk]
        if kind is not None and settings is not None and is_complete(kind, settings):
            asked.setdefault(kind, {})[one.pk] = Asked(settings, one.channel.team_id, one.reference)
    for kind, by_id in asked.items():
        found.update(zip(by_id, kind.ready(list(by_id.values())), strict=True))
    return found


def reveal(channel: Channel) -> dict[str, Any] | None:
    """Return what is configured for a channel; None where it cannot be read, as without its key."""
    try:
        found = json.loads(channel.config.open())
    except (ImproperlyConfigured, ValueError):
        return None
    return found if isinstance(found, dict) else None


def send(sending: Sending) -> Outcome:
    """Try once. Never raises: what a receiver does is an outcome."""
    if sending.settings is None or not is_complete(sending.kind, sending.settings):
        return Outcome(Sent(), Fact("delivery.unreadable"))
    try:
        return Outcome(masked(sending.kind.send(sending.settings, sending.message), sending))
    except SendError as error:
        return Outcome(masked(error.sent, sending), error.fact, error.retry, error.after_s, error.gone)
    except OutboundError as error:
        return Outcome(Sent(), error.fact, retry=True)
    except Exception as error:
        # Only its type: a text may contain the address, which is a secret.
        logger.error("delivery_raised", delivery=sending.delivery.pk, error=type(error).__name__)
        return Outcome(Sent(), Fact("delivery.raised", {"error": type(error).__name__}), retry=True)


def is_complete(kind: ChannelKind, config: Settings) -> bool:
    """Return whether everything that the kind needs is there, in the form that its fields have."""
    values = [(field, config.get(field.name)) for field in kind.fields]
    return all(isinstance(value, str) and value if field.required else True for field, value in values)


def masked(sent: Sent, sending: Sending) -> Sent:
    """Return a receiver's answer without what it repeats of the channel's secrets."""
    config = sending.settings or {}
    hidden = [(field.type, str(config.get(field.name) or "")) for field in sending.kind.fields if field.hidden]
    urls = [value for kind, value in hidden if kind == "url"]
    secrets = [value for kind, value in hidden if kind != "url"]
    return replace(sent, answer=without_secrets(sent.answer, urls=urls, secrets=secrets))


@dataclass(frozen=True, slots=True)
class End:
    """What is written of a delivery, and of those that went in its message. due_at: of the next attempt."""

    delivery: Delivery
    state: DeliveryState
    due_at: datetime | None = None


def record(done: Sequence[tuple[Job, Ending]]) -> None:
    """Write what became of the attempts, and plan the next ones."""
    endings = {job.metadata["delivery"]: ending for job, ending in done if ending is not None}
    if not endings:
        return
    now = database_now()
    rows = Delivery.objects.filter(pk__in=endings, state=DeliveryState.PENDING).select_related("event", "channel")
    # By channel: those that are gone are disabled, in the order in which fan_out locks them.
    settle([end_of(delivery, endings[delivery.pk], now) for delivery in rows.order_by("channel_id", "pk")])


def settle_attempt(delivery: Delivery, outcome: Outcome) -> None:
    """Write what became of an attempt, and plan the next one if there is to be one."""
    settle([end_of(delivery, outcome, database_now())])


def end_of(delivery: Delivery, ending: Outcome | PutOff | Fact, now: datetime) -> End:
    """Set what became of a delivery, as far as it is the same for those in its message; return its new state."""
    if isinstance(ending, Fact):
        # Of one that was tried, the last answer of the receiver is more useful.
        delivery.error = delivery.error if delivery.error and ending.code == "delivery.too_late" else ending.to_json()
        return End(delivery, ENDED_BY.get(ending.code, DeliveryState.FAILED))
    if isinstance(ending, PutOff):
        delivery.error = ending.why.to_json() if ending.why else delivery.error
        delivery.attempts -= 1
        return End(delivery, DeliveryState.PENDING, now + timedelta(seconds=ending.after_s))
    delivery.error = ending.why and ending.why.to_json()
    delivery.answer_status, delivery.answer = ending.sent.status, ending.sent.answer
    delivery.reference = ending.sent.reference[:REFERENCE]
    if ending.why is None:
        return End(delivery, DeliveryState.SENT)
    if ending.gone:
        disable(delivery.channel, ending.why)
    if not ending.retry or delivery.event.kind == "test":
        return End(delivery, DeliveryState.FAILED)
    delay_s = max(DELAYS_S[min(max(delivery.attempts, 1), len(DELAYS_S)) - 1], ending.after_s or 0.0)
    next_at = now + timedelta(seconds=delay_s)
    if next_at >= delivery.expires_at:
        return End(delivery, DeliveryState.EXPIRED)
    return End(delivery, DeliveryState.PENDING, next_at)


# Those that went in a message have its fate. One that ended meanwhile keeps its end.
SETTLE = """
UPDATE notification_deliveries AS delivery SET state = given.state, error = given.error, attempts = given.attempts,
    answer_status = given.answer_status, answer = given.answer, reference = given.reference,
    due_at = coalesce(given.due_at, delivery.due_at)
FROM unnest(%s::bigint[], %s::text[], %s::text[]::jsonb[], %s::int[], %s::int[], %s::text[], %s::text[],
        %s::timestamptz[]) AS given(id, state, error, attempts, answer_status, answer, reference, due_at)
WHERE (delivery.id = given.id OR delivery.sent_with_id = given.id) AND delivery.state = 'pending'
RETURNING given.id, delivery.state
"""


def settle(ends: Sequence[End]) -> None:
    """Write the ends of deliveries and of those in their messages, in one statement, and plan the next attempts."""
    rows = [end.delivery for end in ends]
    columns: Any = [
        [row.pk for row in rows],
        [str(end.state) for end in ends],
        [None if row.error is None else json.dumps(row.error) for row in rows],
        [row.attempts for row in rows],
        [row.answer_status for row in rows],
        [row.answer for row in rows],
        [row.reference for row in rows],
        [end.due_at for end in ends],
    ]
    with connection.cursor() as cursor:
        cursor.execute(SETTLE, columns)
        kinds = {row.pk: row.channel.kind for row in rows}
        count_ends((kinds[pk], state) for pk, state in cursor.fetchall())
    again = [end for end in ends if end.due_at is not None]
    for end in again:
        end.delivery.due_at = end.due_at  # type: ignore[assignment]  # not None
    enqueue([job_of(end.delivery) for end in again])


def disable(channel: Channel, why: Fact | None) -> None:
    """Disable a channel whose receiver is gone, and notify the team by its other channels."""
    disabled = Channel.objects.filter(pk=channel.pk, disabled_at__isnull=True)
    if disabled.update(disabled_at=Now(), disabled_why=why and why.to_json()):
        emit(
            NewEvent(
                "channel_disabled",
                channel.team_id,
                channel.project_id,
                parameters={"channel": channel.name, "why": why and why.to_json()},
            )
        )
