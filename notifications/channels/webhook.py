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
            "secret",
            _("Signing secret"),
            _("whsec_… (base64 of 24 bytes or more); made for you if left empty."),
            "secret",
            required=False,
            pattern=r"(whsec_)?([A-Za-z0-9+/]{4}){8,}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
        ),
    )

    def place(self, settings: Settings) -> str:
        return urlsplit(settings["url"]).hostname or ""

    def send(self, settings: Settings, message: Message) -> Sent:
        body = json.dumps(body_of(message)).encode()
        headers = {"Content-Type": "application/json", "webhook-id": message.id}
        now = int(time.time())
        signed = [signature(secret, message.id, body, now) for secret in secrets_of(settings, now)]
        if signed:
            headers |= signed[0] | {"webhook-signature": " ".join(one["webhook-signature"] for one in signed)}
        return post(settings["url"], body, headers)


def secrets_of(settings: Settings, now: int) -> list[str]:
    """Return the secrets to sign with: also the previous one, until `previous_until` (Unix time)."""
    is_rotating = now < settings.get("previous_until", 0)
    return [secret for secret in (settings.get("secret"), is_rotating and settings.get("previous_secret")) if secret]


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
