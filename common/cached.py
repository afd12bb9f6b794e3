"""Cache an answer that many callers ask for."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


# Seconds for which an old answer is used while a new one is computed: longer than the timeout of the database.
STAND_IN_S = 10.0


class Cached(Generic[T]):
    """Keeps the result of `work` for some seconds. One thread computes it; others get the last result meanwhile.

    If they waited instead, a hanging database would block all threads.
    """

    def __init__(self, work: Callable[[], T], seconds: float) -> None:
        self.work = work
        self.seconds = seconds
        self.lock = threading.Lock()
        self.kept: tuple[float, T] | None = None

    def get(self) -> T:
        """Return the answer, at most `seconds` old, or STAND_IN_S while the next one is computed."""
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
                # From its arrival: a slow answer must not be computed again at once.
                self.kept = (time.monotonic() + self.seconds, answer)
            return self.kept[1]
        finally:
            self.lock.release()

    def forget(self) -> None:
        """Have the next caller compute it anew."""
        self.kept = None
