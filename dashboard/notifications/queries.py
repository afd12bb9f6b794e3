"""Queries of the channel pages. Each function needs a fixed number of queries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import OuterRef, Subquery
from django.db.models.functions import Lower
from django.shortcuts import get_object_or_404
from django.urls import reverse

from accounts.models import Team, User
from accounts.permissions import Actions, actions_in
from common.links import public_link
from common.validation import localized
from dashboard.labels import Status
from notifications.channels import channel_kind
from notifications.channels.base import Settings
from notifications.channels.slack import SlackBot
from notifications.delivering import reveal
from notifications.headlines import fact_of
from notifications.models import Channel, Delivery, DeliveryState
from notifications.words import EVENT_NAMES
from projects.models import Environment

DELIVERIES_SHOWN = 50
STATES: Mapping[str, Status] = {
    DeliveryState.PENDING: Status("info", "pending", DeliveryState.PENDING.label),
    DeliveryState.SENT: Status("ok", "ok", DeliveryState.SENT.label),
    DeliveryState.FAILED: Status("critical", "rollback", DeliveryState.FAILED.label),
    DeliveryState.EXPIRED: Status("warning", "warning", DeliveryState.EXPIRED.label),
    DeliveryState.SKIPPED: Status("neutral", "unknown", DeliveryState.SKIPPED.label),
}


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel of the list. place: where it goes, "" if that cannot be read; last: state of its last delivery."""

    channel: Channel
    label: Any
    place: str
    last: Status | None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery of the log. why: the last error in the reader's language."""

    delivery: Delivery
    status: Status
    event: Any
    environment: str
    why: str

    @property
    def may_resend(self) -> bool:
        return self.delivery.state != DeliveryState.PENDING


def channel_of(user: User, uuid: Any) -> tuple[Channel, Actions]:
    """Return a channel that the user may see, and their actions in its team. Raises Http404."""
    channel = get_object_or_404(Channel.objects.visible_to(user).select_related("team", "project"), uuid=uuid)
    return channel, actions_in(user, channel.team)


def place_of(channel: Channel, config: Settings | None) -> str:
    """Return where the messages of a channel with this configuration go, "" where that cannot be read."""
    kind = channel_kind(channel.kind)
    try:
        return kind.place(config) if kind is not None and config is not None else ""
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""


def waiting_of(channel: Channel, config: Settings | None) -> list[str]:
    """Return the addresses to which nothing is sent, because their owners did not agree."""
    kind = channel_kind(channel.kind)
    try:
        return kind.waiting(config, channel.team_id) if kind is not None and config is not None else []
    except (KeyError, TypeError, ValueError):
        return []


def request_url_of(channel: Channel) -> str:
    """Return where Slack is to send what is pressed below the messages; "" for other kinds of channels."""
    if channel.kind != SlackBot.name:
        return ""
    return public_link("slack-actions", channel.uuid) or reverse("slack-actions", args=[channel.uuid])


def channels_of(team: Team) -> list[ChannelRow]:
    last = Delivery.objects.filter(channel=OuterRef("pk")).order_by("-pk").values("state")[:1]
    rows = Channel.objects.filter(team=team).select_related("project").annotate(last_state=Subquery(last))
    return [
        ChannelRow(channel, label_of(channel), place_of(channel, reveal(channel)), STATES.get(channel.last_state))  # type: ignore[attr-defined]  # annotated
        for channel in rows.order_by(Lower("name"), "pk")
    ]


def label_of(channel: Channel) -> Any:
    kind = channel_kind(channel.kind)
    return channel.kind if kind is None else kind.label


def deliveries_of(channel: Channel) -> list[DeliveryRow]:
    """Return the channel's latest deliveries."""
    rows = list(Delivery.objects.filter(channel=channel).select_related("event").order_by("-pk")[:DELIVERIES_SHOWN])
    ids = {row.event.environment_id for row in rows if row.event.environment_id}
    places = Environment.objects.filter(pk__in=ids).values_list("pk", "project__name", "name")
    names = {pk: f"{project} · {name}" for pk, project, name in places}
    return [
        DeliveryRow(
            delivery=row,
            status=STATES[row.state],
            event=EVENT_NAMES.get(row.event.kind, row.event.kind),
            environment=names.get(row.event.environment_id or 0, ""),
            why=words(row.error),
        )
        for row in rows
    ]


def words(stored: Any) -> str:
    """Return a stored fact in the active language, "" where there is none."""
    fact = fact_of(stored)
    return localized(fact) if fact is not None else ""
