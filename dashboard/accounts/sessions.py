"""Where a person is signed in, and ending that."""

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
    """One session as the list shows it."""

    row: UserSession
    device: Device
    is_current: bool


def signed_in(request: HttpRequest, person: User) -> Sequence[SignedIn]:
    """The person's sessions, the one that asks first, then those used last. Two queries."""
    key = request.session.session_key
    if not UserSession.objects.filter(session_key=key).exists():
        # It began before sessions were listed.
        UserSession.objects.create_from_request(request)
    lasting = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    rows = UserSession.objects.filter(user=person, session_key__in=lasting).order_by("-last_seen_at", "-pk")
    listed = [SignedIn(row, device_of(row.user_agent), row.session_key == key) for row in rows]
    return sorted(listed, key=lambda each: not each.is_current)


def end(person: User, *, only: int | None = None, besides: str | None = None) -> int:
    """Signs the person out everywhere; returns how many sessions ended.

    only: just the one with this id; besides: the key of one that stays.
    """
    ending = UserSession.objects.filter(user=person).exclude(session_key=besides)
    if only is not None:
        ending = ending.filter(pk=only)
    with transaction.atomic():
        keys = list(ending.values_list("session_key", flat=True))
        Session.objects.filter(session_key__in=keys).delete()
        UserSession.objects.filter(session_key__in=keys).delete()
    return len(keys)


def _password_changed(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    """Whoever else knew the old password is out, and no longer in the list."""
    end(user, besides=request.session.session_key if request.user.is_authenticated else None)


def listen() -> None:
    """Called once, when the app is ready."""
    for signal in (signals.password_changed, signals.password_set, signals.password_reset):
        signal.connect(_password_changed, dispatch_uid="end_other_sessions")
