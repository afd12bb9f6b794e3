"""Error pages. The API answers in JSON (seqpulse/api.py)."""

from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views import defaults

from seqpulse.api import error_response, is_api_path

logger = structlog.get_logger(__name__)

WORDS_400 = "The server could not read this request."


def error_page(request: HttpRequest, status: int, context: dict[str, Any] | None = None) -> HttpResponse:
    """Return the page of this status, with the navigation if the user was already loaded: it runs no queries."""
    # Django caches the user here once it was loaded.
    request_with_user = request if hasattr(request, "_cached_user") else None
    again = "" if request.method in ("GET", "HEAD") else "/"
    return render(request_with_user, f"{status}.html", {"again": again, **(context or {})}, status=status)


def answer(request: HttpRequest, status: int, code: str, words: str) -> HttpResponse:
    """Return JSON for API paths, else the page of this status."""
    return error_response(status, code, words) if is_api_path(request.path) else error_page(request, status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400."""
    return answer(request, 400, "bad_request", WORDS_400)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404: the same for missing objects and for objects of other teams."""
    return answer(request, 404, "not_found", "There is nothing at this address.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    return answer(request, 403, "permission_denied", "You may not do this.")


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500; the error is in the log. If the navigation failed, the page has none."""
    try:
        return answer(request, 500, "internal_error", "Something broke on our side; it has been logged. Try again.")
    except Exception as error:
        logger.error("error_page_broke", error=repr(error))
        return defaults.server_error(request)
