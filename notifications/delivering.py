"""Send deliveries and keep what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, overload
from urllib.parse import urlsplit

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from events.outbox import NewEvent, emit
from explain.facts import Fact
from notifications.channels import channel_kind
from notifications.channels.base import ChannelKind, SendError, Sent, Settings
from notifications.describing import describe
from notifications.fanning import job_of
from notifications.message import Message
from notifications.models import Channel, Delivery, DeliveryState
from outbound.transfer import OutboundError
from scheduler.queue import database_now, enqueue
from scheduler.registry import Job

logger = structlog.get_logger(__name__)

# Seconds after the first, second, … failed attempt; after the last, the last again until it is of no use any more.
DELAYS_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
# Shorter ones would be found in any text.
SHORTEST_SECRET = 6


@dataclass(frozen=True, slots=True)
class Sending:
    """A delivery that is to be sent: everything that needs no database any more.

    settings: None: they cannot be read.
    """

    delivery: Delivery
    kind: ChannelKind
    settings: Settings | None
    message: Message


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt. why: of a failure; after_s: when the receiver wants it again; gone: never."""

    sent: Sent
    why: Fact | None = None
    retry: bool = False
    after_s: float | None = None
    gone: bool = False


def prepare(jobs: Sequence[Job]) -> Mapping[int, Sending | Fact]:
    """Count the attempt, and load what is to be sent; a fact instead where it is not to be sent any more."""
    wanted = {job.metadata.get("delivery"): job for job in jobs}
    ids = [pk for pk in wanted if isinstance(pk, int)]
    with transaction.atomic():
        now = database_now()
        # One that is due later is another job's: it was tried meanwhile.
        due = Delivery.objects.filter(pk__in=ids, state=DeliveryState.PENDING, due_at__lte=now)
        live = [delivery.pk for delivery in due.select_for_update().order_by("pk")]
        Delivery.objects.filter(Q(pk__in=live) | Q(sent_with__in=live, state=DeliveryState.PENDING)).update(
            attempts=F("attempts") + 1, attempted_at=now
        )
    found = Delivery.objects.filter(pk__in=live).select_related("event", "channel", "channel__team")
    followers = Delivery.objects.filter(sent_with__in=live, state=DeliveryState.PENDING).select_related("event")
    messages = describe([*found, *followers])
    prepared: dict[int, Sending | Fact] = {}
    for delivery in found:
        job = wanted[delivery.pk]
        kind = channel_kind(delivery.channel.kind)
        if delivery.channel.disabled_at is not None or kind is None:
            prepared[job.id] = Fact("delivery.channel_disabled")
        elif delivery.expires_at <= now:
            prepared[job.id] = Fact("delivery.too_late")
        else:
            others = tuple(messages[other.pk] for other in followers if other.sent_with_id == delivery.pk)
            message = replace(messages[delivery.pk], others=others)
            prepared[job.id] = Sending(delivery, kind, reveal(delivery.channel), message)
    return prepared


def reveal(channel: Channel) -> dict[str, Any] | None:
    """Return what is configured for a channel; None where it cannot be read, as without its key."""
    try:
        found = json.loads(channel.config.open())
    except (ImproperlyConfigured, ValueError):
        return None
    return found if isinstance(found, dict) else None


@overload
def send(sending: Sending) -> Outcome: ...


@overload
def send(sending: Sending | Fact | None) -> Outcome | Fact | None: ...


def send(sending: Sending | Fact | None) -> Outcome | Fact | None:
    """Try once. Never raises: what a receiver does is an outcome."""
    if not isinstance(sending, Sending):
        return sending
    if sending.settings is None:
        return Outcome(Sent(), Fact("delivery.unreadable"))
    try:
        return Outcome(without_secrets(sending.kind.send(sending.settings, sending.message), sending))
    except SendError as error:
        return Outcome(without_secrets(error.sent, sending), error.fact, error.retry, error.after_s, error.gone)
    except OutboundError as error:
        return Outcome(Sent(), error.fact, retry=True)
    except Exception as error:
        # Only its type: a text may contain the address, which is a secret.
        logger.error("delivery_raised", delivery=sending.delivery.pk, error=type(error).__name__)
        return Outcome(Sent(), Fact("delivery.raised", {"error": type(error).__name__}), retry=True)


def without_secrets(sent: Sent, sending: Sending) -> Sent:
    """Return a receiver's answer without what it repeats of the channel's secrets."""
    answer = sent.answer
    for field in sending.kind.fields:
        value = str((sending.settings or {}).get(field.name) or "")
        for secret in (value, urlsplit(value).path if field.type == "url" else ""):
            if field.hidden and len(secret) >= SHORTEST_SECRET:
                answer = answer.replace(secret, "…")
    return replace(sent, answer=answer)


def record(done: Sequence[tuple[Job, Outcome | Fact | None]]) -> None:
    """Write what became of the attempts, and plan the next ones."""
    for job, outcome in done:
        delivery = Delivery.objects.select_related("event", "channel").filter(pk=job.metadata["delivery"]).first()
        if delivery is None or outcome is None:
            continue
        if isinstance(outcome, Fact):
            state = DeliveryState.EXPIRED if outcome.code == "delivery.too_late" else DeliveryState.SKIPPED
            settle(delivery, state, outcome)
        else:
            settle_attempt(delivery, outcome)


def settle_attempt(delivery: Delivery, outcome: Outcome) -> None:
    """Write what became of an attempt, and plan the next one if there is to be one."""
    if outcome.why is None:
        settle(delivery, DeliveryState.SENT, None, outcome.sent)
    else:
        failed(delivery, outcome)


def failed(delivery: Delivery, outcome: Outcome) -> None:
    now = database_now()
    delay_s = max(DELAYS_S[min(delivery.attempts, len(DELAYS_S)) - 1], outcome.after_s or 0.0)
    next_at = now + timedelta(seconds=delay_s)
    if outcome.gone:
        disable(delivery.channel, outcome.why)
    if not outcome.retry or delivery.event.kind == "test":
        settle(delivery, DeliveryState.FAILED, outcome.why, outcome.sent)
    elif next_at >= delivery.expires_at:
        settle(delivery, DeliveryState.EXPIRED, outcome.why, outcome.sent)
    else:
        settle(delivery, DeliveryState.PENDING, outcome.why, outcome.sent)
        delivery.due_at = next_at
        delivery.save(update_fields=["due_at"])
        enqueue([job_of(delivery)])


def settle(delivery: Delivery, state: DeliveryState, why: Fact | None, sent: Sent | None = None) -> None:
    """Write the state of a delivery and of those that went in its message."""
    sent = sent or Sent()
    together = Delivery.objects.filter(Q(pk=delivery.pk) | Q(sent_with=delivery.pk, attempts__gt=0))
    together.filter(state=DeliveryState.PENDING).update(
        state=state,
        error=why and why.to_json(),
        answer_status=sent.status,
        answer=sent.answer,
        reference=sent.reference[:255],
    )


def disable(channel: Channel, why: Fact | None) -> None:
    """Disable a channel whose receiver is gone, and tell that by the team's others."""
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
