"""Which calls are limited, and whom each one counts on."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable

import structlog
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django_ratelimit.core import get_usage

from accounts.models import User
from projects.authentication import key_of
from security.addressing import address_of
from security.limits import Usage, bucket_of
from seqpulse.api import error_response, is_api_path
from seqpulse.errors import error_page
from seqpulse.known_browsers import known_browser, remember
from seqpulse.middleware import database_away

logger = structlog.get_logger(__name__)

# Asked by load balancers and monitoring, as often as they like; each of them is cheap by itself.
UNLIMITED = ("/health", "/metrics", "/db-check")
# Everything that takes a password or a code or sends a mail, wherever it stands: allauth's own limits are off
# (ACCOUNT_RATE_LIMITS), since they count in a cache that each process has for itself. What strangers can send …
ENTRANCE = re.compile(
    r"/(accounts/|admin/)?(login|signup|password/reset|confirm-email|2fa/authenticate|2fa/webauthn/login"
    r"|3rdparty/signup)(/.*)?"
)
# … and what only those who are signed in can: it counts on them, not on everybody behind their address.
MANAGE = re.compile(
    r"/(accounts/|admin/)?(reauthenticate|email|password/(change|set)|password_change|2fa/reauthenticate"
    r"|2fa/totp/[a-z]+|2fa/webauthn/reauthenticate)(/.*)?"
)
# What makes us send requests of our own, to an address that a person chose.
PROBE = re.compile(r"/dashboard/environments/[^/]+/settings/probe/?")
# What sends mails to addresses that a person chose. (Invitations count themselves, but go with their team.)
INVITE = re.compile(r"/dashboard/teams/[^/]+/invitations(/[^/]+/resend)?/?")
# What judges stored deployments once more, up to fifty of them: a second of work.
JUDGE = re.compile(r"/dashboard/(environments/[^/]+/policy|deployments/[^/]+/(replay|rerun))/?")
# What makes something that is measured, or that measures: each environment is asked for ever.
MAKE = re.compile(r"/dashboard/(teams|projects/new|projects/[^/]+/(environments|keys))/?")
# What reads a whole list.
DOWNLOAD = re.compile(r"/dashboard/deployments/(csv|json)/?")
# All of these, on top of what they count as pages: group, method, path.
DEAR = (
    ("probe", "POST", PROBE),
    ("invitation", "POST", INVITE),
    ("making", "POST", MAKE),
    ("judging", "POST", JUDGE),
    ("download", "GET", DOWNLOAD),
)
# Of the forms above, whom they are about.
ACCOUNT_FIELDS = ("username", "login", "email")
# Where allauth keeps, in the session, who has given the right password and still owes a code.
PENDING_LOGIN = "account_login"


def accounts_of(request: HttpRequest) -> list[str]:
    """The accounts that a form at the entrance may be about: those that it names, and the one whose code is owed.

    All of them: whichever field the view reads, another one beside it must not lead the count astray.
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
    """What a form at the entrance counts on besides the address: each account that it may be about, in a browser that
    its owner has signed in with apart from all others."""
    accounts = accounts_of(request)
    known = known_browser(request) if accounts else None
    if known is None:
        return [f"account:{account}" for account in accounts]
    own = names_of(known.user_id)
    return [f"account:{account}|{known.name}" if account in own else f"account:{account}" for account in accounts]


def names_of(user_id: int) -> set[str]:
    """All that `accounts_of` may call the account."""
    user = User.objects.filter(pk=user_id).only("username", "email").first()
    if user is None:
        return set()
    addresses = EmailAddress.objects.filter(user=user).values_list("email", flat=True)
    return {f"pk:{user_id}", *map(spelled_alike, (user.username, user.email, *addresses))}


def spelled_alike(name: str) -> str:
    """One form of all that the look-up of an account takes for the same: PostgreSQL compares in capital letters, in
    which a dotless i is an i."""
    return unicodedata.normalize("NFKC", name).strip().upper().casefold()


def person_of(request: HttpRequest) -> str:
    """Whoever is signed in, as "user:<id>", "" for others. From here on the lines about the request carry the id."""
    if not request.user.is_authenticated:
        return ""
    structlog.contextvars.bind_contextvars(user_id=request.user.pk)
    return f"user:{request.user.pk}"


def buckets_of(request: HttpRequest) -> list[tuple[str, str]]:
    """What the call counts on: (group of SEQPULSE_RATES, whom), the first one first."""
    path = request.path_info
    address = f"address:{bucket_of(address_of(request))}"
    if path.startswith(UNLIMITED):
        return []
    if request.method == "POST" and ENTRANCE.fullmatch(path):
        return [("login", address), *(("login", bucket) for bucket in account_buckets(request))]
    if request.method == "POST" and MANAGE.fullmatch(path):
        return [("login", person_of(request) or address)]
    if path.startswith("/ds-metrics"):
        return [("ds-metrics", address)]
    if is_api_path(path):
        # Only a key that is known is a bucket of its own: else each call could bring a new one.
        key = key_of(request)
        group = "deployments" if path.startswith("/deployments") else "api"
        return [(group, f"key:{key.pk}" if key is not None else address)]
    whom = person_of(request) or address
    dear = (group for group, method, found in DEAR if request.method == method and found.fullmatch(path))
    return [("dashboard", whom), *((group, whom) for group in dear)]


def count(request: HttpRequest) -> Usage | None:
    """Counts the call; how its caller stands with the limit that is nearest, None where there is none.

    After a limit that is exceeded nothing more is counted: whoever is stopped by address must not lock out accounts.
    """
    nearest: Usage | None = None
    for group, whom in buckets_of(request):
        rate = settings.SEQPULSE_RATES[group]
        found = get_usage(
            request,
            group=f"{group}|",
            key=lambda _group, _request, whom=whom: whom,
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
    """429, in the form that the path's callers read."""
    seconds = int(usage.headers()["Retry-After"])
    if is_api_path(request.path_info):
        return error_response(429, "rate_limited", f"Too many calls: try again in {seconds} s.")
    return error_page(request, 429, {"seconds": seconds})


class RateLimitMiddleware:
    """Counts each call before anything is done for it, and tells every caller how it stands."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        structlog.contextvars.bind_contextvars(ip=address_of(request))
        if not settings.SEQPULSE_RATE_LIMITS:
            return self.get_response(request)
        try:
            usage = count(request)
        except (OperationalError, InterfaceError) as error:
            logger.error("database_away", error=str(error))
            return database_away(request)
        if usage is None:
            return self.get_response(request)
        response = too_many(request, usage) if usage.exceeded else self.get_response(request)
        user = request.user
        if request.method == "POST" and ENTRANCE.fullmatch(request.path_info) and user.is_authenticated:
            remember(response, known_browser(request), user.pk)
        for name, value in usage.headers().items():
            response.headers.setdefault(name, value)
        return response
