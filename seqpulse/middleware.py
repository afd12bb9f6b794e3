"""Middleware for all answers."""

import json
import re

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.utils.deprecation import MiddlewareMixin

from seqpulse.api import DATABASE_AWAY, RETRY_AFTER_SECONDS, error_response, is_api_path
from seqpulse.errors import error_page

logger = structlog.get_logger(__name__)


class SessionCookieMiddleware(MiddlewareMixin):
    """Drop a session cookie that cannot be a session key: PostgreSQL refuses NUL, and the look-up would be a 500."""

    def process_request(self, request: HttpRequest) -> None:
        key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
        if key and not (key.isascii() and key.isalnum()):
            del request.COOKIES[settings.SESSION_COOKIE_NAME]


class AccountPagesMiddleware(MiddlewareMixin):
    """Forbid caching of account pages: django-allauth allows it for some that show recovery codes or the secret of a
    second factor."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.path_info.startswith("/accounts/"):
            add_never_cache_headers(response)
        return response


class WrongMethodMiddleware(MiddlewareMixin):
    """Answer 405 with a page instead of Django's empty one, for example for the URL of a form in the address bar."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.status_code != 405 or response.content or is_api_path(request.path_info):
            return response
        page = error_page(request, 405)
        page["Allow"] = response["Allow"]
        return page


class PageCompressionMiddleware(GZipMiddleware):
    """Compress pages. Answers of the API are short, and compressing them would cost more than it saves."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response if is_api_path(request.path_info) else super().process_response(request, response)


class GateMiddleware(MiddlewareMixin):
    """Add `gate` to every error of the verdict endpoint, whoever answers it: a poller looks for that one field.

    pending where the same call may succeed later (Retry-After says when), none where it never will.
    """

    # Without an id too: the call of a pipeline whose trigger failed.
    PATH = re.compile(r"/deployments/[^/]*/verdict/?")
    LATER = (429, 500, 502, 503, 504)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or not is_json or not self.PATH.fullmatch(request.path_info):
            return response
        body = json.loads(response.content or b"{}")
        is_later = response.status_code in self.LATER
        body["gate"] = "pending" if is_later else "none"
        if is_later:
            response.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
        response.content = json.dumps(body).encode()
        if "Content-Length" in response:
            response["Content-Length"] = str(len(response.content))
        return response


class DatabaseAwayMiddleware(MiddlewareMixin):
    """Answer 503 with Retry-After instead of 500 while the database is unavailable, for pages and API."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, (OperationalError, InterfaceError)):
            return None
        logger.error("database_away", error=str(exception))
        return database_away(request)


def database_away(request: HttpRequest) -> HttpResponse:
    """Return the answer while the database is unavailable, as JSON or as a page."""
    if is_api_path(request.path):
        response: HttpResponse = error_response(503, "database_unavailable", DATABASE_AWAY)
    else:
        again = "" if request.method in ("GET", "HEAD") else "/"
        response = render(None, "503.html", {"again": again}, status=503)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
