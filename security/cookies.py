"""Signed cookies: what a browser keeps for us, so that a stranger's request leaves no row in the database."""

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase


@dataclass(frozen=True, slots=True)
class SignedCookie:
    """A cookie that only we can write. Its content can be read, and sent again until it is max_age_s old."""

    name: str
    max_age_s: int

    def read(self, request: HttpRequest) -> str:
        """Return the content; "" without the cookie, or if it is too old or not ours."""
        return request.get_signed_cookie(self.name, default="", salt=self.name, max_age=self.max_age_s) or ""

    def write(self, response: HttpResponseBase, value: str) -> None:
        response.set_signed_cookie(
            self.name,
            value,
            salt=self.name,
            max_age=self.max_age_s,
            path=settings.SESSION_COOKIE_PATH,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )

    def delete(self, response: HttpResponseBase) -> None:
        response.delete_cookie(self.name, path=settings.SESSION_COOKIE_PATH, samesite="Lax")
