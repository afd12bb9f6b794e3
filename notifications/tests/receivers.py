"""HTTP receivers of notifications, on loopback, that answer as configured and keep what they received."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from time import sleep
from typing import Any

from django.test import override_settings


@dataclass
class Receiver:
    """A receiver. answers: status, headers and body of the next answers, then 200.

    Below /echo it answers 404 and what it was sent. Below /hang it does not answer until `let_go`; below /drip it sends
    a byte now and then until then.
    """

    port: int = 0
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    let_go: Event = field(default_factory=Event)

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.requests]


@contextmanager
def receiving(*answers: tuple[int, dict[str, str], bytes], pause_s: float = 0.0) -> Iterator[Receiver]:
    """Run a receiver that answers after a pause, let the outbound guard through to it, and show its answers."""
    receiver = Receiver(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            if len(body) < length:
                # Its sender was killed within the request.
                self.close_connection = True
                return
            receiver.requests.append((self.path, dict(self.headers), body))
            sleep(pause_s)  # as a slow receiver
            if self.path.startswith("/hang"):
                receiver.let_go.wait(60)
            if self.path.startswith("/drip"):
                with suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    while not receiver.let_go.wait(0.2):
                        self.wfile.write(b"X")
                return
            if self.path.startswith("/echo"):
                receiver.answers.append((404, {}, f"{self.path} {self.headers}".encode() + body))
            status, headers, content = receiver.answers.pop(0) if receiver.answers else (200, {}, b"ok")
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            with suppress(OSError):
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with override_settings(SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8", SEQPULSE_SHOW_INTERNAL_ANSWERS=True):
            yield receiver
    finally:
        receiver.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()
