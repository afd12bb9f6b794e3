"""Measure the CPU of scraping an exposition of 2 MB: the whole reading of a source, beside the library's parser."""

import asyncio
import contextlib
import gzip
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")
django.setup()

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from benchmarks.report import print_json, print_table  # noqa: E402
from metrics.sources.base import Asking, State  # noqa: E402
from metrics.sources.http_endpoint import Endpoint  # noqa: E402
from metrics.sources.openmetrics import OpenMetricsKind  # noqa: E402
from outbound.addresses import AllowList  # noqa: E402
from outbound.fetcher import Fetcher  # noqa: E402

BYTES = 2_000_000
RUNS = 15
BOUND_MS = 30
BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf")


def exposition(share: float, seed: int = 1) -> bytes:
    """Return an exposition of BYTES, of which a share is the histogram of the durations of requests."""
    chance, lines, size = random.Random(seed), list[str](), 0
    name, route = "http_request_duration_seconds", 0
    lines.append(f"# TYPE {name} histogram")
    while size < share * BYTES:
        route += 1
        status = "503" if chance.random() < 0.1 else "200"
        labels = f'handler="/api/v1/things/{{id}}/{route}",method="GET",status="{status}"'
        counts = sorted(chance.randrange(1, 100_000) for _ in BOUNDS)
        part = [f'{name}_bucket{{{labels},le="{le}"}} {n}.0' for le, n in zip(BOUNDS, counts, strict=True)]
        part += [f"{name}_count{{{labels}}} {counts[-1]}.0", f"{name}_sum{{{labels}}} {counts[-1] / 20}"]
        lines += part
        size += sum(map(len, part)) + len(part)
    family = 0
    while size < BYTES:
        family += 1
        part = [f"# HELP other_metric_{family} Something else.", f"# TYPE other_metric_{family} gauge"]
        part += [
            f'other_metric_{family}{{instance="10.0.0.{n}:9100",device="sda{n}",queue="default"}} {chance.random()}'
            for n in range(20)
        ]
        lines += part
        size += sum(map(len, part)) + len(part)
    return ("\n".join(lines) + "\n").encode()


def serve(pages: dict[str, bytes], port: Connection) -> None:
    """Serve pages, compressed, until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            for header, value in (
                ("Content-Type", "text/plain; version=0.0.4"),
                ("Content-Encoding", "gzip"),
                ("Content-Length", str(len(pages[self.path]))),
            ):
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(pages[self.path])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def served(pages: dict[str, bytes]) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    compressed = {path: gzip.compress(body, 6) for path, body in pages.items()}
    process = multiprocessing.Process(target=serve, args=(compressed, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


async def scrapes_ms(url: str) -> list[float]:
    """Return the CPU (ms) of each of some readings, the first ones left out; each compares with the one before."""
    kind, fetcher = OpenMetricsKind(), Fetcher(AllowList.parse("127.0.0.0/8"))
    config = kind.parse({"url": url, "pause_s": 1})
    now, state, took = datetime.now(UTC), b"", list[float]()
    for _ in range(RUNS):
        now += timedelta(minutes=1)
        begun = time.process_time()
        asking = Asking(fetcher, now, now, Endpoint("", "project"), state=State(state))
        metrics = await kind.read(config, asking)
        took.append((time.process_time() - begun) * 1000)
        state = asking.state.after or b""
        assert metrics.requests_per_sec is not None  # noqa: S101  (what is measured has to be right)
    await fetcher.aclose()
    return took[2:]


def library_ms(body: bytes) -> float:
    """Return the CPU (ms) of the parser of the library, without any computation."""
    begun = time.process_time()
    sum(len(family.samples) for family in text_string_to_metric_families(body.decode()))
    return (time.process_time() - begun) * 1000


def main() -> int:
    """Print the CPU of a scrape beside the library's; return 1 where the median is over the bound."""
    rows: list[dict[str, Any]] = []
    bodies = {f"/{share}": exposition(share / 100) for share in (5, 50, 100)}
    with served(bodies) as site:
        for path, body in bodies.items():
            took = asyncio.run(scrapes_ms(site + path))
            rows.append(
                {
                    "needed": f"{path[1:]} %",
                    "bytes": len(body),
                    "lines": body.count(b"\n"),
                    "scrape_cpu_ms": median(took),
                    "most_ms": max(took),
                    "library_cpu_ms": library_ms(body),
                }
            )
    print_table(rows)
    print_json("sources.scrape", rows, bound_ms=BOUND_MS)
    return int(any(row["scrape_cpu_ms"] > BOUND_MS for row in rows))


if __name__ == "__main__":
    sys.exit(main())
