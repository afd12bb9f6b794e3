"""Answers that many may ask for and that are worked out once in a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


# So long an old answer stands in for one that is being worked out: longer than a database may take to be found away.
STAND_IN_S = 10.0


class Cached(Generic[T]):
    """What `work` returned, for so many seconds. One thread works it out; others get the last answer meanwhile.

    Threads that waited with it would be missing for everything else just when the database hangs.
    """

    def __init__(self, work: Callable[[], T], seconds: float) -> None:
        self.work = work
        self.seconds = seconds
        self.lock = threading.Lock()
        self.kept: tuple[float, T] | None = None

    def get(self) -> T:
        """The answer, at most `seconds` old, or STAND_IN_S while the next one is worked out."""
        kept = self.kept
        now = time.monotonic()
        if kept is not None and now < kept[0]:
            return kept[1]
        if kept is not None and now < kept[0] + STAND_IN_S:
            if not self.lock.acquire(blocking=False):
                return kept[1]
        else:
            self.lock.acquire()
        try:
            if self.kept is None or time.monotonic() >= self.kept[0]:
                answer = self.work()
                # From when it was there: an answer that takes long is not asked for again at once.
                self.kept = (time.monotonic() + self.seconds, answer)
            return self.kept[1]
        finally:
            self.lock.release()

    def forget(self) -> None:
        """The next one who asks has it worked out anew."""
        self.kept = None
