"""Answers that the front gives itself: the request did not come in time, or came beside too many others."""

from functools import lru_cache
from typing import Any

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware
from django.template.loader import render_to_string
from django.urls import set_script_prefix
from django.utils import translation

from seqpulse.api import RETRY_AFTER_SECONDS, error_response, is_api_path
from seqpulse.errors import READING, WORDS_400
from seqpulse.front.bounds import Bounds
from seqpulse.middleware import GateMiddleware

# Code and English words; where it makes sense to repeat the call: after how many seconds.
ANSWERS: dict[int, tuple[str, str, int]] = {
    400: ("bad_request", WORDS_400, 0),
    408: ("request_timeout", "The request did not arrive within {head_s:g} s (head) and {body_s:g} s (body).", 1),
    429: ("too_many_connections", "Too many calls of this address are under way. Try again in a moment.", 1),
    431: ("head_too_large", "The head of the request is larger than {head_kib} KiB or {fields} fields.", 0),
    503: ("overloaded", "More is asked than can be answered. Try again in a few seconds.", RETRY_AFTER_SECONDS),
}
PAGES = {400: "400.html", 408: "408.html", 429: "429.html", 431: "400.html", 503: "busy.html"}


class Refusals:
    """Words each refusal like the API, or as a page."""

    def __init__(self, bounds: Bounds) -> None:
        self.facts = {
            "head_s": bounds.head_s,
            "body_s": bounds.body_s,
            "head_kib": bounds.head_bytes // 1024,
            "fields": bounds.fields,
        }

    def response(self, status: int, environ: dict[str, Any] | None) -> HttpResponse:
        """Return the answer. environ: of the request; None: its head is not known, and API words are sent."""
        if environ is None:
            return self._answer(None, status)
        request = WSGIRequest(environ)
        wrapped: Any = GateMiddleware(SecurityMiddleware(CSPMiddleware(lambda given: self._answer(given, status))))
        answered: HttpResponse = wrapped(request)
        return answered

    def _answer(self, request: HttpRequest | None, status: int) -> HttpResponse:
        code, words, seconds = ANSWERS[status]
        if request is None or is_api_path(request.path_info):
            response: HttpResponse = error_response(status, code, words.format(**self.facts))
        else:
            again = "" if request.method in READING else root()
            language = translation.get_language_from_request(request)
            response = HttpResponse(page(status, again, seconds, language), status=status)
        if seconds:
            response["Retry-After"] = str(seconds)
        return response


def root() -> str:
    """Return the path of the first page."""
    return f"{settings.FORCE_SCRIPT_NAME or ''}/"


@lru_cache
def page(status: int, again: str, seconds: int, language: str) -> str:
    """Return the page of a status: rendered once, because those who get it may be many."""
    # The loop is not in the middle of a request.
    set_script_prefix(root())
    with translation.override(language):
        return render_to_string(PAGES[status], {"again": again, "seconds": seconds})
