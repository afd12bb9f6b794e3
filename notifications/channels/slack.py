"""Slack: by an incoming webhook, or as a bot with one thread per deployment and buttons."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _

from notifications.channels.base import ChannelKind, Field, SendError, Sent, Settings
from notifications.channels.layout import lines, mark, shortened
from notifications.channels.posting import ask, post_json, said, understood
from notifications.message import Message
from outbound.session import Answer

# https://docs.slack.dev/reference/block-kit/blocks
MOST_SECTION, MOST_BLOCKS, MOST_ELEMENTS = 3000, 40, 10
# Errors of the Web API after which the same call may succeed later.
PASSING = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
# The buttons of the bot: action id and label. What they do: notifications/slack_actions.py.
BUTTONS = (("on_it", _("I’m on it")), ("rolled_back", _("Roll back")), ("wrong", _("Verdict was wrong")))


class SlackWebhook(ChannelKind):
    """POST of blocks to an incoming webhook."""

    name = "slack"
    label = _("Slack (webhook)")
    fields = (Field("url", _("Webhook URL"), _("https://hooks.slack.com/services/…"), "url"),)

    def place(self, settings: Settings) -> str:
        return urlsplit(settings["url"]).hostname or ""

    def send(self, settings: Settings, message: Message) -> Sent:
        return post_json(settings["url"], body_of(message))


class SlackBot(ChannelKind):
    """chat.postMessage: what follows about a deployment goes into the thread of its first message."""

    name = "slack_bot"
    buttons = True
    label = _("Slack (bot)")
    fields = (
        Field("token", _("Bot token"), _("xoxb-…, with the scope chat:write."), "secret"),
        Field(
            "channel", _("Channel"), _("Its id, like C0123456789; invite the bot there."), pattern=r"[A-Z0-9]+|#?[\w-]+"
        ),
        Field(
            "signing_secret",
            _("Signing secret"),
            _("For the buttons: of the app’s page “Basic Information”."),
            "secret",
            required=False,
        ),
    )
    api = "https://slack.com/api"

    def place(self, settings: Settings) -> str:
        return str(settings["channel"])

    def send(self, settings: Settings, message: Message) -> Sent:
        body = {"unfurl_links": False, "unfurl_media": False, **bot_body_of(settings, message)}
        if message.thread:
            body |= {"thread_ts": message.thread, "reply_broadcast": message.severity == "critical"}
        answer = self.call("chat.postMessage", settings, body)
        # Of a reply that of its thread first: Slack makes none below a reply.
        own = str(said(answer).get("ts") or "")
        return understood(answer, reference=f"{message.thread} {own}".strip())

    def update(self, settings: Settings, message: Message, place: str) -> None:
        self.call("chat.update", settings, {"ts": place, **bot_body_of(settings, message)})

    def call(self, method: str, settings: Settings, body: Mapping[str, Any]) -> Answer:
        """Call a method of the Web API; return its answer if it is a success. Raises SendError, OutboundError."""
        answer = ask(f"{self.api}/{method}", body, {"Authorization": f"Bearer {settings['token']}"})
        sent = understood(answer)
        reply = said(answer)
        if reply.get("ok") is not True:
            passing = str(reply.get("error")) in PASSING
            code = "delivery.busy" if passing else "delivery.refused"
            raise SendError(code, retry=passing, sent=sent, status=answer.status)
        return answer


def bot_body_of(settings: Settings, message: Message) -> dict[str, Any]:
    """Return channel, text and blocks: the message, what became of the deployment since, and the buttons."""
    body = {"channel": settings["channel"], **body_of(message)}
    # An acknowledgement is itself something that became of it.
    if message.kind != "acknowledged" and message.deployment:
        if message.standing:
            body["blocks"].append(context(message.standing))
        elements = buttons(message) if settings.get("signing_secret") else []
        if elements:
            body["blocks"].append({"type": "actions", "elements": elements})
    return body


def body_of(message: Message) -> dict[str, Any]:
    """Return text (for notifications, where & < > are escaped) and blocks, in which nothing is interpreted."""
    headline = f"{mark(message)} {message.headline}"
    blocks = [section(text) for text in [headline, *lines(message)][:MOST_BLOCKS]]
    if message.link:
        blocks[0]["accessory"] = {
            "type": "button",
            "text": {"type": "plain_text", "text": "SeqPulse"},
            "url": message.link,
            "action_id": "open",
        }
    text = shortened(headline, MOST_SECTION)
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": escaped, "mrkdwn": False, "blocks": blocks}


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "plain_text", "text": shortened(text, MOST_SECTION), "emoji": False}}


def context(texts: tuple[str, ...]) -> dict[str, Any]:
    shown = [shortened(text, MOST_SECTION) for text in texts[:MOST_ELEMENTS]]
    return {"type": "context", "elements": [{"type": "plain_text", "text": text, "emoji": False} for text in shown]}


def buttons(message: Message) -> list[dict[str, Any]]:
    """Return the buttons; what they name is the deployment, and its verdict as the message says it."""
    verdict = (message.data.get("verdict") or {}).get("verdict") or ""
    with override(message.language):
        elements: list[dict[str, Any]] = [
            {
                "type": "button",
                "action_id": action,
                "text": {"type": "plain_text", "text": gettext(str(label))},
                "value": f"{message.deployment} {verdict}".strip(),
            }
            for action, label in BUTTONS
            if action in message.actions and (verdict or action != "wrong")
        ]
        for element in elements:
            if element["action_id"] == "rolled_back":
                element["confirm"] = confirmation(element["text"]["text"], starts=message.starts_rollback)
    return elements


def confirmation(label: str, *, starts: bool) -> dict[str, Any]:
    text = (
        gettext("SeqPulse calls the webhook of the environment, once: the rollback begins within seconds.")
        if starts
        else gettext("Everybody will see that you roll back. SeqPulse notes it, and marks the recommendation right.")
    )
    texts = {
        "title": f"{label}?",
        "text": text,
        "confirm": label,
        "deny": gettext("Cancel"),
    }
    return {name: {"type": "plain_text", "text": text} for name, text in texts.items()}
