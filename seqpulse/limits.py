"""Count each call on its caller and refuse those above the limit of their view.

django-allauth's own limits are off (ACCOUNT_RATE_LIMITS): they count in a cache of each process.
"""

import time
import unicodedata
from collections.abc import Callable
from typing import Any, cast

import structlog
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.urls import Resolver404, resolve
from django_ratelimit.core import get_usage

from accounts.models import User
from projects.authentication import key_of
from security.addressing import address_of
from security.limits import Caller, Limit, Usage, bucket_of
from seqpulse.api import error_response, is_api_path
from seqpulse.errors import error_page
from seqpulse.known_browsers import known_browser, remember
from seqpulse.middleware import database_away

logger = structlog.get_logger(__name__)

# For views without a limit, and for unknown URLs.
API, PAGES = Limit(("api",), Caller.KEY), Limit(("dashboard",), Caller.USER)
# The fields of sign-in forms that name an account.
ACCOUNT_FIELDS = ("username", "login", "email")
# Session key of allauth for a user who has given the password and not yet the code.
PENDING_LOGIN = "account_login"


def accounts_of(request: HttpRequest) -> list[str]:
    """Return the accounts that a sign-in form may concern: those it names, and the one whose code is pending.

    All of them: an additional field must not redirect the count from the one that the view reads.
    """
    try:
        given = {spelled_alike(request.POST.get(name, "")) for name in ACCOUNT_FIELDS}
    except UnreadablePostError:
        return []
    pending = request.session.get(PENDING_LOGIN)
    if isinstance(pending, dict):
        given.add(f"pk:{pending.get('user_pk')}")
    return sorted(given - {""})


def account_buckets(request: HttpRequest) -> list[str]:
    """Return the counters of a sign-in form besides the address: one per account, separate in a known browser."""
    accounts = accounts_of(request)
    known = known_browser(request) if accounts else None
    if known is None:
        return [f"account:{account}" for account in accounts]
    own = names_of(known.user_id)
    return [f"account:{account}|{known.name}" if account in own else f"account:{account}" for account in accounts]


def names_of(user_id: int) -> set[str]:
    """Return all names that `accounts_of` may give the account."""
    user = User.objects.filter(pk=user_id).only("username", "email").first()
    if user is None:
        return set()
    addresses = EmailAddress.objects.filter(user=user).values_list("email", flat=True)
    return {f"pk:{user_id}", *map(spelled_alike, (user.username, user.email, *addresses))}


def spelled_alike(name: str) -> str:
    """Normalize names that the look-up of an account treats as equal.

    PostgreSQL compares in upper case, in which a dotless i equals an i.
    """
    return unicodedata.normalize("NFKC", name).strip().upper().casefold()


def user_bucket(request: HttpRequest) -> str:
    """Return the signed-in user as "user:<id>", else ""; from here on log lines about the request carry the id."""
    if not request.user.is_authenticated:
        return ""
    structlog.contextvars.bind_contextvars(user_id=request.user.pk)
    return f"user:{request.user.pk}"


def limit_of(request: HttpRequest) -> Limit:
    """Return the limit that the view of this address declares (`security.limits.limited`), else the usual one."""
    try:
        view: Any = resolve(request.path_info).func
    except Resolver404:
        view = None
    # A class declares it for the function returned by as_view().
    limit = getattr(view, "rate_limit", None) or getattr(getattr(view, "view_class", None), "rate_limit", None)
    if limit is not None and (not limit.methods or request.method in limit.methods):
        return cast("Limit", limit)
    return API if is_api_path(request.path_info) else PAGES


def buckets_of(request: HttpRequest, limit: Limit) -> list[tuple[str, str]]:
    """Return what the call counts on, first things first: (group of SEQPULSE_RATES, caller)."""
    if not limit.groups:
        return []
    callers = [f"address:{bucket_of(address_of(request))}"]
    if limit.by == Caller.ACCOUNT:
        callers += account_buckets(request)
    elif limit.by == Caller.USER:
        callers = [user_bucket(request) or callers[0]]
    elif limit.by == Caller.KEY and (key := key_of(request)) is not None:
        callers = [f"key:{key.pk}"]
    return [(group, caller) for group in limit.groups for caller in callers]


def count(request: HttpRequest, limit: Limit) -> Usage | None:
    """Count the call; return the caller's usage of the limit that is nearest, None where there is none.

    After an exceeded limit nothing more is counted: a caller who is stopped by address must not lock out accounts.
    """
    nearest: Usage | None = None
    for group, caller in buckets_of(request, limit):
        rate = settings.SEQPULSE_RATES[group]
        found = get_usage(
            request,
            group=f"{group}|",
            key=lambda _group, _request, caller=caller: caller,
            rate=(rate.limit, rate.period_s),
            increment=True,
        )
        if found is None:
            continue
        usage = Usage(found["limit"], found["count"], int(time.time()) + max(0, found["time_left"]))
        if nearest is None or usage.remaining < nearest.remaining or usage.exceeded:
            nearest = usage
        if usage.exceeded:
            logger.warning("rate_limited", group=group, limit=usage.limit, used=usage.used)
            break
    return nearest


def too_many(request: HttpRequest, usage: Usage) -> HttpResponse:
    """Return 429, as JSON or as a page."""
    seconds = int(usage.headers()["Retry-After"])
    if is_api_path(request.path_info):
        return error_response(429, "rate_limited", f"Too many calls: try again in {seconds} s.")
    return error_page(request, 429, {"seconds": seconds})


class RateLimitMiddleware:
    """Count each call before it is processed, and add the state of its limit to the answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        structlog.contextvars.bind_contextvars(ip=address_of(request))
        if not settings.SEQPULSE_RATE_LIMITS:
            return self.get_response(request)
        limit = limit_of(request)
        try:
            usage = count(request, limit)
        except (OperationalError, InterfaceError) as error:
            logger.error("database_away", error=str(error))
            return database_away(request)
        if usage is None:
            return self.get_response(request)
        response = too_many(request, usage) if usage.exceeded else self.get_response(request)
        # Calls of the API know no user.
        if limit.by == Caller.ACCOUNT and request.user.is_authenticated:
            remember(response, known_browser(request), request.user.pk)
        for name, value in usage.headers().items():
            response.headers.setdefault(name, value)
        return response
