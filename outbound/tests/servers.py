"""Servers that send raw bytes, and helpers to call them with each client: the Fetcher and `session.call`."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from outbound.addresses import AllowList
from outbound.fetcher import Fetcher, OutboundError, Response
from outbound.session import Answer as Called
from outbound.session import call

LOCAL = AllowList.parse("127.0.0.0/8, ::1")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
# Options of `Fetcher.get`; the others are those of Fetcher.
OF_GET = ("headers", "timeout_s", "max_bytes", "method", "body", "gzip", "ca_pem")
T = TypeVar("T")
Answer = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Scenario = Callable[["Server", Fetcher], Awaitable[T]]


class Server:
    """A server that sends raw bytes and records requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = self.active = self.most_active = self.ended_by_client = 0
        self.requests: list[bytes] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.answer(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.ended_by_client += 1
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        return head

    def header(self, index: int, name: str) -> list[str]:
        lines = self.requests[index].decode("latin-1").split("\r\n")
        return [line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}:")]


class ProxyServer(Server):
    """An HTTP proxy that resolves `names` itself; the heads of what it is asked are its requests."""

    def __init__(self, names: dict[str, str] | None = None, *, authorization: str = "") -> None:
        super().__init__(self.relay)
        self.names = names or {}
        self.authorization = authorization

    async def relay(self, _server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await self.request(reader)
        line, _, fields = head.partition(b"\r\n")
        method, target, _ = line.decode().split(" ")
        if self.authorization and f"\r\nProxy-Authorization: {self.authorization}\r\n".encode() not in head:
            writer.write(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host = self.names.get(parts.hostname or "", parts.hostname)
        try:
            there, onward = await asyncio.open_connection(host, parts.port or 80)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad")
            return
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n")
        else:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            onward.write(f"{method} {path} HTTP/1.1\r\n".encode() + fields)
        await asyncio.gather(_copy(reader, onward), _copy(there, writer), return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    while not condition():
        await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(server: Server, tls: ssl.SSLContext | None = None) -> Any:
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def play(server: Server, scenario: Scenario[T], *, tls: ssl.SSLContext | None = None, **options: Any) -> T:
    """Run `scenario` with the server and a fetcher on one event loop."""

    async def main() -> T:
        fetcher = Fetcher(**{"allow": LOCAL, **options})
        async with serving(server, tls):
            try:
                return await scenario(server, fetcher)
            finally:
                await fetcher.aclose()

    return asyncio.run(main())


def says(raw: bytes) -> Server:
    """Return a server that sends these bytes after each request and keeps the connection open."""

    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.request(reader)
            writer.write(raw)
            await writer.drain()

    return Server(answer)


def goes_on_with(raw: bytes, chunk: bytes, pause_s: float) -> Server:
    """Return a server that sends `raw` and then `chunk` repeatedly."""

    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(raw)
        while not reader.at_eof():
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause_s)
        raise ConnectionError

    return Server(answer)


def fetch(
    server: Server, path: str = "/", *, host: str = "127.0.0.1", scheme: str = "http", port: int = 0, **options: Any
) -> Response:
    """Send one request, to the server's port where no other is given. options: of Fetcher, and of its `get`."""
    get = {name: options.pop(name) for name in OF_GET if name in options}
    return play(
        server,
        lambda s, f: f.get(f"{scheme}://{host}:{port or s.port}{path}", **{"headers": {}, **get}),
        **options,
    )


def call_once(
    server: Server,
    path: str = "/",
    *,
    host: str = "127.0.0.1",
    scheme: str = "http",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    method: str = "GET",
    **options: Any,
) -> Called:
    """Do as `fetch` with `session.call`, which takes no event loop. options: of `call`, or the fetcher's names."""
    for name, same in ("timeout_s", "deadline_s"), ("max_bytes", "most_bytes"):
        if name in options:
            options[same] = options.pop(name)

    async def main() -> Called:
        async with serving(server, tls):
            url = f"{scheme}://{host}:{port or server.port}{path}"
            return await asyncio.to_thread(call, method, url, **{"allow": LOCAL, **options})

    return asyncio.run(main())


CLIENTS: dict[str, Callable[..., Any]] = {"fetcher": fetch, "session": call_once}


def failure(server: Server, path: str = "/", *, send: Callable[..., Any] = fetch, **options: Any) -> OutboundError:
    with pytest.raises(OutboundError) as caught:
        send(server, path, **options)
    return caught.value
