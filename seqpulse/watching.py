"""Who may watch SeqPulse itself: its metrics and the details of its health."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from secrets import compare_digest

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> Address | None:
    """The address in the text, None where there is none; an IPv4 address in IPv6 clothes counts as IPv4."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_trusted(address: Address) -> bool:
    """Whether it is one of our reverse proxies."""
    return any(
        address in network for network in settings.SEQPULSE_TRUSTED_PROXIES if network.version == address.version
    )


def client_address(request: HttpRequest) -> Address | None:
    """Where a request comes from: the last hop that is no proxy of ours; None where a proxy does not tell rightly."""
    address = parse_address(request.META.get("REMOTE_ADDR", ""))
    hops: Sequence[str] = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    for hop in reversed([hop for hop in hops if hop.strip()]):
        if address is None or not is_trusted(address):
            break
        address = parse_address(hop)
    return address


def has_token(request: HttpRequest) -> bool:
    """Whether the request carries SEQPULSE_METRICS_TOKEN as its bearer."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = settings.SEQPULSE_METRICS_TOKEN
    return bool(expected) and scheme.lower() == "bearer" and compare_digest(token.strip().encode(), expected.encode())


def is_local(request: HttpRequest) -> bool:
    """Whether it comes from this very machine. A proxy on it that we were not told of forwards strangers: not local."""
    address = client_address(request)
    if address is None or not address.is_loopback:
        return False
    peer = parse_address(request.META.get("REMOTE_ADDR", ""))
    forwarded = any(request.META.get(name) for name in FORWARDED)
    return not forwarded or (peer is not None and is_trusted(peer))


def may_scrape(request: HttpRequest) -> bool:
    """The metrics: with the token; where none is set, from this machine only."""
    return has_token(request) if settings.SEQPULSE_METRICS_TOKEN else is_local(request)


def may_see_details(request: HttpRequest) -> bool:
    """The details of health: with the token, or signed in as staff."""
    if has_token(request):
        return True
    try:
        user = getattr(request, "user", None)
        return bool(user is not None and user.is_active and user.is_staff)
    except (DatabaseError, InterfaceError):
        return False
