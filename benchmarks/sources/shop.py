"""Serve a small shop with a /metrics page, as many services do: `python -m benchmarks.sources.shop PORT VERSION`.

Versions: 1; slow, which takes twice as long; broken, whose front page answers 200 without its text. Its process id is
left in shop.pid.
"""

import os
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest

LATENCY_S = {"1": (0.06, 0.14), "slow": (0.2, 0.32), "broken": (0.06, 0.14)}
DURATIONS = Histogram("http_request_duration_seconds", "Time that requests took", ["status"])


class Shop(BaseHTTPRequestHandler):
    version = "1"

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self.answer(generate_latest(), CONTENT_TYPE_LATEST)
            return
        begun = time.monotonic()
        time.sleep(random.uniform(*LATENCY_S[self.version]))
        text = "Something went wrong" if self.version == "broken" else "Welcome to the shop"
        self.answer(f"<html><h1>{text}</h1></html>".encode(), "text/html")
        DURATIONS.labels(status="200").observe(time.monotonic() - begun)

    def answer(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


def main() -> None:
    Shop.version = sys.argv[2]
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop)
    Path("shop.pid").write_text(str(os.getpid()))
    server.serve_forever()


if __name__ == "__main__":
    main()
