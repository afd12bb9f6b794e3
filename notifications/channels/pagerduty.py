"""PagerDuty, by Events API v2."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from notifications.channels.base import ChannelKind, Field, Sent, Settings
from notifications.channels.layout import lines, shortened, timestamp
from notifications.channels.posting import post_json
from notifications.message import Message

MOST_SUMMARY = 1024  # https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
MOST_DETAILS = 20


class PagerDuty(ChannelKind):
    """An alert per environment, which its recovery resolves. What is only informative becomes a change event."""

    name = "pagerduty"
    label = _("PagerDuty")
    fields = (
        Field(
            "routing_key",
            _("Integration key"),
            _("Of an integration “Events API v2” of the service."),
            "secret",
            pattern="[A-Za-z0-9]{32}",
        ),
    )
    api = "https://events.pagerduty.com/v2"

    def place(self, settings: Settings) -> str:
        return "events.pagerduty.com"

    def send(self, settings: Settings, message: Message) -> Sent:
        alert = message.resolves or message.severity != "info"
        body = alert_of(message) if alert else change_of(message)
        path = "enqueue" if alert else "change/enqueue"
        return post_json(f"{self.api}/{path}", {"routing_key": settings["routing_key"], **body})


def alert_of(message: Message) -> dict[str, Any]:
    return {
        "event_action": "resolve" if message.resolves else "trigger",
        "dedup_key": f"seqpulse-{message.incident}",
        "payload": payload(message, severity=message.severity),
        **links(message),
    }


def change_of(message: Message) -> dict[str, Any]:
    return {"payload": payload(message), **links(message)}


def payload(message: Message, **more: str) -> dict[str, Any]:
    details = {str(number): line for number, line in enumerate(lines(message)[:MOST_DETAILS], 1)}
    return {
        "summary": shortened(message.headline, MOST_SUMMARY),
        "source": "SeqPulse",
        "timestamp": timestamp(message),
        "custom_details": {"kind": message.kind, **details},
        **more,
    }


def links(message: Message) -> dict[str, Any]:
    return {"links": [{"href": message.link, "text": "SeqPulse"}]} if message.link else {}
