"""Run the front of the web server in this process, with a small WSGI application behind it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from seqpulse.front.bounds import Bounds
from seqpulse.front.bridge import Bridge, Wsgi
from seqpulse.front.server import FrontServer
from seqpulse.front.waiting import Waiting
from tests.processes import wait_for

BODY_BYTES = 1024 * 1024
THREADS = 8


class Front(FrontServer):
    """A front that runs in a thread."""

    def __init__(self, wsgi: Wsgi, bounds: Bounds, waiting: Waiting | None = None, **given: Any) -> None:
        bridge = Bridge(wsgi, threads=THREADS, body_bytes=BODY_BYTES, bounds=bounds, waiting=waiting)
        super().__init__(bridge, **given)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port: int = self.listener.getsockname()[1]

    def connect(self, sent: bytes = b"", source: str = "127.0.0.1", receive_buffer: int = 0) -> socket.socket:
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(10)
        client.bind((source, 0))
        client.connect(("127.0.0.1", self.port))
        client.sendall(sent)
        return client

    def ask(self, sent: bytes, source: str = "127.0.0.1") -> bytes:
        """Send this; return all that comes until the server closes."""
        with self.connect(sent, source) as client:
            return everything(client)

    def get(self, path: str = "/", **options: Any) -> bytes:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), **options)


@contextmanager
def front(wsgi: Wsgi, bounds: Bounds | None = None, **given: Any) -> Iterator[Front]:
    """Run a front; stop it as gunicorn does."""
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


@contextmanager
def open_sockets(connect: Callable[[], socket.socket], number: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect()) for _ in range(number)]


def everything(client: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"<reset>")
    return b"".join(parts)


def status_of(answer: bytes) -> int:
    """Return the status of an answer, 0 if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
