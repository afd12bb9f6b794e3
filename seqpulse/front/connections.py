"""Connections of a worker: how long a client may take, and how many may be slow at once.

A client has `head_s` for the head of a request, `body_s` for its body, and `answer_s` for each piece of an answer. One
sweep looks at all connections: they need no timers of their own.
"""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


@dataclass(frozen=True, slots=True)
class Bounds:
    """What clients may take. Seconds, bytes, numbers per worker."""

    head_s: float = 10.0
    body_s: float = 20.0
    # An answer must get on by this much in this time.
    answer_s: float = 20.0
    answer_bytes: int = 16 * 1024
    head_bytes: int = 64 * 1024

    @property
    def sweep_s(self) -> float:
        return min(1.0, min(self.head_s, self.body_s, self.answer_s) / 4)


class Door:
    """All connections of a worker."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.connections: set[FrontProtocol] = set()

    async def watch(self) -> None:
        """Sweep until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.bounds.sweep_s)
            for connection in list(self.connections):
                connection.check(loop.time())


class FrontProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines."""

    def __init__(self, *, door: Door, **given: Any) -> None:
        super().__init__(**given)
        # The application logs its requests, with their ids.
        self.access_log = False
        self.door = door
        # Since when a head or a body is incomplete; None: the client owes nothing.
        self.reading_since: float | None = None
        self.in_body = False
        self.head_bytes = 0
        # Since when the client has not taken `answer_bytes`, and how much was left then.
        self.stuck_since: float | None = None
        self.left = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is None and transport.get_extra_info("socket").family != socket.AF_UNIX:
            # Gone already: without an address it would count as a client of a Unix socket, which is trusted.
            transport.abort()
        self.door.connections.add(self)
        self.reading_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.reading_since is None:
            self.reading_since = self.loop.time()
        if not self.in_body:
            self.head_bytes += len(data)
        super().data_received(data)
        if not self.in_body and self.reading_since is not None and self.head_bytes > self.door.bounds.head_bytes:
            self.refuse(431)

    def on_header(self, name: bytes, value: bytes) -> None:
        # After a body come trailers, which must not pass as headers.
        if not self.in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.in_body, self.reading_since = True, self.loop.time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.in_body, self.reading_since, self.head_bytes = False, None, 0
        super().on_message_complete()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stuck_since = None

    def is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def check(self, now: float) -> None:
        """End the connection if its client has exceeded a deadline."""
        bounds = self.door.bounds
        left = self.transport.get_write_buffer_size()
        if not left:
            self.stuck_since = None
        elif self.stuck_since is None or left <= self.left - bounds.answer_bytes:
            self.stuck_since, self.left = now, left
        elif now - self.stuck_since > bounds.answer_s:
            self.transport.abort()
            return
        if self.reading_since is None or self.transport.is_closing():
            return
        if self.in_body:
            if now - self.reading_since > bounds.body_s:
                self.refuse(408)
        # The next request may have begun while the answer to this one is being made.
        elif now - self.reading_since > bounds.head_s and not self.is_answering():
            self.refuse(408)

    def refuse(self, status: int) -> None:
        """Answer and close; only close if an answer has begun, or nothing was asked."""
        self.reading_since = None
        has_begun = self.is_answering() and self.cycle.response_started
        if not has_begun and (self.head_bytes or self.in_body):
            self.transport.write(STATUS_LINE[status] + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        if self.is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self.refuse(400)


def protocol(door: Door) -> type[asyncio.Protocol]:
    """Return what makes the protocols of a server."""
    return cast("type[asyncio.Protocol]", lambda **given: FrontProtocol(door=door, **given))
