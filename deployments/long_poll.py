"""Long polling: an answer waits until something has happened."""

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from django.db import connection

T = TypeVar("T")

POLL_INTERVAL_S = 0.25
# Each waiting request occupies a thread: at most this many per process, the others are answered at once.
_places = threading.BoundedSemaphore(16)
# How long the current request has waited so far; measurements of response times subtract it.
long_poll_seconds: ContextVar[float] = ContextVar("long_poll_seconds", default=0.0)


def long_poll(look: Callable[[], T | None], seconds: float) -> T | None:
    """Call `look` until it returns something, for at most `seconds`; return that, or None."""
    found = look()
    if found is not None or seconds <= 0 or not _places.acquire(blocking=False):
        return found
    started = time.monotonic()
    deadline = started + seconds
    try:
        while found is None and (left := deadline - time.monotonic()) > 0:
            # Waiting requests keep no connection: there may be more of them than the database allows.
            if not connection.in_atomic_block:
                connection.close()
            time.sleep(min(POLL_INTERVAL_S, left))
            found = look()
    finally:
        _places.release()
        long_poll_seconds.set(long_poll_seconds.get() + time.monotonic() - started)
    return found
