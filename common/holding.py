"""Answers that wait for a change, without a thread and without a database connection.

Beside its response, a view hands the server an `Answer` (a call that waits for its verdict) or a `Stream` (an open
page). Where the server cannot hold answers (another WSGI server, the test client), the response is sent at once.
"""

from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

logger = structlog.get_logger(__name__)

# Keys of the WSGI environment: set by a server that can hold answers, and by a view for it.
CAN_HOLD = "seqpulse.can_hold"
HELD = "seqpulse.held"


@dataclass(frozen=True, slots=True)
class Answer:
    """Wait for a change, then answer.

    topics: what to wait for (deployments/changes.py); seconds: for how long; owner: who it is for, because places are
    shared fairly; look: called on a thread after a change, and with True when the time is up; it returns the response,
    or None to go on waiting. The view's own response is sent where there is no place or the server ends.
    """

    topics: tuple[str, ...]
    seconds: float
    owner: str
    look: Callable[[bool], HttpResponse | None]


@dataclass(frozen=True, slots=True)
class Stream:
    """Send an event after each change, beginning with what has changed within the last `missed_s` seconds."""

    topics: tuple[str, ...]
    owner: str
    missed_s: float


def can_hold(request: HttpRequest | Request) -> bool:
    """Return whether the server of this request can hold answers."""
    return bool(request.META.get(CAN_HOLD))


def hold(request: HttpRequest | Request, held: Answer | Stream) -> None:
    """Hold the answer to this request. A later answer is logged like the request, with the seconds that it waited."""
    if isinstance(held, Answer):
        context, look, began = copy_context(), held.look, monotonic()
        held = replace(held, look=lambda last: context.run(look_and_log, look, began, last))
    request.META[HELD] = held


def look_and_log(look: Callable[[bool], HttpResponse | None], began: float, last: bool) -> HttpResponse | None:
    response = look(last)
    if response is not None:
        logger.info("held_request_answered", code=response.status_code, waited_s=round(monotonic() - began, 3))
    return response


def held_by(environ: Mapping[str, Any]) -> Answer | Stream | None:
    """Return what the view of the request wants to be held."""
    held: Answer | Stream | None = environ.get(HELD)
    return held


def rendered(
    view: APIView, request: Request, look: Callable[[bool], Response | None]
) -> Callable[[bool], HttpResponse | None]:
    """Return `look` for an Answer: with the view's error responses, rendered."""

    def look_and_render(last: bool) -> HttpResponse | None:
        try:
            response = look(last)
        except (OperationalError, InterfaceError):
            raise  # not an answer: the caller tries again
        except Exception as error:
            response = view.handle_exception(error)
        return response and view.finalize_response(request, response).render()

    return look_and_render
