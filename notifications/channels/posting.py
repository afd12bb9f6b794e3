"""Post to a receiver through the outbound door, and understand its answer."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from django.conf import settings

from metrics.answers import first_lines
from notifications.channels.base import SendError, Sent
from outbound.addresses import AllowList
from outbound.session import Answer, call

DEADLINE_S = 10.0
ANSWER_BYTES = 64 * 1024
ANSWER_SHOWN = 500
# A receiver may ask for longer; it is tried again after this.
LONGEST_RETRY_AFTER_S = 3600.0
# Answers after which the same request may succeed later.
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")  # whole ones by the standard
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


def post_json(url: str, body: Any, headers: Mapping[str, str] | None = None) -> Sent:
    """Post JSON; any 2xx is success. Raises SendError, OutboundError."""
    return understood(ask(url, body, headers))


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Sent:
    """Post bytes; any 2xx is success. Raises SendError, OutboundError."""
    return understood(exchange(url, body=body, headers=headers))


def ask(url: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """Post JSON and return the answer, whatever it says. Raises OutboundError."""
    return exchange(url, json=body, headers=headers)


def said(answer: Answer) -> dict[str, Any]:
    """Return an answer's JSON object, {} where it has none."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def exchange(url: str, *, deadline_s: float | None = None, **request: Any) -> Answer:
    """Post and return the answer, whatever it says. request: headers, and body or json, as of `call`.

    Raises: OutboundError, ValueError for invalid headers.
    """
    allow = AllowList.parse(settings.SEQPULSE_OUTBOUND_ALLOW)
    # What a receiver says besides its status may be long or broken: the message was taken all the same.
    limits: dict[str, Any] = {"deadline_s": deadline_s or DEADLINE_S, "most_bytes": ANSWER_BYTES, "whole": False}
    return call("POST", url, allow=allow, **limits, **request)


def understood(answer: Answer, *, reference: str = "", after_s: float | None = None) -> Sent:
    """Return a receiver's answer if it took the message.

    Args:
        reference: what it calls the message.
        after_s: when it wants to be asked again, where it does not say so by Retry-After.

    Raises: SendError.
    """
    sent = shown(answer, reference)
    if 200 <= answer.status < 300:
        return sent
    if answer.status == 410:
        raise SendError("delivery.gone", retry=False, sent=sent, gone=True)
    if answer.status in BUSY or answer.status >= 500:
        asked_s = retry_after(answer.headers)
        asked_s = after_s if asked_s is None else asked_s
        raise SendError("delivery.busy", retry=True, sent=sent, after_s=asked_s, status=answer.status)
    raise SendError("delivery.refused", retry=False, sent=sent, status=answer.status)


def shown(answer: Answer, reference: str = "") -> Sent:
    """Return the answer as the log of deliveries shows it."""
    return Sent(answer.status, first_lines(answer, ANSWER_SHOWN), reference)


def seconds(value: object) -> float | None:
    """Return a number of seconds that a receiver gave, within bounds; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        return None
    return float(min(value, LONGEST_RETRY_AFTER_S))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of Retry-After (RFC 9110, 10.2.3: seconds, or a date), None if it cannot be read."""
    text = headers.get("Retry-After", "").strip()
    if found := _SECONDS.fullmatch(text):
        return min(float(found[0][:9]), LONGEST_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(text)
        # The oldest of the three forms of a date (5.6.7) names no zone.
        left_s = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(left_s, 0.0), LONGEST_RETRY_AFTER_S)
