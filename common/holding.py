"""Answers that wait for a change, without a thread and without a database connection.

Beside its response, a view hands the server an `Answer` (a call that waits for its verdict) or a `Stream` (an open
page). Where the server cannot hold answers (another WSGI server, the test client), the response is sent at once.
"""

from collections.abc import Callable, Hashable
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

# Keys of the WSGI environment: set by a server that can hold answers, and by a view for it.
CAN_HOLD = "seqpulse.can_hold"
HELD = "seqpulse.held"


@dataclass(frozen=True, slots=True)
class Answer:
    """Wait for a change, then answer. Thousands wait at once: keep the request out of `look`.

    Attributes:
        topics: what to wait for (deployments/changes.py).
        seconds: for how long.
        owner: who it is for: places are shared fairly.
        look: called on a thread after a change, and with True when the time is up; returns the response, or None to go
            on waiting. The view's own response is sent where there is no place, and when the server ends.
        key: answers with the same key are the same, and looked for once; None: with no other.
        context: of the request.
    """

    topics: tuple[str, ...]
    seconds: float
    owner: str
    look: Callable[[bool], HttpResponse | None]
    key: Hashable = None
    context: Context = field(default_factory=copy_context)


@dataclass(frozen=True, slots=True)
class Stream:
    """Send an event after each change, beginning with what has changed within the last `missed_s` seconds.

    may_go_on: called on a thread before events, at most every few seconds: whether the page may still be seen.
    """

    topics: tuple[str, ...]
    owner: str
    missed_s: float
    may_go_on: Callable[[], bool]


def can_hold(request: HttpRequest | Request) -> bool:
    """Return whether the server of this request can hold answers."""
    return bool(request.META.get(CAN_HOLD))


def hold(request: HttpRequest | Request, held: Answer | Stream) -> None:
    """Hold the answer to this request."""
    request.META[HELD] = held


def rendered(look: Callable[[bool], Response | None]) -> Callable[[bool], HttpResponse | None]:
    """Return `look` for an Answer, rendered as JSON. API errors that it raises are responses, too."""

    def look_and_render(last: bool) -> HttpResponse | None:
        try:
            response = look(last)
        except (OperationalError, InterfaceError):
            raise  # not an answer: the caller tries again
        except Exception as error:
            response = APIView().get_exception_handler()(error, {})
            if response is None:
                raise
        if response is None:
            return None
        headers = {**response.headers, "Content-Type": JSONRenderer.media_type}
        return HttpResponse(JSONRenderer().render(response.data), status=response.status_code, headers=headers)

    return look_and_render
