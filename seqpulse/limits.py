"""Count each call on its caller and refuse those above the limit of their view.

django-allauth's own limits are off (ACCOUNT_RATE_LIMITS): they count in a cache of each process.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import structlog
from allauth.account.utils import url_str_to_user_pk
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.urls import Resolver404, ResolverMatch, resolve
from django_ratelimit.core import get_usage

from accounts.login_names import account_named, spelled_alike
from common.database_state import cannot_write
from metrics.alert_api import alerting_source
from projects.authentication import key_in_metadata, key_of
from security.addressing import address_of
from security.counting import LocalCounters
from security.limits import SIGN_IN, Caller, Limit, Usage, bucket_of
from seqpulse.api import error_response, is_api_path
from seqpulse.errors import READING, error_page
from seqpulse.known_browsers import known_browser, remember

logger = structlog.get_logger(__name__)

# For views without a limit, and for unknown URLs.
API, PAGES = Limit(("api",), Caller.KEY), Limit(("dashboard",), Caller.USER)
# How to find the key of a call.
KEYS = {Caller.KEY: key_of, Caller.METADATA_KEY: key_in_metadata}
# The fields of sign-in forms that name an account.
ACCOUNT_FIELDS = ("username", "login", "email")
# Session key of allauth for a user who has given the password and not yet the code.
PENDING_LOGIN = "account_login"
local_counters = LocalCounters()
# Attribute of a request that is counted already.
COUNTED = "seqpulse_usage"


def account_buckets(request: HttpRequest) -> Iterator[str]:
    """Yield a counter per account that a sign-in form may concern: those it names, and the one whose code is pending.

    All of them: an additional field must not redirect the count from the one that the view reads. An account has one
    counter for all its names, and one more in each of a few known browsers. A name without an account has one as well.
    """
    try:
        names = {request.POST.get(field, "") for field in ACCOUNT_FIELDS}
    except UnreadablePostError:
        return
    named = [(name, account_named(name, request)) for name in sorted(names)]
    ids = {found.user.pk for _, found in named if found is not None}
    counters = [(f"account:{user_id}", user_id) for user_id in sorted(ids)]
    counters += [(f"code:{user_id}", user_id) for user_id in pending_account(request)]
    known = known_browser(request)
    for counter, user_id in counters:
        yield counter + (known.bucket if known is not None and known.user_id == user_id else "")
    strangers = {spelled_alike(name) for name, found in named if found is None} - {""}
    yield from (f"name:{name}" for name in sorted(strangers))


def pending_account(request: HttpRequest) -> list[int]:
    """Return the id of the account that has given its password and not yet a code."""
    pending = request.session.get(PENDING_LOGIN)
    user_pk = pending.get("user_pk") if isinstance(pending, dict) else None
    return [url_str_to_user_pk(user_pk)] if user_pk else []


def user_bucket(request: HttpRequest) -> str:
    """Return the signed-in user as "user:<id>", else ""; from here on log lines about the request carry the id."""
    if not request.user.is_authenticated:
        return ""
    structlog.contextvars.bind_contextvars(user_id=request.user.pk)
    return f"user:{request.user.pk}"


def resolved(request: HttpRequest) -> ResolverMatch | None:
    """Return the view of this address, None where there is none."""
    try:
        return resolve(request.path_info)
    except Resolver404:
        return None


def limit_of(request: HttpRequest) -> Limit:
    """Return the limit that the view of this address declares (`security.limits.limited`), else the usual one."""
    return declared_limit(request, resolved(request))


def declared_limit(request: HttpRequest, match: ResolverMatch | None) -> Limit:
    view: Any = match and match.func
    # A class declares it for the function returned by as_view().
    limit = getattr(view, "rate_limit", None) or getattr(getattr(view, "view_class", None), "rate_limit", None)
    if limit is not None and (not limit.methods or request.method in limit.methods):
        return cast("Limit", limit)
    return API if is_api_path(request.path_info) else PAGES


def buckets_of(request: HttpRequest, limit: Limit) -> Iterator[tuple[str, str]]:
    """Yield what the call counts on, first things first: (group of SEQPULSE_RATES, caller).

    The address comes first, and only whoever counts on reads the body: a refused caller's is not waited for.
    """
    for group in limit.groups:
        for caller in callers_of(request, limit.by):
            yield group, caller


def callers_of(request: HttpRequest, by: Caller) -> Iterator[str]:
    address = f"address:{bucket_of(address_of(request))}"
    if by == Caller.USER:
        yield user_bucket(request) or address
    elif by == Caller.ALERTS and (source := alerting_source(request)) is not None:
        yield f"alerts:{source.pk}"
    elif by in KEYS and (key := KEYS[by](request)) is not None:
        yield f"key:{key.pk}"
    else:
        yield address
        if by == Caller.ACCOUNT:
            yield from account_buckets(request)


def count(request: HttpRequest, limit: Limit) -> Usage | None:
    """Count the call; return the caller's usage of the limit that is nearest, None where there is none.

    After an exceeded limit nothing more is counted: a caller who is stopped by address must not lock out accounts.
    """
    if (known := getattr(request, COUNTED, None)) is not None:
        return cast("Usage", known)
    nearest: Usage | None = None
    for group, caller in buckets_of(request, limit):
        usage = usage_of(request, group, caller)
        if usage is None:
            continue
        if nearest is None or usage.remaining < nearest.remaining or usage.exceeded:
            nearest = usage
        if usage.exceeded:
            logger.warning("rate_limited", group=group, limit=usage.limit, used=usage.used)
            break
    return nearest


def remember_usage(request: HttpRequest, usage: Usage | None) -> None:
    """Remember that the call is counted already."""
    setattr(request, COUNTED, usage)


def usage_of(request: HttpRequest, group: str, caller: str) -> Usage | None:
    """Count the call on one caller; return its usage.

    While the database cannot write, calls that read are counted in this process. The others would store nothing, and
    must not tell whether a password is right: they get the error, and so 503.
    """
    rate = settings.SEQPULSE_RATES[group]
    try:
        found = get_usage(
            request,
            group=f"{group}|",
            key=lambda _group, _request: caller,
            rate=(rate.limit, rate.period_s),
            increment=True,
        )
    except DatabaseError as error:
        if request.method not in READING or not cannot_write(error):
            raise
        used, reset_at = local_counters.incr(f"{group}|{caller}", rate.period_s)
        return Usage(rate.limit, used, reset_at, group)
    return found and Usage(found["limit"], found["count"], int(time.time()) + max(0, found["time_left"]), group)


def too_many(request: HttpRequest, usage: Usage) -> HttpResponse:
    """Return 429, as JSON or as a page."""
    seconds = int(usage.headers()["Retry-After"])
    if is_api_path(request.path_info):
        return error_response(429, "rate_limited", f"Too many calls: try again in {seconds} s.")
    rate = settings.SEQPULSE_RATES.get(usage.group)
    attempts = usage.group in SIGN_IN.groups
    return error_page(request, 429, {"seconds": seconds, "rate": rate, "attempts": attempts})


class RateLimitMiddleware:
    """Count each call before it is processed, and add the state of its limit to the answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        structlog.contextvars.bind_contextvars(ip=address_of(request))
        if not settings.SEQPULSE_RATE_LIMITS:
            return self.get_response(request)
        limit = limit_of(request)
        usage = count(request, limit)
        if usage is None:
            return self.get_response(request)
        response = too_many(request, usage) if usage.exceeded else self.get_response(request)
        # Calls of the API know no user.
        if limit.by == Caller.ACCOUNT and request.user.is_authenticated:
            remember(response, known_browser(request), request.user.pk)
        for name, value in usage.headers().items():
            response.headers.setdefault(name, value)
        return response
