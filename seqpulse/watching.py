"""Who may watch SeqPulse itself: its metrics and the details of its health."""

from __future__ import annotations

from secrets import compare_digest

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest

from security.callers import client_address, is_trusted, parse_address
from security.limits import bucket_of
from seqpulse.limits import address_of

# More than people look at health.
SESSIONS_PER_PERIOD, PERIOD_S = 30, 60
FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")


def has_token(request: HttpRequest) -> bool:
    """Whether the request carries SEQPULSE_METRICS_TOKEN as its bearer."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = settings.SEQPULSE_METRICS_TOKEN
    return bool(expected) and scheme.lower() == "bearer" and compare_digest(token.strip().encode(), expected.encode())


def is_local(request: HttpRequest) -> bool:
    """Whether it comes from this very machine. A proxy on it that we were not told of forwards strangers: not local."""
    remote, proxies = request.META.get("REMOTE_ADDR", ""), settings.SEQPULSE_TRUSTED_PROXIES
    told = client_address(remote, request.META.get("HTTP_X_FORWARDED_FOR", ""), proxies)
    address = parse_address(told or "")
    if address is None or not address.is_loopback:
        return False
    forwarded = any(request.META.get(name) for name in FORWARDED)
    return not forwarded or is_trusted(remote, proxies)


def may_scrape(request: HttpRequest) -> bool:
    """The metrics: with the token; where none is set, from this machine only."""
    return has_token(request) if settings.SEQPULSE_METRICS_TOKEN else is_local(request)


def may_ask_for_session(request: HttpRequest) -> bool:
    """Whether a session is looked up for this call of health: where a cookie names one, so often per address.

    Health is not rate limited, and an invented cookie would cost a query each time. Counted in this process's memory:
    a count that all processes share is a query itself.
    """
    if not request.COOKIES.get(settings.SESSION_COOKIE_NAME):
        return False
    key = f"health-sessions:{bucket_of(address_of(request))}"
    cache.add(key, 0, PERIOD_S)
    try:
        return cache.incr(key) <= SESSIONS_PER_PERIOD
    except ValueError:
        # It ran out just now, or there were too many addresses to keep count of.
        return False


def may_see_details(request: HttpRequest) -> bool:
    """The details of health: with the token, or signed in as staff."""
    if has_token(request):
        return True
    if not may_ask_for_session(request):
        return False
    try:
        user = getattr(request, "user", None)
        return bool(user is not None and user.is_active and user.is_staff)
    except (DatabaseError, InterfaceError):
        return False
