"""List and end the sessions of a user."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from allauth.account import signals
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User
from common.database_state import bookkeeping

# Whoever signs in all the time must not make a long page.
MOST_LISTED = 100
# The first match counts: most browsers also name those they descend from.
BROWSERS = (
    ("Edg(e|A|iOS)?/", "Edge"),
    ("OPR/|Opera", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("Firefox/|FxiOS/", "Firefox"),
    ("HeadlessChrome/|Chromium/", "Chromium"),
    ("Chrome/|CriOS/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python-requests/|Python-urllib", "Python"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X|Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux|X11", "Linux"),
)


@dataclass(frozen=True, slots=True)
class Device:
    """A browser and its system; "" if unknown."""

    browser: str
    system: str


def device_of(user_agent: str) -> Device:
    """Parse the header User-Agent. It can be forged, so use it for display only."""
    return Device(_first(BROWSERS, user_agent), _first(SYSTEMS, user_agent))


def _first(names: tuple[tuple[str, str], ...], user_agent: str) -> str:
    return next((name for pattern, name in names if re.search(pattern, user_agent)), "")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session in the list."""

    row: UserSession
    device: Device
    is_current: bool


def signed_in(request: HttpRequest, user: User) -> Sequence[SignedIn]:
    """Return the MOST_LISTED sessions of the user that were used last, the current one first. Two queries."""
    key = request.session.session_key
    if not UserSession.objects.filter(session_key=key).exists():
        # It started before sessions were recorded.
        with bookkeeping("user session"):
            UserSession.objects.create_from_request(request)
    lasting = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    rows = UserSession.objects.filter(user=user, session_key__in=lasting).order_by("-last_seen_at", "-pk")
    rows = rows[:MOST_LISTED]
    listed = [SignedIn(row, device_of(row.user_agent), row.session_key == key) for row in rows]
    return sorted(listed, key=lambda each: not each.is_current)


def end(user: User, *, only: int | None = None, besides: str | None = None) -> int:
    """End sessions of the user; return how many.

    Args:
        only: id of the only session to end.
        besides: key of a session to keep.
    """
    ending = UserSession.objects.filter(user=user).exclude(session_key=besides)
    if only is not None:
        ending = ending.filter(pk=only)
    with transaction.atomic():
        keys = list(ending.values_list("session_key", flat=True))
        Session.objects.filter(session_key__in=keys).delete()
        UserSession.objects.filter(session_key__in=keys).delete()
    return len(keys)


def _password_changed(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    """End all other sessions after a change of the password."""
    end(user, besides=request.session.session_key if request.user.is_authenticated else None)


def listen() -> None:
    """Connect the receivers; called once by AppConfig.ready()."""
    for signal in (signals.password_changed, signals.password_set, signals.password_reset):
        signal.connect(_password_changed, dispatch_uid="end_other_sessions")
