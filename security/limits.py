"""Rate limits: how many calls of one kind a caller may make in a period, declared at the view.

seqpulse/limits.py counts them, and finds out who the caller is: never by a header that can be chosen freely.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_network
from typing import Any, Self, TypeVar

from security.callers import parse_address

V = TypeVar("V", bound=Callable[..., Any])

PERIODS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# A client with one IPv6 address usually has its whole /64.
IPV6_PREFIX = 64
UNKNOWN_ADDRESS = "unknown"


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of calls per period in seconds."""

    limit: int
    period_s: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse "100/m"; the periods are s, m, h and d.

        Raises: ValueError that describes the format.
        """
        found = re.fullmatch(r"([1-9]\d{0,8})/([smhd])", text.strip().lower())
        if not found:
            raise ValueError(f"{text!r} is no rate: write a number, a slash and one of s, m, h, d, like 100/m")
        return cls(int(found[1]), PERIODS_S[found[2]])


@dataclass(frozen=True, slots=True)
class Usage:
    """State of a caller's limit after this call. reset_at: seconds since the epoch; group: of SEQPULSE_RATES."""

    limit: int
    used: int
    reset_at: int
    group: str = ""

    @property
    def exceeded(self) -> bool:
        return self.used > self.limit

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    def headers(self) -> dict[str, str]:
        """Return the headers of every answer; with Retry-After in seconds if the limit is exceeded."""
        found = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
        }
        if self.exceeded:
            found["Retry-After"] = str(max(1, self.reset_at - int(time.time())))
        return found


class Caller(StrEnum):
    """Whose counter a call increments."""

    ADDRESS = "address"
    # The API key if it is known, else the address: invented keys must not have counters of their own.
    KEY = "key"
    # As KEY; a call without the header may have its key in metadata.key of the body.
    METADATA_KEY = "metadata_key"
    # The source whose token the address of the call has, else the client's address.
    ALERTS = "alerts"
    # The signed-in user, else the address.
    USER = "user"
    # The address, and each account that a form names.
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Limit:
    """The rate limit of a view.

    groups: of SEQPULSE_RATES, all of which a call counts on; none: the view is unlimited. methods: which calls are
    meant, none for all; the others count as they do without a limit of their own.
    """

    groups: tuple[str, ...]
    by: Caller = Caller.USER
    methods: frozenset[str] = frozenset()


UNLIMITED = Limit(())
# Forms that take a password or a code, or send a mail: for anonymous and for signed-in users.
SIGN_IN = Limit(("login",), Caller.ACCOUNT, frozenset({"POST"}))
REAUTHENTICATE = Limit(("login",), Caller.USER, frozenset({"POST"}))
DEPLOYMENTS = Limit(("deployments",), Caller.KEY)
SAMPLES = Limit(("samples",), Caller.KEY)
ALERTS = Limit(("alerts",), Caller.ALERTS)
WEBHOOKS = Limit(("deployments",), Caller.METADATA_KEY)


def limited(limit: Limit) -> Callable[[V], V]:
    """Attach the limit to a view, a function or a class; the middleware reads it there."""

    def attach(view: V) -> V:
        view.rate_limit = limit  # type: ignore[attr-defined]
        return view

    return attach


def bucket_of(address: str) -> str:
    """Return the counter key of an address: itself, or its IPv6 network."""
    parsed = parse_address(address)
    if parsed is None:
        return UNKNOWN_ADDRESS
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)
