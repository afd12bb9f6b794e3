"""Telegram, as a bot."""

import re
from typing import Any

from django.utils.translation import gettext_lazy as _

from notifications.channels.base import ChannelKind, Field, SendError, Sent, Settings
from notifications.channels.layout import lines, mark, shortened
from notifications.channels.posting import ask, said, seconds, shown, understood
from notifications.message import Message

# Neither a word joiner nor what follows it can be part of a name or a command.
_MENTION = re.compile(r"((?<!\w)@|(?<!\S)/)(?=\w)")
MOST_TEXT = 4096  # https://core.telegram.org/bots/api#sendmessage


class Telegram(ChannelKind):
    """sendMessage of the Bot API, as plain text; what follows about a deployment answers its first message."""

    name = "telegram"
    label = _("Telegram")
    fields = (
        Field("token", _("Bot token"), _("From @BotFather."), "secret", pattern=r"\d+:[\w-]+"),
        Field("chat", _("Chat"), _("A number, or @name of a channel in which the bot is."), pattern=r"-?\d+|@\w+"),
    )
    api = "https://api.telegram.org"

    def place(self, settings: Settings) -> str:
        return str(settings["chat"])

    def send(self, settings: Settings, message: Message) -> Sent:
        answer = ask(f"{self.api}/bot{settings['token']}/sendMessage", body_of(settings["chat"], message))
        reply = said(answer)
        parameters = reply.get("parameters")
        wait = seconds(parameters.get("retry_after")) if isinstance(parameters, dict) else None
        result = reply.get("result")
        number = result.get("message_id") if isinstance(result, dict) else None
        sent = understood(answer, reference=str(number or ""), after_s=wait)
        if reply.get("ok") is not True:
            raise SendError("delivery.refused", retry=False, sent=shown(answer), status=answer.status)
        return sent


def body_of(chat: str, message: Message) -> dict[str, Any]:
    said = [without_mentions(text) for text in (f"{mark(message)} {message.headline}", *lines(message))]
    text = "\n".join([*said, *filter(None, [message.link])])
    body: dict[str, Any] = {
        "chat_id": chat,
        "text": shortened(text, MOST_TEXT),
        "link_preview_options": {"is_disabled": True},
    }
    if message.thread.isdecimal():
        body["reply_parameters"] = {"message_id": int(message.thread), "allow_sending_without_reply": True}
    return body


def without_mentions(text: str) -> str:
    """Return a text that mentions nobody: Telegram finds names and commands in plain text, too."""
    return _MENTION.sub("\\1\u2060", text)
