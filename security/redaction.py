"""Keeping secrets out of whatever is written: logs, job errors, messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "[redacted]"
# By the name of the key that a value stands under.
SECRET_NAMES = re.compile(
    r"secret|password|passwd|token|api_?-?key|authorization|cookie|signature|private", re.IGNORECASE
)
# By its own look: our API keys, HMAC secrets and invitations' tokens, and credentials inside a URL.
# Where one begins right after %20 or \n (a quoted address, a repr), no word begins for \b.
SECRET_VALUES = re.compile(
    r"(?:\b|(?<=%[0-9A-Fa-f]{2})|(?<=\\[abfnrtv])|(?<=\\x[0-9a-f]{2}))(sp_|sphs_|spi_)[A-Za-z0-9_-]{6,}"
)
# What django-allauth puts into the links of its mails: whoever has one chooses a password, or confirms an address.
MAILED_KEYS = re.compile(
    r"((?:/|%2F)(?:password(?:/|%2F)reset(?:/|%2F)key|confirm-email)(?:/|%2F))(?:(?!%2F)[^/\s?&#'\"])+", re.IGNORECASE
)
# Redis has passwords without a user.
URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
# Names that hold the word and no secret.
HARMLESS_NAMES = frozenset({"api_key_prefix", "idempotency_key", "api_key_id"})


def redact_text(text: str) -> str:
    """The text with everything that looks like a secret masked."""
    for known in (SECRET_VALUES, MAILED_KEYS):
        text = known.sub(lambda found: found.group(1) + MASK, text)
    return URL_CREDENTIALS.sub(MASK, text)


def redact(value: Any, name: str = "") -> Any:
    """A JSON-like value with secrets masked, by key and by value, at any depth.

    Anything that JSON has no form for comes back as its repr, masked: whoever writes it would take its repr later,
    when nobody looks any more. Django's own lines carry the request, and its repr the whole address.
    """
    if name not in HARMLESS_NAMES and SECRET_NAMES.search(name) and value not in (None, "", False, True):
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {key: redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact_text(repr(value))
