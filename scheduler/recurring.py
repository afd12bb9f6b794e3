"""Recurring jobs: a chain of jobs in the same table, one per tick, with any number of pollers.

Each tick's job has a unique key. When it ends, whatever its status, the next one is written in the same transaction.
Pollers write missing ones at start and from time to time, so that a broken chain is repaired.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler.queue import NewJob, database_now, enqueue
from scheduler.registry import Ended, Job, job_kind
from scheduler.retry import NO_RETRY


@dataclass(frozen=True, slots=True)
class Recurring:
    """A job kind that runs every so many seconds, at multiples of them since the epoch."""

    name: str
    every_s: float

    def tick_after(self, now: datetime) -> NewJob:
        """Return the first job of this kind due after now; it expires when the next one is due."""
        number = math.floor(now.timestamp() / self.every_s) + 1
        due = datetime.fromtimestamp(number * self.every_s, UTC)
        expires_at = due + timedelta(seconds=self.every_s)
        return NewJob(self.name, due, expires_at=expires_at, unique_key=f"{self.name}:{self.every_s:g}:{number}")


_recurring: dict[str, Recurring] = {}


def recurring(name: str, *, every_s: float) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a function without arguments to run every `every_s` seconds, on a thread of one poller."""
    kind = Recurring(name, every_s)

    def follow_up(jobs: Sequence[Ended]) -> None:
        enqueue([kind.tick_after(database_now())])

    def register(work: Callable[[], Any]) -> Callable[[], Any]:
        def run(job: Job, prepared: Any) -> Any:
            return work()

        run.__qualname__ = work.__qualname__
        job_kind(name, retry=NO_RETRY, on_finished=follow_up)(run)
        _recurring[name] = kind
        return work

    return register


def plan_recurring() -> None:
    """Enqueue the next job of every recurring kind, if missing."""
    now = database_now()
    enqueue([kind.tick_after(now) for kind in _recurring.values()])


def registered() -> set[str]:
    """Return the names of all recurring kinds."""
    return set(_recurring)
