"""Job kinds that only tests know."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
from django.db import connection

from scheduler import recurring, registry
from scheduler.listener import connection_parameters
from scheduler.models import ScheduledJob
from scheduler.queue import database_now
from scheduler.registry import Ended, Job, JobError, JobKind
from scheduler.retry import NO_RETRY, RetryPolicy


@contextmanager
def plain_connection() -> Iterator[psycopg.Connection[Any]]:
    """Another connection to the database of the test, without Django."""
    with psycopg.connect(**connection_parameters(), autocommit=True) as link:
        yield link


class Journal:
    """Actions of the test kinds, by job id."""

    def __init__(self) -> None:
        self.ran: Counter[int] = Counter()
        self.recorded: list[tuple[int, Any]] = []
        self.ended: list[Ended] = []
        self.gate = threading.Event()
        self.lock = threading.Lock()

    def saw(self, job: Job) -> None:
        with self.lock:
            self.ran[job.id] += 1


def calling_back(journal: Journal, job: Job, _prepared: Any, ended: Callable[[Any], None]) -> None:
    """Do what the job's metadata says with its callback."""
    journal.saw(job)
    how = job.metadata["how"]
    if how == "later":
        asyncio.get_running_loop().call_later(0.3, ended, how)
    elif how == "error":
        ended(JobError("http_4xx", status=404, url="the endpoint", retry=False))
    elif how == "exception":
        ended(ZeroDivisionError("passed on"))
    elif how != "raises":
        ended(how)
        ended("a second time")
    if how.startswith("raises"):
        raise ZeroDivisionError("raised")


@contextmanager
def announced_kinds() -> Iterator[Journal]:
    """Announces the kinds listed below for the time of a test; the apps' recurring work rests meanwhile."""
    journal = Journal()

    async def quick(job: Job, prepared: Any) -> str:
        journal.saw(job)
        return f"result of {job.id}"

    async def slow(job: Job, prepared: Any) -> None:
        journal.saw(job)
        await asyncio.sleep(0.3)

    async def held(job: Job, prepared: Any) -> None:
        journal.saw(job)
        while not journal.gate.is_set():
            await asyncio.sleep(0.01)

    def computing(job: Job, prepared: Any) -> str:
        journal.saw(job)
        return threading.current_thread().name

    async def failing(job: Job, prepared: Any) -> None:
        journal.saw(job)
        raise JobError("http_5xx", status=503, url="the endpoint", retry=job.metadata.get("retry", True))

    async def raising(job: Job, prepared: Any) -> None:
        journal.saw(job)
        raise ZeroDivisionError("half a pair: \ud800" if job.phase else "broken\0handler")

    def record(done: Sequence[tuple[Job, Any]]) -> None:
        for job, result in done:
            if job.metadata.get("unrecordable"):
                raise ValueError("this one cannot be recorded")
            journal.recorded.append((job.id, result))

    def prepare(jobs: Sequence[Job]) -> dict[int, Any]:
        for job in jobs:
            if job.metadata.get("unpreparable"):
                raise KeyError("this one cannot be prepared")
        return {job.id: "ready" for job in jobs}

    def cursed(jobs: Sequence[Ended]) -> None:
        if any(job.sequence_index == 13 for job in jobs):
            raise ValueError("the thirteenth")
        journal.ended.extend(jobs)

    def blocking(job: Job, prepared: Any) -> None:
        journal.saw(job)
        journal.gate.wait(30)

    def writing(job: Job, prepared: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO running_totals (name, labels, part, value) VALUES ('written', '', '', 1)")
        journal.saw(job)

    kinds = [
        JobKind("quick", quick, RetryPolicy(), prepare, record, journal.ended.extend),
        JobKind("slow", slow, RetryPolicy(), on_finished=journal.ended.extend),
        JobKind("held", held, NO_RETRY, on_finished=journal.ended.extend),
        JobKind("computing", computing, RetryPolicy(), record=record, on_finished=journal.ended.extend),
        JobKind("failing", failing, RetryPolicy(), on_finished=journal.ended.extend),
        JobKind("raising", raising, NO_RETRY, on_finished=journal.ended.extend),
        JobKind("cursed", quick, RetryPolicy(), on_finished=cursed),
        JobKind("writing", writing, NO_RETRY),
        JobKind("calling_back", partial(calling_back, journal), NO_RETRY, record=record),
        JobKind("blocking", blocking, NO_RETRY, max_concurrency=1),
    ]
    registry._kinds.update({kind.name: kind for kind in kinds})
    others = dict(recurring._recurring)
    recurring._recurring.clear()
    try:
        yield journal
    finally:
        recurring._recurring.update(others)
        for kind in kinds:
            del registry._kinds[kind.name]


def make_job(job_type: str = "quick", *, due_in_s: float = -0.001, **columns: Any) -> ScheduledJob:
    """A pending job that is due so many seconds from now by the database's clock (negative: in the past)."""
    now = database_now()
    expires_in_s = columns.pop("expires_in_s", None)
    return ScheduledJob.objects.create(
        job_type=job_type,
        scheduled_at=now + timedelta(seconds=due_in_s),
        expires_at=None if expires_in_s is None else now + timedelta(seconds=expires_in_s),
        **columns,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
