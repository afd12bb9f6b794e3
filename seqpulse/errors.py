"""Error pages. The API answers in JSON (seqpulse/api.py)."""

import re
import sys
from difflib import get_close_matches
from functools import cache
from typing import Any

import structlog
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import get_resolver, get_script_prefix
from django.views import defaults

from common.database_state import CANNOT_WRITE, DatabaseState, note_refusal, state_of
from seqpulse.api import DATABASE_WORDS, RETRY_AFTER_SECONDS, error_response, is_api_path

logger = structlog.get_logger(__name__)

# Methods that store nothing but records of the call itself.
READING = ("GET", "HEAD", "OPTIONS")

WORDS_400 = "The server could not read this request."
WORDS_HOST = (
    "This server does not answer to the host name of this request. Its operator lists the names in ALLOWED_HOSTS."
)
# An id in an address, or what was sent as one: a variable that was not set in time, a number.
ID = re.compile(r"/(?:[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}|[0-9]+)(?=/|$)")
# How alike two addresses are, from 0 to 1, for one to be a misspelling of the other.
NEAR = 0.85
LONGEST_PATH = 100


def retry_url(method: str | None) -> str:
    """Return the target of "try again": "" (the same address) if the method stores nothing, else the start page."""
    return "" if method in READING else get_script_prefix()


def error_page(request: HttpRequest, status: int, context: dict[str, Any] | None = None) -> HttpResponse:
    """Return the page of this status, with the navigation if the user was already loaded: it runs no queries."""
    # Django caches the user here once it was loaded.
    request_with_user = request if hasattr(request, "_cached_user") else None
    context = {"again": retry_url(request.method), **(context or {})}
    return render(request_with_user, f"{status}.html", context, status=status)


def is_program(request: HttpRequest) -> bool:
    """Return whether a program is asking, which reads JSON: browsers name HTML in Accept, and curl accepts anything."""
    headers = request.headers
    if "X-API-Key" in headers or request.content_type == "application/json":
        return True
    accepted = headers.get("Accept", "")
    return bool(accepted) and "html" not in accepted.lower() and "HX-Request" not in headers


def answer(request: HttpRequest, status: int, code: str, words: str, **context: Any) -> HttpResponse:
    """Return JSON for API paths and for programs, else the page of this status. context: of the page."""
    if is_api_path(request.path_info) or is_program(request):
        return error_response(status, code, words)
    return error_page(request, status, context)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400."""
    if isinstance(exception, DisallowedHost):
        return answer(request, 400, "bad_request", WORDS_HOST, disallowed_host=True)
    return answer(request, 400, "bad_request", WORDS_400)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404: the same for missing objects and for objects of other teams."""
    near = near_path(request.path_info)
    words = f"There is nothing at this address. Did you mean {near}?" if near else "There is nothing at this address."
    return answer(request, 404, "not_found", words)


@cache
def api_paths() -> dict[str, str]:
    """Return the addresses for programs, with {id} for an id; by themselves, in lower case."""
    routes = [str(entry.pattern) for entry in get_resolver().url_patterns]
    paths = ["/" + re.sub(r"\(\?P<\w+>[^)]*\)", "{id}", route).strip("^$").removesuffix("/?") for route in routes]
    return {path.lower(): path for path in paths if is_api_path(path)}


def near_path(path: str) -> str:
    """Return the address for programs that is spelled nearly like this one, "" for none."""
    spelled = ID.sub("/{id}", path[:LONGEST_PATH].lower().rstrip("/"))
    near = get_close_matches(spelled, api_paths(), n=1, cutoff=NEAR)
    return get_script_prefix().rstrip("/") + api_paths()[near[0]] if near else ""


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    return answer(request, 403, "permission_denied", "You may not do this.")


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500; the error is in the log. If the navigation failed, the page has none.

    Django calls it while it handles the exception, of a view or of a middleware. One that the state of the database
    explains is a 503.
    """
    unavailable = database_answer(request, sys.exc_info()[1])
    if unavailable is not None:
        return unavailable
    try:
        return answer(request, 500, "internal_error", "Something broke on our side; it has been logged. Try again.")
    except Exception as error:
        logger.error("error_page_broke", error=repr(error))
        return defaults.server_error(request)


def database_answer(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    """Return the answer where the database is the reason for an error, and log it in one line; None: it is not."""
    state = state_of(error)
    if state is None:
        return None
    logger.error("database_away", state=state.value, error=str(error).strip())
    note_refusal(state)
    return database_away(request, state)


def database_away(request: HttpRequest, state: DatabaseState = DatabaseState.AWAY) -> HttpResponse:
    """Return 503 with Retry-After while the database cannot do what was asked, as JSON or as a page."""
    if is_api_path(request.path_info):
        response: HttpResponse = error_response(503, "database_unavailable", DATABASE_WORDS[state])
    else:
        context = {"again": retry_url(request.method), "state": state.value, "read_only": state in CANNOT_WRITE}
        response = render(None, "503.html", context, status=503)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    # Django would log it a second time, with a traceback.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
