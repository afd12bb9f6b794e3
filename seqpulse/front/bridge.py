"""Hand complete requests to the WSGI application, and its answers back to the client."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.http import HttpResponse

from common.holding import CAN_HOLD, HELD, Stream
from seqpulse.api import is_api_path
from seqpulse.front.bounds import Bounds, Running
from seqpulse.front.connections import ADDRESS, Refused, Scope
from seqpulse.front.refusals import Refusals
from seqpulse.front.turns import Turns
from seqpulse.front.waiting import Waiting
from seqpulse.observability.http_metrics import BEGAN

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

# How much of an answer is made ahead of what the client has taken.
AHEAD_BYTES = 256 * 1024
FILE_BLOCK_BYTES = 64 * 1024
# How many times as much as the application takes is read of a body.
DROPPED = 8
NO_BODY = (204, 304)
LIVE_PATH = "/health/live"
LOOPBACK = ("127.0.0.1", "::1")
# Headers of an answer that do not hold for the one that came of waiting.
OF_THE_FIRST = {"content-length", "retry-after"}
# Of a stream: no proxy may collect it.
STREAM = [("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no")]


class FileBlocks:
    """A file that is sent block by block, as fast as the client takes it (wsgi.file_wrapper)."""

    def __init__(self, file: Any, block_size: int = FILE_BLOCK_BYTES) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self) -> bytes:
        block: bytes = self.file.read(FILE_BLOCK_BYTES)
        return block

    def close(self) -> None:
        self.file.close()


@dataclass(slots=True)
class Answer:
    """Answer of the application, as far as it is there. file: the rest of it."""

    status: int
    headers: Headers
    body: list[bytes] = field(default_factory=list)
    file: FileBlocks | None = None

    def replaced_by(self, better: HttpResponse) -> "Answer":
        """Return the other answer, with the headers of this one that it does not have and that hold for it too."""
        headers = [*better.items(), ("Content-Length", str(len(better.content)))]
        return Answer(better.status_code, self._with(headers), [better.content])

    def as_stream(self) -> "Answer":
        """Return the beginning of a stream of events in place of this answer."""
        return Answer(200, self._with(STREAM))

    def _with(self, headers: Headers) -> Headers:
        own = {name.lower() for name, _ in headers} | OF_THE_FIRST
        return [*headers, *((name, value) for name, value in self.headers if name.lower() not in own)]

    @classmethod
    def of(cls, response: HttpResponse) -> "Answer":
        return cls(response.status_code, list(response.items()), [response.content])

    def start(self, *, whole: bool) -> dict[str, Any]:
        """Return the message that begins it. whole: the body is all there."""
        if (
            whole
            and self.status not in NO_BODY
            and not any(name.lower() == "content-length" for name, _ in self.headers)
        ):
            self.headers.append(("Content-Length", str(sum(map(len, self.body)))))
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
        return {"type": "http.response.start", "status": self.status, "headers": headers}


def environ_of(scope: Scope, body: bytes) -> Environ:
    """Return the WSGI environ of a complete request: bytes read as Latin-1 (PEP 3333)."""
    prefix = settings.FORCE_SCRIPT_NAME or ""
    path = unquote_to_bytes(scope["raw_path"]).decode("latin-1")
    # A proxy may pass the prefix on or remove it, and whoever asks this server itself does not know it.
    is_below = bool(prefix) and f"{path}/".startswith(f"{prefix}/")
    host, port = scope["server"] or ("", None)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": prefix if is_below else "",
        "PATH_INFO": path.removeprefix(prefix) if is_below else path,
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or ""),
        # "" for a Unix socket.
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "REMOTE_PORT": str(scope["client"][1]) if scope["client"] else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileBlocks,
        BEGAN: time.perf_counter(),
        ADDRESS: scope["state"][ADDRESS],
    }
    for raw_name, raw_value in scope["headers"]:
        # A name with an underscore would become the same variable as the one with a hyphen that a proxy has set.
        if b"_" in raw_name:
            continue
        name, value = f"HTTP_{raw_name.decode('latin-1').upper().replace('-', '_')}", raw_value.decode("latin-1")
        if name in environ:
            value = f"{environ[name]}{'; ' if name == 'HTTP_COOKIE' else ','}{value}"
        environ[name] = value
    if environ["REMOTE_ADDR"] in LOOPBACK and environ.get("HTTP_X_FORWARDED_PROTO") == "https":
        # Of a proxy on this machine; SECURE_PROXY_SSL_HEADER is for others.
        environ["wsgi.url_scheme"] = "https"
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    announced = environ.pop("HTTP_CONTENT_LENGTH", "")
    # A body that is too large was not read to its end: the application refuses it by the announced length.
    environ["CONTENT_LENGTH"] = announced or (str(len(body)) if body else "")
    return environ


class Call:
    """One call of the WSGI application. `run` runs in a thread of the pool."""

    def __init__(self, wsgi: Wsgi, environ: Environ, emit: Callable[[Answer], bool] | None) -> None:
        self.wsgi = wsgi
        self.environ = environ
        self.emit = emit
        self.answer = Answer(500, [])

    def run(self) -> Answer:
        """Return the answer, or what is left of it after `emit` has sent the beginning of a long one."""
        result = self.wsgi(self.environ, self.start_response)
        if isinstance(result, FileBlocks):
            self.answer.body.append(result.read())
            self.answer.file = result
            return self.answer
        try:
            size = 0
            for chunk in result:
                self.answer.body.append(chunk)
                size += len(chunk)
                if size > AHEAD_BYTES and self.emit is not None:
                    if not self.emit(self.answer):
                        break
                    self.answer.body, size = [], 0
        finally:
            if close := getattr(result, "close", None):
                close()
        return self.answer

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
        self.answer.status, self.answer.headers = int(status[:3]), headers
        return self._write

    def _write(self, chunk: bytes) -> None:
        self.answer.body.append(chunk)


class Bridge:
    """ASGI application that runs a WSGI application in threads.

    Args:
        threads: number of requests that run at once, each with a database connection of its own: half of them calls of
            the API, half of them pages, so that neither wait for the other.
        body_bytes: the application refuses larger bodies, so no more than one byte more is read.
        bounds: how many requests may be under way.
        waiting: holds the answers that views want to be held; None: they are sent at once.
    """

    def __init__(
        self, wsgi: Wsgi, *, threads: int, body_bytes: int, bounds: Bounds, waiting: Waiting | None = None
    ) -> None:
        self.wsgi = wsgi
        self.body_bytes = body_bytes
        self.bounds = bounds
        self.running = Running(bounds)
        self.refusals = Refusals(bounds)
        self.refused = Refused()
        self.waiting = waiting
        self.calls = ThreadPoolExecutor(threads // 2, thread_name_prefix="call")
        self.pages = ThreadPoolExecutor(threads // 2, thread_name_prefix="page")
        # Of its own: it has to answer also while a database that hangs keeps all others.
        self.live = ThreadPoolExecutor(1, thread_name_prefix="live")
        of_each = {self.calls: threads // 2, self.pages: threads // 2, self.live: 1}
        self.turns = {pool: Turns(number) for pool, number in of_each.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._body(receive)
        if body is not None:
            await Exchange(self, environ_of(scope, body), receive, send).run()

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the body; None if the client has gone. Of one that is too large, only the beginning.

        Most clients read an answer only after they have sent all, so some of what is too much is taken and dropped.
        """
        parts, size, more = [], 0, True
        while more and size <= self.body_bytes * DROPPED:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            if size <= self.body_bytes:
                parts.append(message["body"])
            size += len(message["body"])
            more = message["more_body"]
        return b"".join(parts)


