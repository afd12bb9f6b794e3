"""Signature v2 of requests to metrics endpoints (docs/protocol.md). Pure."""

import hmac
import math
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit

from explain.errors import ExplainedError

NONCE_TTL_S = 330

VERSION = "v2"
# Accepted age of a timestamp (docs/protocol.md).
MAX_AGE_S = 300
MAX_AHEAD_S = 30
NONCE_MAX_CHARS = 200


class SignatureRefused(ExplainedError):
    """The request is not signed correctly."""


@lru_cache(maxsize=4096)
def canonical_path(url_or_path: str) -> str:
    """Return the path that is signed: a leading "/", no trailing one, no query, no fragment."""
    path = urlsplit(url_or_path).path if "://" in url_or_path else url_or_path.partition("#")[0].partition("?")[0]
    return "/" + path.strip("/")


@lru_cache(maxsize=64)
def _timestamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def signature(secret: str, *, timestamp: str, method: str, path: str, nonce: str) -> str:
    """Return "sha256=" and the hex HMAC-SHA256 of "timestamp|METHOD|path|nonce"."""
    payload = f"{timestamp}|{method.upper()}|{canonical_path(path)}|{nonce}"
    return "sha256=" + hmac.digest(secret.encode(), payload.encode(), "sha256").hex()


def signed_headers(secret: str, *, url: str, now: datetime, project_id: str, method: str = "GET") -> dict[str, str]:
    """Return the headers of one signed request, with a new nonce. now: aware."""
    timestamp = _timestamp(math.floor(now.timestamp()))
    nonce = secrets.token_urlsafe(16)
    path = canonical_path(url)
    return {
        "X-SeqPulse-Timestamp": timestamp,
        "X-SeqPulse-Nonce": nonce,
        "X-SeqPulse-Signature": signature(secret, timestamp=timestamp, method=method, path=path, nonce=nonce),
        "X-SeqPulse-Signature-Version": VERSION,
        "X-SeqPulse-Canonical-Path": path,
        "X-SeqPulse-Method": method.upper(),
        "X-SeqPulse-Nonce-TTL": str(NONCE_TTL_S),
        "X-SeqPulse-Project-Id": project_id,
    }


def verified_nonce(secret: str, *, method: str, path: str, headers: Mapping[str, str], now: datetime) -> str:
    """Return the nonce of a correctly signed request; the receiver must refuse a nonce that it has seen before.

    headers: by any case-insensitive mapping; now: aware. Raises SignatureRefused.
    """
    if headers.get("X-SeqPulse-Signature-Version") != VERSION:
        raise SignatureRefused("signature_version", version=VERSION)
    timestamp, nonce = headers.get("X-SeqPulse-Timestamp", ""), headers.get("X-SeqPulse-Nonce", "")
    try:
        sent = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise SignatureRefused("signature_timestamp") from None
    age_s = (now - sent).total_seconds()
    if not -MAX_AHEAD_S <= age_s <= MAX_AGE_S:
        raise SignatureRefused("signature_clock")
    if not 0 < len(nonce) <= NONCE_MAX_CHARS:
        raise SignatureRefused("signature_nonce")
    # Headers may contain text that UTF-8 cannot encode: such a signature or nonce is wrong.
    try:
        expected = signature(secret, timestamp=timestamp, method=method, path=path, nonce=nonce).encode()
        given = headers.get("X-SeqPulse-Signature", "").encode()
    except UnicodeEncodeError:
        raise SignatureRefused("signature_wrong") from None
    if not hmac.compare_digest(expected, given):
        raise SignatureRefused("signature_wrong")
    return nonce
