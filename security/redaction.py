"""Mask secrets in everything that is written: logs, job errors, messages."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "[redacted]"
# By the key of a value.
SECRET_NAMES = re.compile(
    r"secret|password|passwd|token|api_?-?key|authorization|cookie|signature|private", re.IGNORECASE
)
# By form: our API keys, HMAC secrets, tokens of invitations, of public links and for alerts,
# and credentials inside a URL.
# After %20 or \n (a quoted URL, a repr) there is no word boundary, so \b cannot be used.
SECRET_VALUES = re.compile(
    r"(?:\b|(?<=%[0-9A-Fa-f]{2})|(?<=\\[abfnrtv])|(?<=\\x[0-9a-f]{2}))(sp_|sphs_|spi_|spl_|spal_)[A-Za-z0-9_-]{6,}"
)
# Keys in mail links of django-allauth: they allow to set a password or to confirm an address.
MAILED_KEYS = re.compile(
    r"((?:/|%2F)(?:password(?:/|%2F)reset(?:/|%2F)key|confirm-email)(?:/|%2F))(?:(?!%2F)[^/\s?&#'\"])+", re.IGNORECASE
)
# Redis URLs have passwords without a user.
URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
# Names that contain such a word, but no secret.
HARMLESS_NAMES = frozenset({"api_key_prefix", "idempotency_key", "api_key_id"})


# Whatever the patterns above mask contains one of these; most texts of log lines do not.
SUSPICIOUS = re.compile(r"sp_|sphs_|spi_|spl_|spal_|password|confirm-email|://", re.IGNORECASE)


@lru_cache(1000)
def names_secret(name: str) -> bool:
    """Return whether a value with this key is a secret."""
    return name not in HARMLESS_NAMES and SECRET_NAMES.search(name) is not None


def redact_text(text: str) -> str:
    """Mask everything in the text that looks like a secret."""
    if SUSPICIOUS.search(text) is None:
        return text
    for known in (SECRET_VALUES, MAILED_KEYS):
        text = known.sub(lambda found: found.group(1) + MASK, text)
    return URL_CREDENTIALS.sub(MASK, text)


# All in time that grows with the text only, whatever it is: a name is looked for once from its beginning.
# In texts of others: "name": "value", name=value, name: value, also with quotes of JSON or of HTML attributes.
NAMED_SECRETS = re.compile(
    r"""(?<![\w-])((?:[\w-]*(?:secret|passw(?:or)?d|token|api_?-?key|authorization|cookie|signature|private)[\w-]*)"""
    r"""["']?\s*(?:[:=]|value\s*=)\s*["']?)(?:(?:bearer|basic)\s+)?[^\s"',;&<>]+""",
    re.IGNORECASE,
)
BEARERS = re.compile(r"\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
# JWTs, keys of cloud providers, hashes: long runs of letters and digits that are no words.
OPAQUE = re.compile(r"\b(?=[\w+/=.-]{0,200}\d)(?=[\w+/=.-]{0,200}[A-Za-z])[A-Za-z0-9+/=_-]{24,}(?:\.[A-Za-z0-9_-]+)*")


def redact_foreign_text(text: str) -> str:
    """Mask what may be a secret in a text that is not ours, rather too much than too little."""
    for known in (NAMED_SECRETS, BEARERS):
        text = known.sub(lambda found: found.group(1) + MASK, text)
    return OPAQUE.sub(MASK, redact_text(text))


def redact(value: Any, name: str = "") -> Any:
    """Mask secrets in a JSON-like value, by key and by value, at any depth.

    Values without a JSON form are replaced by their masked repr, which would otherwise be written later without
    masking: Django's log records carry the request, whose repr contains the URL.
    """
    if names_secret(name) and value not in (None, "", False, True):
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
