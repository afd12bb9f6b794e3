"""Answers that wait for a change without occupying a thread or a database connection.

A view that has nothing to say yet answers as if nobody waited, and leaves a `Parking` in the request. A server that can
park (seqpulse/front/) keeps the client waiting and calls `resume` when one of the topics may have changed. Any other
server sends the view's answer at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse

# In the WSGI environ. The server sets the first one if it can park; the view answers with the second one.
CAN_PARK = "seqpulse.can_park"
PARKING = "seqpulse.parking"


@dataclass(frozen=True, slots=True)
class Parking:
    """How to go on with a request whose answer is not there yet.

    Attributes:
        topics: names of what may change; whoever changes it announces them.
        seconds: how long to wait at most. After that the view's own answer is sent.
        resume: called in a thread after every change of a topic, and once if a change may have come before the server
            began to wait. Returns the answer to send instead of the view's, or None to go on waiting. Headers of the
            view's answer that it does not set itself are sent as well.
    """

    topics: tuple[str, ...]
    seconds: float
    resume: Callable[[], HttpResponse | None]


def can_park(request: HttpRequest) -> bool:
    """Return whether `park` makes the client wait."""
    return bool(request.META.get(CAN_PARK))


def park(request: HttpRequest, parking: Parking) -> None:
    """Ask the server to keep the client waiting instead of sending the answer that the view is about to return."""
    request.META[PARKING] = parking
