"""Rate limits: how many calls of one kind one caller may make in a period, counted by django-ratelimit.

Who the caller is decides our own code (seqpulse/limits.py), never a header that the caller chooses freely.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

PERIODS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# One customer's line has a /64: whoever has one IPv6 address has all of them.
IPV6_PREFIX = 64
UNKNOWN_ADDRESS = "unknown"

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls in so many seconds."""

    limit: int
    period_s: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """From "100/m"; s, m, h and d are known. Raises ValueError that says how to write it."""
        found = re.fullmatch(r"([1-9]\d{0,8})/([smhd])", text.strip().lower())
        if not found:
            raise ValueError(f"{text!r} is no rate: write a number, a slash and one of s, m, h, d, like 100/m")
        return cls(int(found[1]), PERIODS_S[found[2]])


@dataclass(frozen=True, slots=True)
class Usage:
    """How a caller stands with one limit after this call. reset_at: seconds since the epoch."""

    limit: int
    used: int
    reset_at: int

    @property
    def exceeded(self) -> bool:
        return self.used > self.limit

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    def headers(self) -> dict[str, str]:
        """What every answer says (WIRE §1); Retry-After in seconds where the limit is exceeded."""
        found = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
        }
        if self.exceeded:
            found["Retry-After"] = str(max(1, self.reset_at - int(time.time())))
        return found


def client_address(remote: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address of whoever calls: the first one, seen from us, that is none of our proxies.

    remote: the peer of the connection ("" on a Unix socket, which only a proxy of ours can reach); forwarded_for: the
    header X-Forwarded-For, to whose end each proxy adds its own peer. What stands left of the first untrusted address
    was written by that one, so it is not believed.
    """
    hops = [hop.strip() for hop in forwarded_for.split(",")] if forwarded_for.strip() else []
    address = remote
    while hops and is_trusted(address, trusted):
        hop = hops.pop()
        if _parsed(hop) is None:
            break
        address = hop
    return address


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address is one of our own proxies."""
    if not address:
        return bool(trusted)
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in trusted)


def bucket_of(address: str) -> str:
    """What an address is counted under: itself, or its network with IPv6."""
    parsed = _parsed(address)
    if parsed is None:
        return UNKNOWN_ADDRESS
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)


def _parsed(address: str) -> object:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
