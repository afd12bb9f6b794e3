"""A webhook of one's own, signed as Standard Webhooks asks."""

import base64
import hashlib
import hmac
import json
import time
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _

from notifications.channels.base import ChannelKind, Field, Sent, Settings
from notifications.channels.posting import post
from notifications.message import Message

PREFIX = "whsec_"
VERSION = 1


class Webhook(ChannelKind):
    """POST of JSON, signed (https://www.standardwebhooks.com): docs/notifications.md has the schema."""

    name = "webhook"
    label = _("Webhook")
    signs = True
    fields = (
        Field("url", _("URL"), type="url"),
        Field(
            "secret", _("Signing secret"), _("whsec_… (base64); made for you if left empty."), "secret", required=False
        ),
    )

    def place(self, settings: Settings) -> str:
        return urlsplit(settings["url"]).hostname or ""

    def send(self, settings: Settings, message: Message) -> Sent:
        body = json.dumps(body_of(message)).encode()
        headers = {"Content-Type": "application/json", "webhook-id": message.id}
        if secret := settings.get("secret"):
            headers |= signature(secret, message.id, body, int(time.time()))
        return post(settings["url"], body, headers)


def body_of(message: Message) -> dict[str, object]:
    """Return the versioned JSON body."""
    return {
        "type": message.kind,
        "timestamp": message.occurred_at.isoformat(),
        "version": VERSION,
        "severity": message.severity,
        "text": message.headline,
        "details": list(message.details),
        "link": message.link or None,
        "data": dict(message.data),
        "others": [body_of(other) for other in message.others],
    }


def signature(secret: str, message_id: str, body: bytes, timestamp: int) -> dict[str, str]:
    """Return the headers of the signature: HMAC-SHA256 of "id.timestamp.body", in base64."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = secret.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{digest}"}
