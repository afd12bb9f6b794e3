"""Check signature v2 as the receiver, a metrics endpoint.

Independent of SeqPulse's code, like that of an observed service.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

MAX_AGE_S = 300
MAX_AHEAD_S = 30
NONCE_TTL_S = 330
NONCE_MAX_CHARS = 200


class Refused(Exception):
    """The signature is invalid; the text says why."""


class Verifier:
    """Checks signed requests and remembers their nonces."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._seen: dict[str, float] = {}

    def check(self, method: str, path: str, headers: Mapping[str, str], now: float) -> None:
        """Check one request and remember its nonce.

        Args:
            headers: names in lower case.
            now: seconds since the epoch.

        Raises: Refused.
        """
        if headers.get("x-seqpulse-signature-version") != "v2":
            raise Refused("the signature's version is not v2")
        timestamp, nonce = headers.get("x-seqpulse-timestamp", ""), headers.get("x-seqpulse-nonce", "")
        try:
            sent = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise Refused("the timestamp cannot be read") from None
        if not -MAX_AHEAD_S <= now - sent <= MAX_AGE_S:
            raise Refused("the timestamp is too old or in the future: compare the clocks")
        if not 0 < len(nonce) <= NONCE_MAX_CHARS:
            raise Refused("the nonce is missing or too long")
        canonical = "/" + path.partition("?")[0].strip("/")
        payload = f"{timestamp}|{method.upper()}|{canonical}|{nonce}".encode()
        expected = "sha256=" + hmac.new(self._secret, payload, hashlib.sha256).hexdigest()
        given = headers.get("x-seqpulse-signature", "")
        # Bytes: compare_digest refuses text that is not ASCII.
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape")):
            raise Refused("the signature is wrong")
        # Last, so that only signed requests fill the memory.
        self._remember(nonce, now)

    def _remember(self, nonce: str, now: float) -> None:
        self._seen = {known: until for known, until in self._seen.items() if until > now}
        if nonce in self._seen:
            raise Refused("the nonce was used before")
        self._seen[nonce] = now + NONCE_TTL_S
