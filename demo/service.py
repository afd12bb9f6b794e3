"""Simulate a service: a process that answers real requests and measures itself.

GET /work            a user's request: latency and failures depend on the active version
GET /ds-metrics      the metrics endpoint, signed (signature v2); only with --speaks json
GET /metrics         the same as exposition format; only with --speaks exposition
GET /level           the same numbers unsigned, for demo/play.py
POST /deploy/NAME    activate another version

All numbers are measured: latency, errors and traffic over the last two seconds, the CPU time of this process, and
its resident memory as a ratio of MEMORY_LIMIT_BYTES.
"""

import argparse
import asyncio
import json
import math
import os
import random
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest

from demo.signature import Refused, Verifier

WINDOW_S = 2.0
CPU_LOOK_EVERY_S = 0.25
HEAD_TIMEOUT_S = 10.0
MEMORY_LIMIT_BYTES = 256 * 1024 * 1024
JSON, EXPOSITION, NOTHING = "json", "exposition", "nothing"
BUCKETS_S = (0.05, 0.1, 0.15, 0.16, 0.17, 0.18, 0.2, 0.25, 0.3, 0.34, 0.36, 0.38, 0.4, 0.5, 1.0, float("inf"))
DURATIONS = Histogram("http_request_duration_seconds", "Time that requests took", ["status"], buckets=BUCKETS_S)
SECRET_VARIABLE = "DEMO_HMAC_SECRET"  # noqa: S105  (the name of a variable)


@dataclass(frozen=True, slots=True)
class Version:
    """Behaviour of a version.

    latency_ms: range of the uniformly distributed latency. fails: probability that a request is answered with 500.
    """

    latency_ms: tuple[float, float]
    fails: float = 0.0


# p95 of about 180 ms and 380 ms: more than 2 times, well below the 3.2 times of a rollback. So many errors that the few
# journeys of a demo prove a rollback, whatever chance does (tests/test_demo.py).
VERSIONS = {"good": Version((150, 180)), "slow": Version((340, 385)), "broken": Version((150, 180), fails=0.8)}


@dataclass
class Meter:
    """Requests and CPU of the last WINDOW_S seconds. Times are seconds of one monotonic clock."""

    arrivals: deque[float] = field(default_factory=deque)
    answers: deque[tuple[float, float, bool]] = field(default_factory=deque)
    cpu: deque[tuple[float, float]] = field(default_factory=deque)

    def arrived(self, now: float) -> None:
        self.arrivals.append(now)

    def answered(self, now: float, latency_ms: float, failed: bool) -> None:
        self.answers.append((now, latency_ms, failed))

    def cpu_used(self, now: float, seconds: float) -> None:
        self.cpu.append((now, seconds))

    def metrics(self, now: float) -> dict[str, float]:
        """Return the five metrics: requests per second, ms, and ratios 0..1."""
        while self.arrivals and self.arrivals[0] < now - WINDOW_S:
            self.arrivals.popleft()
        while self.answers and self.answers[0][0] < now - WINDOW_S:
            self.answers.popleft()
        while len(self.cpu) > 2 and self.cpu[0][0] < now - WINDOW_S:
            self.cpu.popleft()
        latencies = sorted(latency for _, latency, _ in self.answers)
        failed = sum(1 for _, _, failed in self.answers if failed)
        return {
            "requests_per_sec": len(self.arrivals) / WINDOW_S,
            "latency_p95": latencies[math.ceil(0.95 * len(latencies)) - 1] if latencies else 0.0,
            "error_rate": failed / len(latencies) if latencies else 0.0,
            "cpu_usage": self._cpu_usage(),
            "memory_usage": min(1.0, psutil.Process().memory_info().rss / MEMORY_LIMIT_BYTES),
        }

    def _cpu_usage(self) -> float:
        if len(self.cpu) < 2 or self.cpu[-1][0] <= self.cpu[0][0]:
            return 0.0
        (start, before), (end, after) = self.cpu[0], self.cpu[-1]
        return min(1.0, max(0.0, (after - before) / (end - start)) / (os.cpu_count() or 1))


class Service:
    """HTTP server on one event loop: a coroutine per connection, one request per connection."""

    def __init__(self, secret: str, speaks: str) -> None:
        self.speaks = speaks
        self.meter = Meter()
        self.verifier = Verifier(secret)
        self.version = VERSIONS["good"]
        self.random = random.Random(20)  # noqa: S311

    async def work(self) -> int:
        """Serve a user's request; return the HTTP status."""
        version, started = self.version, time.monotonic()
        self.meter.arrived(started)
        # By chance: a pattern would meet the pattern of journeys, which ask one request after another.
        failed = self.random.random() < version.fails
        await asyncio.sleep(self.random.uniform(*version.latency_ms) / 1000)
        now = time.monotonic()
        self.meter.answered(now, (now - started) * 1000, failed)
        DURATIONS.labels("500" if failed else "200").observe(now - started)
        return 500 if failed else 200

    async def answer(
        self, method: str, target: str, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, object] | bytes]:
        """Return status and body for one request: JSON, or exposition format as bytes."""
        path = target.partition("?")[0].rstrip("/") or "/"
        if (method, path) == ("GET", "/work"):
            status = await self.work()
            return status, {"ok": status == 200}
        if (method, path, self.speaks) == ("GET", "/metrics", EXPOSITION):
            return 200, generate_latest()
        if (method, path, self.speaks) == ("GET", "/ds-metrics", JSON):
            try:
                self.verifier.check(method, target, headers, time.time())
            except Refused as refused:
                return 401, {"error": str(refused)}
        if (method, path, self.speaks) == ("GET", "/ds-metrics", JSON) or (method, path) == ("GET", "/level"):
            return 200, {"metrics": self.meter.metrics(time.monotonic())}
        name = path.removeprefix("/deploy/")
        if method == "POST" and name in VERSIONS:
            self.version = VERSIONS[name]
            return 200, {"version": name}
        return 404, {"error": "nothing here"}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: one request, one answer."""
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request, *lines = head.rstrip().split("\r\n")
            method, target, _ = request.split(" ", 2)
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            status, body = await self.answer(method, target, headers)
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            kind = CONTENT_TYPE_LATEST if isinstance(body, bytes) else "application/json"
            writer.write(
                f"HTTP/1.1 {status} {'OK' if status == 200 else 'Error'}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode()
                + payload
            )
            await writer.drain()
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client does not speak HTTP or has disconnected
        finally:
            writer.close()

    async def watch_cpu(self) -> None:
        while True:
            self.meter.cpu_used(time.monotonic(), time.process_time())
            await asyncio.sleep(CPU_LOOK_EVERY_S)


async def serve(port: int, secret: str, speaks: str) -> None:
    """Serve on the loopback address until SIGTERM."""
    service = Service(secret, speaks)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    watcher = asyncio.create_task(service.watch_cpu())
    server = await asyncio.start_server(service.handle, "127.0.0.1", port)
    await stop.wait()
    server.close()
    watcher.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.service")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--speaks", choices=[JSON, EXPOSITION, NOTHING], default=JSON)
    options = parser.parse_args()
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret and options.speaks == JSON:
        parser.error(f"{SECRET_VARIABLE} is not set")
    asyncio.run(serve(options.port, secret, options.speaks))


if __name__ == "__main__":
    main()
