"""Microsoft Teams, by the webhook of a workflow ("When a Teams webhook request is received")."""

from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _

from notifications.channels.base import ChannelKind, Field, Sent, Settings
from notifications.channels.layout import lines, mark, shortened
from notifications.channels.posting import post_json
from notifications.message import Message

# Teams refuses messages of more than 28 KB.
MOST_LINE, MOST_LINES = 1000, 12


class Teams(ChannelKind):
    """POST of an Adaptive Card (https://adaptivecards.io/schemas/adaptive-card.json, version 1.4)."""

    name = "teams"
    label = _("Microsoft Teams")
    fields = (
        Field(
            "url",
            _("Workflow URL"),
            _("Of the workflow “Post to a channel when a webhook request is received”."),
            "url",
        ),
    )

    def place(self, settings: Settings) -> str:
        return urlsplit(settings["url"]).hostname or ""

    def send(self, settings: Settings, message: Message) -> Sent:
        return post_json(settings["url"], body_of(message))


def body_of(message: Message) -> dict[str, Any]:
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            paragraph(f"{mark(message)} {message.headline}", weight="Bolder", size="Medium"),
            *(paragraph(line) for line in lines(message)[:MOST_LINES]),
        ],
    }
    if message.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "SeqPulse", "url": message.link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def paragraph(text: str, **style: str) -> dict[str, Any]:
    """Return a text in which Markdown is not interpreted: what others wrote is in it."""
    run = {"type": "TextRun", "text": shortened(text, MOST_LINE), **style}
    return {"type": "RichTextBlock", "inlines": [run]}
