"""HTTP/1.1 client with low CPU cost: persistent connections on one event loop."""

import asyncio
import itertools
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.report import percentiles

OVERLOAD_CONNECTIONS = 400


@dataclass(slots=True)
class Tally:
    """Latencies in ms of answered requests, answers by status ("lost": no answer), bytes of the last body."""

    latencies_ms: list[float] = field(default_factory=list)
    statuses: Counter[int | str] = field(default_factory=Counter)
    took_s: float = 0.0
    body_bytes: int = 0

    def figures(self) -> dict[str, Any]:
        """Return requests per second, percentiles in ms, and the number of answers other than 2xx."""
        return {
            "requests": len(self.latencies_ms),
            "req_per_s": len(self.latencies_ms) / self.took_s if self.took_s else 0.0,
            **percentiles(self.latencies_ms, 50, 95, 99),
            "errors": sum(number for status, number in self.statuses.items() if status not in (200, 202)),
        }


class Connection:
    """A persistent connection; opened on first use, and reopened if the server closed it."""

    def __init__(self, port: int, tally: Tally) -> None:
        self.port = port
        self.tally = tally
        self.writer: asyncio.StreamWriter | None = None

    async def call(self, method: str, path: str, key: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request; return the JSON of a 2xx answer, else None."""
        content = json.dumps(body).encode() if body is not None else b""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        started = time.perf_counter()
        try:
            status, answer = await self._exchange(head.encode() + content)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            self.tally.statuses["lost"] += 1
            return None
        self.tally.latencies_ms.append((time.perf_counter() - started) * 1000)
        self.tally.statuses[status] += 1
        self.tally.body_bytes = len(answer)
        return json.loads(answer) if status in (200, 202) else None

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await self.reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1]), answer

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None


Once = Callable[[Connection, str], Awaitable[None]]


async def cycle(connection: Connection, key: str) -> None:
    """Call trigger and finish."""
    started = await connection.call(
        "POST", "/deployments/trigger", key, {"env": "prod", "branch": "main", "commit_sha": "0" * 40}
    )
    if started is not None:
        finish = {"deployment_id": started["deployment_id"], "result": "success"}
        await connection.call("POST", "/deployments/finish", key, finish)


async def read(path: str, connection: Connection, key: str) -> None:
    await connection.call("GET", path, key)


async def insert(connection: Connection, key: str) -> None:
    """Call benchmarks/api/floor.py."""
    await connection.call("POST", "/", key, {"branch": "main"})


async def repeat(once: Once, port: int, keys: Sequence[str], *, seconds: float = math.inf, number: int = 0) -> Tally:
    """Repeat the calls for so many seconds or, if it is not 0, so many times; one connection per key."""
    tally = Tally()
    started = time.perf_counter()

    async def run(key: str) -> None:
        connection = Connection(port, tally)
        for _ in range(number) if number else itertools.count():
            if time.perf_counter() >= started + seconds:
                break
            await once(connection, key)
        connection.close()

    await asyncio.gather(*map(run, keys))
    tally.took_s = time.perf_counter() - started
    return tally


async def overload(port: int, keys: Sequence[str], *, per_second: float, seconds: float) -> Tally:
    """Trigger at a rate independent of the answers; without a free connection the call counts as "not sent"."""
    tally = Tally()
    free = [Connection(port, tally) for _ in range(OVERLOAD_CONNECTIONS)]
    tasks: set[asyncio.Task[None]] = set()

    async def one(connection: Connection, key: str) -> None:
        await connection.call("POST", "/deployments/trigger", key, {"env": "prod"})
        free.append(connection)

    started = time.perf_counter()
    for number in range(int(per_second * seconds)):
        wait_s = started + number / per_second - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        elif number % 50 == 0:
            await asyncio.sleep(0)
        if not free:
            tally.statuses["not sent"] += 1
            continue
        task = asyncio.create_task(one(free.pop(), keys[number % len(keys)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    tally.took_s = time.perf_counter() - started
    return tally


def median_of(tallies: Sequence[Tally]) -> dict[str, Any]:
    """Return the median of each figure over the runs, and the sum of errors and requests."""
    figures = [tally.figures() for tally in tallies]
    return {
        name: (sum if name in {"requests", "errors"} else statistics.median)(each[name] for each in figures)
        for name in figures[0]
    }
