"""Middleware for all answers."""

import json
import re
from contextlib import nullcontext

from django.conf import settings
from django.contrib.sessions import middleware as sessions
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.urls import resolve
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.utils.deprecation import MiddlewareMixin

from common.database_state import bookkeeping
from seqpulse.api import RETRY_AFTER_SECONDS, is_api_path
from seqpulse.errors import READING, answer, database_answer


class SessionMiddleware(sessions.SessionMiddleware):
    """Sessions that a request cannot break, and that go on being read while the database cannot write."""

    def process_request(self, request: HttpRequest) -> None:
        # PostgreSQL refuses NUL: the look-up of such a key would be a 500.
        key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
        if key and not (key.isascii() and key.isalnum()):
            del request.COOKIES[settings.SESSION_COOKIE_NAME]
        super().process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        with bookkeeping("session") if request.method in READING else nullcontext():
            super().process_response(request, response)
        # Django's does so after saving, which may have failed.
        if getattr(request, "session", None) is not None and request.session.accessed:
            patch_vary_headers(response, ("Cookie",))
        return response


class HealthByAddressMiddleware(MiddlewareMixin):
    """Answer health checks that name the server by its address, as load balancers do, whatever ALLOWED_HOSTS lists.

    They are answered before sessions are read, so only the metrics token shows more than the public status.
    """

    PATHS = re.compile(r"/health(/live)?/?")

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        if request.method not in ("GET", "HEAD") or not self.PATHS.fullmatch(request.path_info):
            return None
        try:
            request.get_host()
        except DisallowedHost:
            request.resolver_match = resolve(request.path_info)
            response: HttpResponseBase = request.resolver_match.func(request)
            return response
        return None


class AccountPagesMiddleware(MiddlewareMixin):
    """Forbid caching of account pages: django-allauth allows it for some that show recovery codes or the secret of a
    second factor."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.path_info.startswith("/accounts/"):
            add_never_cache_headers(response)
        return response


class WrongMethodMiddleware(MiddlewareMixin):
    """Answer 405 in words, in JSON or with a page (the URL of a form in the address bar), where Django's is empty."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.status_code != 405 or response.content:
            return response
        words = f"This address takes {response['Allow']}."
        in_words = answer(request, 405, "method_not_allowed", words)
        in_words["Allow"] = response["Allow"]
        return in_words


class PageCompressionMiddleware(GZipMiddleware):
    """Compress pages. Answers of the API are short, and compressing them would cost more than it saves."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response if is_api_path(request.path_info) else super().process_response(request, response)


class GateMiddleware(MiddlewareMixin):
    """Add `gate` to every error of the gates, whichever layer answers it: clients that poll read that one field.

    pending where the same call may succeed later (Retry-After says when), none where it never will.
    """

    # Without an id too: the call of a pipeline whose trigger failed.
    PATH = re.compile(r"/deployments/[^/]*/verdict/?|/gate(/.*)?")
    LATER = (408, 429, 500, 502, 503, 504)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or not is_json or not self.PATH.fullmatch(request.path_info):
            return response
        body = json.loads(response.content or b"{}")
        is_later = response.status_code in self.LATER
        body.setdefault("gate", "pending" if is_later else "none")
        if is_later:
            response.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
        response.content = json.dumps(body).encode()
        if "Content-Length" in response:
            response["Content-Length"] = str(len(response.content))
        return response


class DatabaseAwayMiddleware(MiddlewareMixin):
    """Answer 503 with Retry-After instead of 500 where the database is the reason, for pages and API.

    For errors of views, also with DEBUG; those of other middleware come to seqpulse.errors.server_error.
    """

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return database_answer(request, exception)
