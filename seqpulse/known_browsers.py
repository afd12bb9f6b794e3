"""Browsers that somebody has signed in with before. Their tries count apart: whoever guesses an account's password
somewhere else must not keep its owner out (OWASP calls it device cookies)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse

COOKIE = "seqpulse_browser"
KEPT_S = 180 * 86400


@dataclass(frozen=True, slots=True)
class KnownBrowser:
    """A browser: its own random name, and who last signed in with it."""

    name: str
    user_id: int


def known_browser(request: HttpRequest) -> KnownBrowser | None:
    """What the cookie says, where we have signed it within the last half year."""
    value = request.get_signed_cookie(COOKIE, default="", salt=COOKIE, max_age=KEPT_S)
    name, _, user_id = (value or "").partition(":")
    return KnownBrowser(name, int(user_id)) if name and user_id.isdigit() else None


def remember(response: HttpResponse, known: KnownBrowser | None, user_id: int) -> None:
    """Lets the browser be known as that of who has just signed in. known: what it was before."""
    name = known.name if known is not None and known.user_id == user_id else secrets.token_urlsafe(12)
    response.set_signed_cookie(
        COOKIE,
        f"{name}:{user_id}",
        salt=COOKIE,
        max_age=KEPT_S,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
