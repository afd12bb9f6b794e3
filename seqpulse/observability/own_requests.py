"""Count requests, latencies and errors of all web processes: in memory, shared every few seconds.

Each process adds its counts by second to one small table, so that every process can report all of them.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.http import HttpRequest, HttpResponse

from seqpulse.observability.machine import processor_meter

logger = structlog.get_logger(__name__)

SPAN_S = 60
FLUSH_EVERY_S = 2.0
# After this time every process has shared the counts of a second; until then they are not used.
SETTLED_AFTER_S = 3
KEPT_S = 180
# Latency scale with steps of 8 %, from 0.1 ms to 100 s: the error of a p95 is at most half a step.
RATIO, LOWEST_MS, STEPS = 1.08, 0.1, 180
# Monitoring requests are not counted.
UNCOUNTED = ("/ds-metrics", "/health", "/metrics", "/db-check")

ADD = """
INSERT INTO own_requests AS own (second, step, requests, errors)
SELECT * FROM unnest(%s::bigint[], %s::smallint[], %s::bigint[], %s::bigint[])
ON CONFLICT (second, step) DO UPDATE
    SET requests = own.requests + excluded.requests, errors = own.errors + excluded.errors
"""


def step_of(latency_ms: float) -> int:
    """Return the step of the latency scale for a duration."""
    if latency_ms <= LOWEST_MS:
        return 0
    return min(STEPS, math.ceil(math.log(latency_ms / LOWEST_MS) / math.log(RATIO)))


def latency_of(step: int) -> float:
    """Return the middle of a step, in ms."""
    return float(LOWEST_MS * RATIO ** (step - 0.5))


@dataclass(frozen=True, slots=True)
class Served:
    """Served requests: requests_per_sec; latency_p95 in ms, 0 without requests; error_rate 0..1."""

    requests_per_sec: float
    latency_p95: float
    error_rate: float


class RequestRecorder:
    """Counts of this process that are not shared yet. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By second and step of latency: requests, and the failed ones of them.
        self._counts: dict[tuple[int, int], tuple[int, int]] = {}

    def add(self, latency_ms: float, status: int, at: float | None = None) -> None:
        """Count an answered request. at: seconds since the epoch."""
        self._add({(int(at or time.time()), step_of(latency_ms)): (1, int(status >= 500))})

    def _add(self, counts: Mapping[tuple[int, int], tuple[int, int]]) -> None:
        with self._lock:
            for key, (requests, errors) in counts.items():
                before = self._counts.get(key, (0, 0))
                self._counts[key] = (before[0] + requests, before[1] + errors)

    def flush(self) -> int:
        """Share new counts; return the number of requests.

        Raises: DatabaseError; the counts are kept then.
        """
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return 0
        # In one order for all processes, to avoid deadlocks.
        rows = sorted((*key, *numbers) for key, numbers in counts.items())
        try:
            with connection.cursor() as cursor:
                cursor.execute(ADD, [list(column) for column in zip(*rows, strict=True)])
        except (DatabaseError, InterfaceError):
            oldest = int(time.time()) - KEPT_S
            self._add({key: numbers for key, numbers in counts.items() if key[0] > oldest})
            raise
        return sum(requests for requests, _ in counts.values())


recorder = RequestRecorder()


def served(now: float | None = None) -> Served:
    """Return the requests of all web processes in the last 60 settled seconds. now: seconds since the epoch."""
    end = int(now or time.time()) - SETTLED_AFTER_S
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT step, sum(requests)::bigint, sum(errors)::bigint FROM own_requests"
            " WHERE second > %s AND second <= %s GROUP BY step ORDER BY step",
            [end - SPAN_S, end],
        )
        rows = cursor.fetchall()
    total = sum(requests for _, requests, _ in rows)
    if not total:
        return Served(0.0, 0.0, 0.0)
    errors = sum(failed for _, _, failed in rows)
    return Served(total / SPAN_S, percentile({step: requests for step, requests, _ in rows}, 0.95), errors / total)


def percentile(counts: Mapping[int, int], share: float) -> float:
    """Return the latency in ms that this share of requests does not exceed. counts: by step, ascending."""
    wanted = math.ceil(sum(counts.values()) * share)
    for step in sorted(counts):
        wanted -= counts[step]
        if wanted <= 0:
            return latency_of(step)
    return 0.0


def forget(now: float | None = None) -> None:
    """Delete counts that are no longer used."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM own_requests WHERE second < %s", [int(now or time.time()) - KEPT_S])


class RequestRecorderMiddleware:
    """Count each answer. Waiting on the caller's request is not latency, and happens elsewhere (common/holding.py)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(UNCOUNTED):
            return self.get_response(request)
        started = time.perf_counter()
        response = self.get_response(request)
        recorder.add((time.perf_counter() - started) * 1000, response.status_code)
        return response


def start_flushing() -> threading.Thread:
    """Share this process's counts every two seconds, from a daemon thread."""
    thread = threading.Thread(target=_flush_forever, name=f"own-requests-{os.getpid()}", daemon=True)
    thread.start()
    return thread


def _flush_forever() -> None:
    turns = 0
    while True:
        time.sleep(FLUSH_EVERY_S)
        turns += 1
        try:
            processor_meter().usage()
            close_old_connections()
            recorder.flush()
            if turns % 30 == 0:
                forget()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("own_requests_not_shared", error=str(error).strip())
            connection.close()
