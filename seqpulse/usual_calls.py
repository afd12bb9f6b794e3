"""Answer usual calls in one statement, which also checks the key and counts the call, before anything else is asked."""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import structlog
from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import RequestDataTooBig
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django_ratelimit import ALL
from django_ratelimit.core import EXPIRATION_FUDGE, _get_window, _make_cache_key
from rest_framework.exceptions import APIException, UnsupportedMediaType

from common.database import is_lost
from deployments.api import Usual
from projects.authentication import Counter, SeenKey, count_call, secret_of, seen_key
from security.addressing import address_of
from security.counting import PostgresCounters
from security.limits import Caller, Limit, Usage
from seqpulse.api import AlwaysJSON, StrictJSONParser
from seqpulse.limits import declared_limit, remember_usage, resolved

logger = structlog.get_logger(__name__)


class UsualCallsMiddleware:
    """Answer the calls that their view can answer at once (`usual`). All others go their way with what is known by now,
    the key and the number of its calls. Both take one statement, for a key that this process has seen before.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.answer(request) or self.get_response(request)

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """Return the answer of a usual call, else None."""
        secret = secret_of(request)
        key = seen_key(secret) if secret and counts_in_postgres() else None
        if key is None:
            return None
        match = resolved(request)
        limit = declared_limit(request, match)
        if limit.by != Caller.KEY or len(limit.groups) != 1:
            return None
        structlog.contextvars.bind_contextvars(ip=address_of(request))
        counter, reset_at = counter_of(key, limit)
        found = attempt(request, getattr(match and match.func, "view_class", None), key, counter)
        if found is None:
            return None
        usage = None if found.used is None else Usage(counter.limit, found.used, reset_at)
        if found.answer is None:
            if usage is not None and usage.exceeded:
                logger.warning("rate_limited", group=limit.groups[0], limit=usage.limit, used=usage.used)
            remember_usage(request, usage)
            return None
        request.resolver_match = match
        headers = {"Allow": "POST, OPTIONS", **(usage.headers() if usage else {})}
        content = json.dumps(found.answer, separators=(",", ":"))
        return HttpResponse(content, content_type="application/json", headers=headers)


def attempt(request: HttpRequest, view: Any, key: SeenKey, counter: Counter) -> Usual | None:
    """Answer and count the call if it is usual, else count it; None: neither was done, and the usual way does it."""
    try:
        # A query is checked, and refused, the usual way.
        if request.method == "POST" and hasattr(view, "usual") and not request.META.get("QUERY_STRING"):
            found: Usual | None = view.usual(content_of(request), request, key, counter)
            return found
        return Usual(count_call(request, key, counter))
    except (APIException, RequestDataTooBig, UnreadablePostError):
        # Refused, in the order of checks and the form of answers that the usual way has.
        return None
    except Error as error:
        go_on_after(error)
        return None


def go_on_after(error: Error) -> None:
    """Prepare for going the usual way after an error of the statement, which has written nothing.

    That is so also after a lost connection: had the statement been executed, the other way would find what it wrote, as
    for a caller who repeats the call. Raises the error of a database that cannot be reached.
    """
    if connection.connection is None:
        raise error
    if is_lost(error):
        logger.warning("connection_lost", error=str(error).strip())
        connection.close()


def counts_in_postgres() -> bool:
    return not settings.SEQPULSE_RATE_LIMITS or type(caches["counters"]) is PostgresCounters


def counter_of(key: SeenKey, limit: Limit) -> tuple[Counter, int]:
    """Return the counter of the key's calls, the one of django-ratelimit's get_usage, and the time of its end."""
    if not settings.SEQPULSE_RATE_LIMITS:
        return Counter(), 0
    [group] = limit.groups
    rate, caller = settings.SEQPULSE_RATES[group], f"key:{key.id}"
    ends_at = _get_window(caller, rate.period_s)
    name = _make_cache_key(f"{group}|", ends_at, (rate.limit, rate.period_s), caller, ALL)
    return Counter(name, rate.period_s + EXPIRATION_FUDGE, rate.limit), ends_at


def content_of(request: HttpRequest) -> Any:
    """Return the body of a call. Raises APIException, RequestDataTooBig, UnreadablePostError."""
    parser = AlwaysJSON().select_parser(request, [StrictJSONParser()])
    if parser is None:
        raise UnsupportedMediaType(request.content_type or "")
    return parser.parse(BytesIO(request.body))
