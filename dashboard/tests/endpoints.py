"""A real metrics endpoint for pages that ask one: an HTTP server on a thread."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from demo.signature import Refused, Verifier

METRICS: dict[str, Any] = {
    "requests_per_sec": 50.0,
    "latency_p95": 120.0,
    "error_rate": 0.0,
    "cpu_usage": 0.3,
    "memory_usage": 0.4,
}


class Service:
    """Behaviour of the service, changed by tests while it runs. secrets: accepted ones; empty: no check."""

    def __init__(self) -> None:
        self.metrics: dict[str, Any] = dict(METRICS)
        self.verifiers: list[Verifier] = []
        self.status, self.raw = 200, b""
        self.headers: dict[str, str] = {}
        self.asked = 0
        self.url = ""

    def accept(self, *secrets: str) -> None:
        self.verifiers = [Verifier(secret) for secret in secrets]

    def is_refused(self, request: BaseHTTPRequestHandler) -> bool:
        headers = {name.lower(): value for name, value in request.headers.items()}
        for verifier in self.verifiers:
            try:
                verifier.check(request.command, request.path, headers, time.time())
            except Refused:
                continue
            return False
        return bool(self.verifiers)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        body = self.raw or json.dumps({"metrics": self.metrics}).encode()
        request.send_response(401 if self.is_refused(request) else self.status)
        for name, value in {"Content-Length": str(len(body)), **self.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Write nothing to the screen."""


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server on a thread until the end of the block; yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving() -> Iterator[Service]:
    """A service that runs until the end of the block."""
    service = Service()

    class Handler(Quiet):
        def do_GET(self) -> None:
            service.answer(self)

    with running(Handler) as url:
        service.url = f"{url}/ds-metrics"
        yield service
