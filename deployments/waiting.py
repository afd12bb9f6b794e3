"""Answers that are held until something has happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from django.db import connection

T = TypeVar("T")

LOOK_AGAIN_S = 0.25
# Each held answer keeps a thread: so many per process at most, the others are answered at once.
_places = threading.BoundedSemaphore(16)
# For how long the current request was held, in seconds: whoever measures how fast we answer takes it off.
held_s: ContextVar[float] = ContextVar("held_s", default=0.0)


def hold(look: Callable[[], T | None], seconds: float) -> T | None:
    """The first thing that `look` finds, now or within so many seconds; None where it finds nothing."""
    found = look()
    if found is not None or seconds <= 0 or not _places.acquire(blocking=False):
        return found
    started = time.monotonic()
    deadline = started + seconds
    try:
        while found is None and (left := deadline - time.monotonic()) > 0:
            # A held answer holds no connection: there may be more of them than the database has to give.
            if not connection.in_atomic_block:
                connection.close()
            time.sleep(min(LOOK_AGAIN_S, left))
            found = look()
    finally:
        _places.release()
        held_s.set(held_s.get() + time.monotonic() - started)
    return found
