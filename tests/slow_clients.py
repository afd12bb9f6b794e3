"""Clients that are slow, each in its own way: `python -m tests.slow_clients PORT NUMBER PATH`.

Opens NUMBER connections to the port, as many of each kind, and again where the server has ended one; prints "ready"
once all have been opened, and runs until its standard input is closed. PATH: of an answer of some hundred KB.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

HEAD = b"POST /deployments/trigger HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
PAUSE_S = 0.5
Client = Callable[[int, str], Awaitable[None]]


async def connected(port: int, receive_buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    link = socket.socket()
    link.setblocking(False)
    if receive_buffer:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=link)


def that_sends(beginning: bytes, then: bytes = b"", again_after_s: float = 3600.0) -> Client:
    """Return a client that sends the beginning, and then the same piece for ever."""

    async def client(port: int, path: str) -> None:
        reader, writer = await connected(port)
        try:
            writer.write(beginning.replace(b"PATH", path.encode()))
            ended = asyncio.ensure_future(reader.read())
            while not ended.done():
                await asyncio.wait((ended,), timeout=again_after_s)
                writer.write(then)
            ended.result()
        finally:
            writer.close()

    return client


async def slow_reader(port: int, path: str) -> None:
    reader, writer = await connected(port, receive_buffer=4096)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: identity\r\n\r\n".encode())
        while await reader.read(10):
            await asyncio.sleep(PAUSE_S)
    finally:
        writer.close()


KINDS: list[Client] = [
    that_sends(HEAD + b"Content-Length: 1000\r\n\r\n{"),
    that_sends(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "),
    that_sends(HEAD, b"X", again_after_s=PAUSE_S),
    that_sends(HEAD + b"Content-Length: 1000\r\n\r\n", b" ", again_after_s=PAUSE_S),
    that_sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", again_after_s=PAUSE_S),
    that_sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 100, again_after_s=PAUSE_S),
    that_sends(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X-Filler: " + b"x" * 2000 + b"\r\n", again_after_s=PAUSE_S),
    that_sends(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    that_sends(b""),
    slow_reader,
]


async def again_and_again(client: Client, port: int, path: str) -> None:
    while True:
        with suppress(OSError):
            await client(port, path)
        await asyncio.sleep(PAUSE_S)


async def main(port: int, number: int, path: str) -> None:
    loop = asyncio.get_running_loop()
    clients = []
    for place in range(number):
        clients.append(loop.create_task(again_and_again(KINDS[place % len(KINDS)], port, path)))
        if place % 50 == 49:
            await asyncio.sleep(0.01)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
