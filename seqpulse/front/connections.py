"""Connections of a worker: how long a client may take, and how many may be slow at once.

One sweep looks at all connections, so that they need no timers of their own. A client that has not sent the rest of
a request, or does not take an answer, is slow; only slow connections are ended, the oldest ones of an address first.
So another client behind the same address, or the same client that sends complete requests, is served.
"""

import asyncio
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, MutableMapping
from types import SimpleNamespace
from typing import Any, cast

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from security.callers import Network, client_address, is_trusted
from security.limits import bucket_of
from seqpulse.front.bounds import Running
from seqpulse.observability.http_metrics import REFUSED

logger = structlog.get_logger(__name__)

# Of a socket: what a client does not take should not fill the memory of the system either.
SEND_BUFFER_BYTES = 128 * 1024
LOG_EVERY_S = 10.0
SWEPT_AT_ONCE = 50
# Key in the state of a scope, and in the WSGI environ: the address on which the request counts.
ADDRESS = "seqpulse.address"
# Headers that tell where a body ends.
LENGTH_OF_BODY = (b"content-length", b"transfer-encoding")

Scope = MutableMapping[str, Any]


class Refused:
    """Counts the clients that a worker refuses: for its metrics, and for a line in the log from time to time."""

    def __init__(self) -> None:
        # Since the last line, by status.
        self.counts: Counter[int] = Counter()
        self.logged_at = 0.0

    def note(self, status: int) -> None:
        REFUSED.labels(str(status)).inc()
        self.counts[status] += 1

    def log(self, now: float) -> None:
        """Log the numbers, if there are any and the last line was long enough ago."""
        if self.counts and now - self.logged_at > LOG_EVERY_S:
            self.logged_at = now
            logger.warning("clients_refused", **{f"status_{status}": count for status, count in self.counts.items()})
            self.counts.clear()


class Door:
    """All connections of a worker.

    Args:
        running: counts the bytes of their requests.
        refusal: returns the bytes of an answer: status, and the request's scope if its head is known.
        proxies: networks of trusted proxies. Such a proxy is no client: what it forwards counts by the address that
            it names.
        refused: counts the clients that are refused here.
    """

    def __init__(
        self,
        running: Running,
        refusal: Callable[[int, Scope | None], bytes],
        proxies: list[Network],
        refused: Refused,
    ) -> None:
        self.bounds = running.bounds
        self.running = running
        self.refusal = refusal
        self.proxies = proxies
        # By address of the peer, oldest first.
        self.connections: defaultdict[str, dict[FrontProtocol, None]] = defaultdict(dict)
        self.number = 0
        self.refused = refused

    def enter(self, connection: "FrontProtocol") -> None:
        self.connections[connection.peer][connection] = None
        self.number += 1
        if self.number > self.bounds.connections:
            self._make_room(connection)

    def leave(self, connection: "FrontProtocol") -> None:
        if self.connections[connection.peer].pop(connection, self) is None:
            self.number -= 1
        if not self.connections[connection.peer]:
            del self.connections[connection.peer]

    def _make_room(self, newest: "FrontProtocol") -> None:
        """End the oldest connection that is slow, else that is idle, of the address that has most; else the newest."""
        most = max(self.connections.values(), key=len)
        slow = (each for each in most if each is not newest and each.is_slow())
        idle = (each for each in most if not each.is_answering() and not each.transport.is_closing())
        ended = next(slow, None) or next(idle, newest)
        if ended is newest:
            # It is told, although it has not asked yet.
            newest.bytes = 1
        ended.refuse(503)

    def free_bytes(self) -> None:
        """End the largest request that is not complete, or not begun, of the address that holds most bytes."""
        large = (
            each
            for those in self.connections.values()
            for each in those
            if each.held > self.bounds.small_bytes and not each.transport.is_closing()
        )
        ended = max(large, key=lambda each: (self.running.bytes[each.held_on], each.held), default=None)
        if ended is not None:
            ended.refuse(503)

    def address_of(self, peer: str, forwarded: str) -> str:
        """Return the address on which a request counts; "" for a proxy that names no client, and for a Unix socket."""
        if not is_trusted(peer, self.proxies):
            return peer and bucket_of(peer)
        client = client_address(peer, forwarded, self.proxies)
        return bucket_of(client) if client and client != peer else ""

    def _drop_untaken(self, behind: list[tuple[float, "FrontProtocol"]]) -> None:
        """End those that have been taking an answer for longest, while more bytes are left than may be kept in all."""
        left = sum(connection.transport.get_write_buffer_size() for _, connection in behind)
        behind.sort(key=lambda each: each[0])
        for _, connection in behind:
            if left <= self.bounds.untaken_bytes:
                break
            left -= connection.transport.get_write_buffer_size()
            self.refused.note(408)
            connection.transport.abort()

    async def watch(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self.bounds.sweep_s)
            await self.sweep(asyncio.get_running_loop().time())

    async def sweep(self, now: float) -> None:
        """End connections that have exceeded a deadline, and of each address those above its number of slow ones.

        A few at a time: what comes meanwhile does not wait until hundreds of them are ended.
        """
        slow: defaultdict[str, list[tuple[float, FrontProtocol]]] = defaultdict(list)
        behind: list[tuple[float, FrontProtocol]] = []
        for place, connection in enumerate([each for those in self.connections.values() for each in those]):
            if place % SWEPT_AT_ONCE == 0:
                await asyncio.sleep(0)
            since = connection.check(now)
            if connection.address and now - since > self.bounds.slow_s:
                slow[connection.address].append((since, connection))
            if connection.left_since is not None and now - connection.left_since > self.bounds.slow_s:
                behind.append((connection.left_since, connection))
        self._drop_untaken(behind)
        for those in slow.values():
            if len(those) > self.bounds.slow_per_address:
                those.sort(key=lambda each: each[0])
                for place, (_, connection) in enumerate(those[: -self.bounds.slow_per_address]):
                    if place % SWEPT_AT_ONCE == 0:
                        await asyncio.sleep(0)
                    # It may have got on meanwhile.
                    if connection.is_slow():
                        connection.refuse(429)
        self.refused.log(now)


class FrontProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds."""

    def __init__(self, *, door: Door, **given: Any) -> None:
        super().__init__(**given)
        # The application logs its requests, with their ids.
        self.access_log = False
        self.door = door
        self.peer = ""
        self.is_proxy = False
        # On which the connection counts; "": on none.
        self.address = ""
        # Since when a head or a body is incomplete; None: nothing is incomplete.
        self.reading_since: float | None = None
        self.in_body = False
        # Of the request that is being read.
        self.bytes = self.pieces = 0
        # Bytes of requests that the application does not have yet, and the address on which they count.
        self.held, self.held_on = 0, ""
        # Of a client that asks for another protocol: what has just come, and whether what follows is ignored.
        self.data = b""
        self.wants_upgrade = self.is_last = False
        # Since when the client has taken less than `answer_bytes` of what was left then.
        self.stuck_since: float | None = None
        # Since when anything is left.
        self.left_since: float | None = None
        self.left = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        link = transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if self.client is not None:
            self.peer = self.client[0]
        elif link.family != socket.AF_UNIX:
            # Gone already: without an address it would count as a client of a Unix socket, which is trusted.
            transport.abort()
        self.is_proxy = is_trusted(self.peer, self.door.proxies)
        self.address = self.door.address_of(self.peer, "")
        self._expect_request()
        self.door.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hold(0)
        self.door.leave(self)
        super().connection_lost(exc)

    def _hold(self, size: int) -> int:
        """Count so many bytes from now on; return the status with which the client is to be refused, else 0."""
        running = self.door.running
        running.release(self.held_on, self.held)
        self.held, self.held_on = size, self.address
        return running.hold(self.held_on, size)

    def _expect_request(self) -> None:
        self.reading_since, self.in_body = self.loop.time(), False
        self.bytes = self.pieces = 0

    def data_received(self, data: bytes) -> None:
        if self.is_last:
            return
        if self.reading_since is None:
            self._expect_request()
        self.bytes += len(data)
        self.pieces += 1
        self.data = data
        super().data_received(data)
        self.data = b""
        if self.transport.is_closing():
            return
        is_held = self.reading_since is not None or self.pipeline
        refused = self._hold(self.held + len(data) if is_held else 0)
        if refused == 429:
            self.refuse(429)
            return
        if refused:
            self.door.free_bytes()
        if self.reading_since is None or self.transport.is_closing():
            return
        bounds = self.door.bounds
        if not self.in_body and self.bytes > bounds.head_bytes:
            self.refuse(431)
        elif self.pieces > bounds.pieces and self.bytes < self.pieces * bounds.piece_bytes:
            self.refuse(400)

    def _unsupported_upgrade_warning(self) -> None:
        """Read the body of a request that asks for another protocol: the parser has stopped after its head.

        Java's client asks for HTTP/2 like that, also with a POST.
        """
        if self.is_last:
            return
        rest = self.data[cast("httptools.HttpParserUpgrade", sys.exc_info()[1]).args[0] :]
        length = [b"%b: %b\r\n" % field for field in self.headers if field[0] in LENGTH_OF_BODY]
        callbacks = SimpleNamespace(on_body=self.on_body, on_message_complete=self.on_message_complete)
        self.parser = httptools.HttpRequestParser(callbacks)
        super().data_received(b"POST / HTTP/1.1\r\n%b\r\n%b" % (b"".join(length), rest))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.reading_since is None:
            # It follows another request in the same piece.
            self._expect_request()
            self.bytes = 1
        if self.is_proxy:
            self.address = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        # After a body come trailers, which must not pass as headers.
        if not self.in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        bounds = self.door.bounds
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > bounds.head_bytes or len(self.headers) > bounds.fields:
            self.refuse(431)
            raise httptools.HttpParserError("too large")
        if len(self.pipeline) >= bounds.pipelined:
            self.refuse(429)
            raise httptools.HttpParserError("too many")
        if self.is_proxy:
            forwarded = b",".join(value for name, value in self.headers if name == b"x-forwarded-for")
            self.address = self.door.address_of(self.peer, forwarded.decode("latin-1"))
        self.scope["state"][ADDRESS] = self.address
        super().on_headers_complete()
        self.in_body, self.reading_since = True, self.loop.time()
        if self.parser.should_upgrade():
            # What follows could be of another protocol, which is not spoken here.
            self.cycle.keep_alive, self.wants_upgrade = False, True

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and any(name in LENGTH_OF_BODY for name, _ in self.headers):
            return  # its body follows
        self.is_last = self.wants_upgrade
        self.reading_since, self.in_body = None, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.reading_since is None and not self.pipeline:
            self._hold(0)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stuck_since = None

    def is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def is_slow(self) -> bool:
        """Return whether the client is to send, or to take, something."""
        return self.reading_since is not None or self.left_since is not None

    def check(self, now: float) -> float:
        """End the connection if its client has exceeded a deadline; return since when it is slow, else `now`."""
        bounds = self.door.bounds
        left = self.transport.get_write_buffer_size()
        if not left:
            self.stuck_since = self.left_since = None
        elif self.stuck_since is None or left <= self.left - bounds.answer_bytes:
            self.stuck_since, self.left = now, left
            self.left_since = self.left_since or now
        elif now - self.stuck_since > bounds.answer_s:
            self.door.refused.note(408)
            self.transport.abort()
        if self.transport.is_closing():
            return now
        if self.reading_since is not None and (self.pipeline or (self.is_answering() and not self.in_body)):
            # The next request may begin while this one is being answered; reading is paused then.
            self.reading_since = now
        if self.reading_since is not None and now - self.reading_since > (
            bounds.body_s if self.in_body else bounds.head_s
        ):
            self.refuse(408)
            return now
        return min(self.reading_since or now, self.left_since or now)

    def refuse(self, status: int) -> None:
        """Answer and close. Only close if the answer has begun, or nothing was asked."""
        has_asked = self.bytes > 0 and self.reading_since is not None
        is_free = not self.pipeline and not (self.cycle.response_started if self.in_body else self.is_answering())
        self._hold(0)
        if has_asked and is_free:
            self.door.refused.note(status)
            self.transport.write(self.door.refusal(status, cast("Scope", self.scope) if self.in_body else None))
        self.reading_since = None
        if self.is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.left_since is None:
            self.transport.close()
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        if not self.is_last and not self.transport.is_closing():
            self.refuse(400)

    def shutdown(self) -> None:
        """Let the answer that is under way be the last one; do not wait for requests that are not there yet."""
        if self.reading_since is not None:
            self.refuse(503)
        super().shutdown()


def protocol(door: Door) -> type[asyncio.Protocol]:
    """Return what makes the protocols of a server."""
    return cast("type[asyncio.Protocol]", lambda **given: FrontProtocol(door=door, **given))
