"""Discord, by a channel's webhook."""

import re
from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _

from notifications.channels.base import ChannelKind, Field, Sent, Settings
from notifications.channels.layout import colour, lines, mark, shortened, timestamp
from notifications.channels.posting import ask, said, seconds, understood
from notifications.message import Message

# Limits of an embed (https://discord.com/developers/docs/resources/message#embed-object-embed-limits).
MOST_TITLE, MOST_DESCRIPTION = 256, 4096
_MARKDOWN = re.compile(r"([\\*_~`|>#\[\]()<@:-])")


class Discord(ChannelKind):
    """POST of one embed, with mentions disabled."""

    name = "discord"
    label = _("Discord")
    fields = (Field("url", _("Webhook URL"), _("Channel settings, Integrations, Webhooks."), "url"),)

    def place(self, settings: Settings) -> str:
        return urlsplit(settings["url"]).hostname or ""

    def send(self, settings: Settings, message: Message) -> Sent:
        answer = ask(settings["url"], body_of(message))
        return understood(answer, after_s=seconds(said(answer).get("retry_after")))


def body_of(message: Message) -> dict[str, Any]:
    embed: dict[str, Any] = {
        "title": cut(f"{mark(message)} {plain(message.headline)}", MOST_TITLE),
        "description": cut("\n".join(plain(line) for line in lines(message)), MOST_DESCRIPTION),
        "color": colour(message),
        "timestamp": timestamp(message),
    }
    if message.link:
        embed["url"] = message.link
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def cut(text: str, most: int) -> str:
    """Return an escaped text with at most so many characters, without half of an escape at its end."""
    short = shortened(text, most)
    kept = short.removesuffix("…")
    return short if short == text or (len(kept) - len(kept.rstrip("\\"))) % 2 == 0 else kept[:-1] + "…"


def plain(text: str) -> str:
    """Return the text with everything escaped that Markdown or a mention could be."""
    return _MARKDOWN.sub(r"\\\1", text)
