"""Decide who may read SeqPulse's metrics and the details of its health."""

from secrets import compare_digest

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest
from django.http.request import split_domain_port

from security.addressing import address_of
from security.callers import Address, client_address, is_trusted, parse_address
from security.limits import bucket_of

# More than users look at health.
SESSIONS_PER_PERIOD, PERIOD_S = 30, 60
FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")


def has_token(request: HttpRequest) -> bool:
    """Return whether the request carries SEQPULSE_METRICS_TOKEN as bearer token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = settings.SEQPULSE_METRICS_TOKEN
    return bool(expected) and scheme.lower() == "bearer" and compare_digest(token.strip().encode(), expected.encode())


def caller(request: HttpRequest) -> Address | None:
    """Return the client's address; None if it is unknown, or an unlisted proxy forwarded the request."""
    remote, proxies = request.META.get("REMOTE_ADDR", ""), settings.SEQPULSE_TRUSTED_PROXIES
    if any(request.META.get(name) for name in FORWARDED) and not is_trusted(remote, proxies):
        return None
    address = client_address(remote, request.META.get("HTTP_X_FORWARDED_FOR", ""), proxies)
    return parse_address(address or "")


def is_local(request: HttpRequest) -> bool:
    """Return whether the request comes from this machine and names it as host.

    A local proxy may forward others without their address; those use the public host name.
    """
    address = caller(request)
    if address is None or not address.is_loopback:
        return False
    name, _ = split_domain_port(request.META.get("HTTP_HOST", ""))
    named = parse_address(name.strip("[]"))
    return name == "localhost" or (named is not None and named.is_loopback)


def may_scrape(request: HttpRequest) -> bool:
    """Allow metrics with the token; if none is set, from this machine and SEQPULSE_METRICS_NETWORKS."""
    if settings.SEQPULSE_METRICS_TOKEN:
        return has_token(request)
    address = caller(request)
    listed = address is not None and any(address in network for network in settings.SEQPULSE_METRICS_NETWORKS)
    return listed or is_local(request)


def may_ask_for_session(request: HttpRequest) -> bool:
    """Return whether to look up the session of this health request: limited per address.

    Health is not rate limited, and an invented cookie would cost a query each time. Counted in the memory of this
    process, because a shared count would cost a query itself.
    """
    if not request.COOKIES.get(settings.SESSION_COOKIE_NAME):
        return False
    key = f"health-sessions:{bucket_of(address_of(request))}"
    cache.add(key, 0, PERIOD_S)
    try:
        return cache.incr(key) <= SESSIONS_PER_PERIOD
    except ValueError:
        # It expired just now, or there were too many addresses to count.
        return False


def may_see_details(request: HttpRequest) -> bool:
    """Allow the details of health with the token, or signed in as staff."""
    if has_token(request):
        return True
    if not may_ask_for_session(request):
        return False
    try:
        user = getattr(request, "user", None)
        return bool(user is not None and user.is_active and user.is_staff)
    except (DatabaseError, InterfaceError):
        return False
