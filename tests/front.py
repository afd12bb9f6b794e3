"""Run the front of the web server in this process, with a small WSGI application behind it."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seqpulse.front.bounds import Bounds
from seqpulse.front.bridge import Bridge, Wsgi
from seqpulse.front.server import FrontServer
from seqpulse.front.waiting import Waiting
from tests.processes import wait_for

BODY_BYTES = 1024 * 1024


class Front(FrontServer):
    """A front that runs in a thread."""

    def __init__(self, wsgi: Wsgi, bounds: Bounds, waiting: Waiting | None = None, **given: Any) -> None:
        super().__init__(Bridge(wsgi, threads=4, body_bytes=BODY_BYTES, bounds=bounds, waiting=waiting), **given)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port: int = self.listener.getsockname()[1]

    def connect(self, sent: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), 10)
        client.sendall(sent)
        return client

    def ask(self, sent: bytes) -> bytes:
        """Send this; return all that comes until the server closes."""
        with self.connect(sent) as client:
            return everything(client)


@contextmanager
def front(wsgi: Wsgi, bounds: Bounds | None = None, **given: Any) -> Iterator[Front]:
    server = Front(wsgi, bounds or Bounds(), **given)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [server.listener]})
    thread.start()
    try:
        wait_for(lambda: server.started, "the front")
        yield server
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def everything(client: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"<reset>")
    return b"".join(parts)


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with what arrived."""
    seen = {name: value for name, value in environ.items() if isinstance(value, str)}
    seen["body"] = environ["wsgi.input"].read().decode("latin-1")
    content = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]


def seconds_until_closed(client: socket.socket) -> tuple[float, bytes]:
    began = time.monotonic()
    answer = everything(client)
    return time.monotonic() - began, answer
