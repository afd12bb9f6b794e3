"""Answers that the front gives itself: the request did not come in time, or came beside too many others."""

from functools import lru_cache
from io import BytesIO
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
from seqpulse.errors import READING, WORDS_400, retry_url
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
# Paths whose refusals differ stand for all that are alike.
API, VERDICT, PAGE = "/api/", "/deployments/-/verdict", "/"


class Refusals:
    """Words each refusal like the API, or as a page. Made once for all that are alike: who gets them may be many."""

    def __init__(self, bounds: Bounds) -> None:
        self.facts = {
            "head_s": bounds.head_s,
            "body_s": bounds.body_s,
            "head_kib": bounds.head_bytes // 1024,
            "fields": bounds.fields,
        }
        self._made = lru_cache(self._make)

    def response(self, status: int, environ: dict[str, Any] | None) -> HttpResponse:
        """Return the answer. environ: of the request; None: its head is not known, and API words are sent."""
        path = API if environ is None else environ["PATH_INFO"]
        if environ is None or is_api_path(path):
            return self._made(status, VERDICT if GateMiddleware.PATH.fullmatch(path) else API)
        language = translation.get_language_from_request(WSGIRequest(environ))
        return self._made(status, PAGE, language, "GET" if environ["REQUEST_METHOD"] in READING else "POST")

    def _make(self, status: int, path: str, language: str = "en", method: str = "GET") -> HttpResponse:
        code, words, seconds = ANSWERS[status]

        def answer(request: HttpRequest) -> HttpResponse:
            response: HttpResponse = (
                error_response(status, code, words.format(**self.facts))
                if path != PAGE
                else HttpResponse(page(status, method, language, seconds), status=status)
            )
            if seconds:
                response["Retry-After"] = str(seconds)
            return response

        wrapped: Any = GateMiddleware(SecurityMiddleware(CSPMiddleware(answer)))
        made: HttpResponse = wrapped(
            WSGIRequest({"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": BytesIO()})
        )
        return made


def page(status: int, method: str, language: str, seconds: int) -> str:
    """Return the page of a status."""
    # The loop is not in the middle of a request.
    set_script_prefix(f"{settings.FORCE_SCRIPT_NAME or ''}/")
    with translation.override(language):
        return render_to_string(PAGES[status], {"again": retry_url(method), "seconds": seconds})
