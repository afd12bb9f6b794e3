"""Change messages with buttons that were sent: who did what since, and only the buttons that still make sense."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from notifications.channels import channel_kind
from notifications.channels.base import ChannelKind, SendError, Settings
from notifications.delivering import described, is_complete, ready
from notifications.message import Message
from notifications.models import Delivery, DeliveryState
from notifications.refreshing import refresh
from notifications.standing import Standing, standings_of
from outbound.transfer import OutboundError
from scheduler.registry import Job, JobError


@dataclass(frozen=True, slots=True)
class Update:
    """A message that is to be changed. places: what the receiver calls it; more than one after it was sent again."""

    kind: ChannelKind
    settings: Settings
    message: Message
    places: tuple[str, ...]
    deployment_id: int
    standing: Standing


def prepare(jobs: Sequence[Job]) -> Mapping[int, Update]:
    """Load what is to be shown now; nothing for messages that cannot be changed any more."""
    wanted = {job.metadata.get("delivery"): job for job in jobs}
    ids = [pk for pk in wanted if isinstance(pk, int)]
    sent = Delivery.objects.filter(state=DeliveryState.SENT).select_related("event", "channel").order_by("pk")
    rows = list(sent.filter(pk__in=ids, channel__disabled_at=None, sent_with=None).exclude(reference=""))
    others = list(sent.filter(sent_with__in=rows))
    messages, found = described([*rows, *others]), ready(rows)
    standings = standings_of(row.event.deployment_id for row in rows if row.event.deployment_id)
    updates: dict[int, Update] = {}
    for row in rows:
        kind, message, settings = channel_kind(row.channel.kind), messages[row.pk], found[row.pk]
        if kind is None or not kind.buttons or not isinstance(message, Message):
            continue
        if settings is None or not is_complete(kind, settings):
            continue
        more = [messages[other.pk] for other in others if other.sent_with_id == row.pk]
        updates[wanted[row.pk].id] = Update(
            kind,
            settings,
            replace(message, others=tuple(one for one in more if isinstance(one, Message))),
            places_of(row),
            row.event.deployment_id or 0,
            standings.get(row.event.deployment_id or 0, Standing()),
        )
    return updates


def places_of(delivery: Delivery) -> tuple[str, ...]:
    """Return what the receiver calls the messages of a delivery: its own, and the first one of the thread if it is its.

    The first one is of the delivery that is no reply or, where that was sent again and became one, of the oldest.
    """
    thread, _, own = delivery.reference.partition(" ")
    rows = Delivery.objects.filter(
        channel=delivery.channel_id, event__deployment_id=delivery.event.deployment_id, sent_with=None
    ).order_by("pk")
    in_thread = [row for row in rows.values_list("pk", "reference") if row[1].partition(" ")[0] == thread]
    first = min(in_thread, key=lambda row: (" " in row[1], row[0]))
    return (*([thread] if first[0] == delivery.pk else []), *([own] if own else []))


def send(update: Update) -> Update:
    """Change the message. Raises JobError."""
    try:
        for place in update.places:
            update.kind.update(update.settings, update.message, place)
    except SendError as error:
        raise JobError.of(error, retry=error.retry) from None
    except OutboundError as error:
        raise JobError.of(error) from None
    return update


def record(done: Sequence[tuple[Job, Update | None]]) -> None:
    """Change messages again whose standing changed meanwhile: of two changes at once, the older may arrive last."""
    sent = [update for _, update in done if update is not None]
    now = standings_of(update.deployment_id for update in sent)
    refresh(one.deployment_id for one in sent if now.get(one.deployment_id, Standing()) != one.standing)