class Exchange:
    """A complete request on its way through the application and back."""

    def __init__(self, bridge: Bridge, environ: Environ, receive: Receive, send: Send) -> None:
        self.bridge = bridge
        self.environ = environ
        self.is_live = environ["PATH_INFO"] == LIVE_PATH
        pool = bridge.calls if is_api_path(environ["PATH_INFO"]) else bridge.pages
        self.pool = bridge.live if self.is_live else pool
        self.receive = receive
        self.send = send
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.started = False
        self.gone: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        waiting = self.bridge.waiting
        self.environ[CAN_HOLD] = waiting is not None
        try:
            answer = await self._made()
            held, can_stream = self.environ.pop(HELD, None), self._knows_chunks()
            # What waits is small.
            self.environ = {}
            if held is not None and waiting is not None and not self.started:
                if not isinstance(held, Stream):
                    better = await self._unless_gone(waiting.answer(held, self.began))
                    answer = answer if better is None else answer.replaced_by(better)
                elif can_stream:
                    answer = await self._streamed(waiting.events(held), answer)
            if answer.file is not None:
                await self._send_file(answer, answer.file)
            await self._sent(answer, more=False)
        finally:
            if self.gone is not None:
                self.gone.cancel()

    async def _made(self) -> Answer:
        """Have the application make the answer, when it is the client's turn; refuse beside too many others."""
        address = self.environ[ADDRESS]
        size = self.environ["wsgi.input"].getbuffer().nbytes
        with self.bridge.running.one_of(address, size) as refused:
            if refused and not self.is_live:
                self.bridge.refused.note(refused)
                return Answer.of(self.bridge.refusals.response(refused, self.environ))
            # Without chunks, answers are sent once their length is known.
            emit = self._emit if self._knows_chunks() else None
            async with self.bridge.turns[self.pool].one_for(address):
                return await self._in_pool(Call(self.bridge.wsgi, self.environ, emit).run)

    def _knows_chunks(self) -> bool:
        return bool(self.environ["SERVER_PROTOCOL"] != "HTTP/1.0")

    async def _in_pool(self, work: Callable[[], T]) -> T:
        return await self.loop.run_in_executor(self.pool, work)

    def _client_has_gone(self) -> asyncio.Task[Any]:
        """Return the task that ends when the client goes away."""
        if self.gone is None:
            self.gone = self.loop.create_task(self.receive())  # type: ignore[arg-type]
        return self.gone

    async def _sent(self, answer: Answer, *, more: bool) -> bool:
        """Send what is there; return whether there is still somebody to take it."""
        if not self.started:
            self.started = True
            await self.send(answer.start(whole=not more))
        await self.send({"type": "http.response.body", "body": b"".join(answer.body), "more_body": more})
        return not more or not self._client_has_gone().done()

    def _emit(self, answer: Answer) -> bool:
        """Send the beginning of a long answer, from a thread; return False if nobody takes it."""
        return asyncio.run_coroutine_threadsafe(self._sent(answer, more=True), self.loop).result()

    async def _send_file(self, answer: Answer, file: FileBlocks) -> None:
        """Send all but the last block, as fast as the client takes it."""
        try:
            while block := file.read():
                if not await self._sent(answer, more=True):
                    break
                answer.body = [block]
        finally:
            # This also ends the request for Django, which then looks after the connections of a thread.
            await self._in_pool(file.close)

    async def _unless_gone(self, wanted: Awaitable[T]) -> T | None:
        """Return the result; None, and stop, once the client goes away."""
        work = asyncio.ensure_future(wanted)
        try:
            await asyncio.wait((work, self._client_has_gone()), return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))

    async def _streamed(self, events: AsyncGenerator[bytes], answer: Answer) -> Answer:
        """Send the events; return what is left to be sent: nothing, or the given answer if there were none."""
        try:
            while event := await self._unless_gone(anext(events, b"")):
                if not self.started:
                    answer = answer.as_stream()
                answer.body = [event]
                await self._sent(answer, more=True)
        finally:
            await events.aclose()
        return Answer(200, []) if self.started else answer
