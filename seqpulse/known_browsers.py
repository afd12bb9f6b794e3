"""Remember browsers in which a user has signed in, by a signed cookie (OWASP: device cookies).

Their failures are counted separately, so that guessing a password elsewhere does not lock its owner out.
"""

import secrets
from binascii import crc32
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse

from security.cookies import SignedCookie

COOKIE = SignedCookie("seqpulse_browser", 180 * 86400)
# Counters that the known browsers of an account share: a former user who has signed in from many browsers gets no more
# guesses than these allow.
BUCKETS = 5


@dataclass(frozen=True, slots=True)
class KnownBrowser:
    """A browser: its random name, and the user who last signed in."""

    name: str
    user_id: int

    @property
    def bucket(self) -> str:
        """Return the suffix of the counter of the user's failures in this browser."""
        return f"|browser {crc32(self.name.encode()) % BUCKETS}"


def known_browser(request: HttpRequest) -> KnownBrowser | None:
    """Return the content of the cookie if it was signed within the last half year."""
    name, _, user_id = COOKIE.read(request).partition(":")
    return KnownBrowser(name, int(user_id)) if name and user_id.isdigit() else None


def remember(response: HttpResponse, known: KnownBrowser | None, user_id: int) -> None:
    """Set the cookie for the user who has just signed in. known: the previous content."""
    name = known.name if known is not None and known.user_id == user_id else secrets.token_urlsafe(12)
    COOKIE.write(response, f"{name}:{user_id}")
