"""List and end the sessions of a user."""

from __future__ import annotations

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
from dashboard.accounts.devices import Device, device_of


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session in the list."""

    row: UserSession
    device: Device
    is_current: bool


def signed_in(request: HttpRequest, user: User) -> Sequence[SignedIn]:
    """Return the user's sessions, the current one first, then by last use. Two queries."""
    key = request.session.session_key
    if not UserSession.objects.filter(session_key=key).exists():
        # It started before sessions were recorded.
        UserSession.objects.create_from_request(request)
    lasting = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    rows = UserSession.objects.filter(user=user, session_key__in=lasting).order_by("-last_seen_at", "-pk")
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
