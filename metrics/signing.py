"""Signature v2 of requests to metrics endpoints (WIRE §2). Pure."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from urllib.parse import urlsplit

NONCE_TTL_S = 330
VERSION = "v2"


def canonical_path(url_or_path: str) -> str:
    """The path that is signed: starts with "/", no trailing slash unless it is just "/", no query, no fragment."""
    path = urlsplit(url_or_path).path if "://" in url_or_path else url_or_path.partition("#")[0].partition("?")[0]
    return "/" + path.strip("/")


def signature(secret: str, *, timestamp: str, method: str, path: str, nonce: str) -> str:
    """ "sha256=" and the hex HMAC-SHA256 of "timestamp|METHOD|path|nonce"."""
    payload = f"{timestamp}|{method.upper()}|{canonical_path(path)}|{nonce}"
    return "sha256=" + hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def signed_headers(secret: str, *, url: str, now: datetime, project_id: str, method: str = "GET") -> dict[str, str]:
    """The headers of one signed request; a new nonce each time. now: aware."""
    timestamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
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
