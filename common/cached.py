"""Cache an answer that many callers ask for."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Longer than the timeouts of the database.
PATIENCE_S = 10.0


class Cached(Generic[T]):
    """Keeps the result of `work` for some seconds. One thread computes it; others get the last result meanwhile.

    If they waited for it without end, a hanging database would block all threads.

    Args:
        overdue: returns the answer where `work` takes longer than patience_s, as with a server that does not answer;
            None: such work must have timeouts of its own.
    """

    def __init__(
        self,
        work: Callable[[], T],
        seconds: float,
        *,
        overdue: Callable[[], T] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.work = work
        self.seconds = seconds
        self.overdue = overdue
        self.patience_s = patience_s
        self.lock = threading.Lock()
        self.kept: tuple[float, T] | None = None
        # When the work began that is going on.
        self.began: float | None = None

    def get(self) -> T:
        """Return the answer, at most `seconds` old, or patience_s while the next one is computed."""
        kept = self.kept
        now = time.monotonic()
        if kept is not None and now < kept[0]:
            return kept[1]
        stands_in = kept is not None and now < kept[0] + self.patience_s
        if not self.lock.acquire(timeout=0 if stands_in else self._patience(now)):
            if kept is not None and stands_in:
                return kept[1]
            return self.overdue()  # type: ignore[misc]  # without it there is no end of patience
        try:
            if self.kept is None or time.monotonic() >= self.kept[0]:
                self.began = time.monotonic()
                answer = self.work()
                # From its arrival: a slow answer must not be computed again at once.
                self.kept = (time.monotonic() + self.seconds, answer)
            return self.kept[1]
        finally:
            # A caller that meets the next thread between its lock and its work must not measure by this one.
            self.began = None
            self.lock.release()

    def _patience(self, now: float) -> float:
        """Return for how many seconds to wait for the thread that computes; -1: without end."""
        if self.overdue is None:
            return -1
        return self.patience_s if self.began is None else max(0.0, self.began + self.patience_s - now)

    def forget(self) -> None:
        """Have the next caller compute it anew."""
        self.kept = None
