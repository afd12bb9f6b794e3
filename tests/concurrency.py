"""Concurrent calls in tests, each in a thread with database connections of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import connections

T = TypeVar("T")


def in_background(work: Callable[[], T]) -> Future[T]:
    """Start the call; `result(timeout)` waits for it and returns its result or raises its exception."""

    def run() -> T:
        try:
            return work()
        finally:
            connections.close_all()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(run)
    pool.shutdown(wait=False)
    return future


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Start `count` calls at the same moment, each with its number; return their results in the same order."""
    barrier = threading.Barrier(count)

    def call(number: int) -> T:
        barrier.wait(30)
        return work(number)

    running = [in_background(lambda number=number: call(number)) for number in range(count)]  # type: ignore[misc]
    return [future.result() for future in running]


def results_or_refusals(calls: Sequence[Callable[[], Any]], *refusals: type[Exception]) -> list[Any]:
    """Start these calls at the same moment; return what each returned, or the refusal that it raised."""

    def call(number: int) -> Any:
        try:
            return calls[number]()
        except refusals as refused:
            return refused

    return at_once(len(calls), call)
