"""Serve metrics endpoints: `python -m benchmarks.poller.endpoint PORT,PORT,… DELAY_S [CERTIFICATE]`.

One process with as little CPU as possible, since it shares the cores with what is measured. With a certificate it
speaks TLS and closes every connection. GET /arrivals returns and clears the time of the last request of each path, in
seconds since the epoch.
"""

import asyncio
import json
import ssl
import sys
import time

METRICS = {"requests_per_sec": 50.0, "latency_p95": 120.0, "error_rate": 0.0, "cpu_usage": 0.3, "memory_usage": 0.4}
BODY = json.dumps({"metrics": METRICS}).encode()
arrivals: dict[str, float] = {}


def answer(body: bytes, *, close: bool) -> bytes:
    connection = b"close" if close else b"keep-alive"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (connection, len(body)) + body


class Endpoint(asyncio.Protocol):
    """Answer each request after the delay."""

    def __init__(self, delay_s: float, *, close: bool) -> None:
        self.delay_s, self.close = delay_s, close
        self.loop = asyncio.get_running_loop()
        self.buffer = b""
        self.good = answer(BODY, close=close)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path == b"/arrivals":
                self.transport.write(answer(json.dumps(arrivals).encode(), close=False))
                arrivals.clear()
                continue
            arrivals[path.decode()] = time.time()
            self.loop.call_later(self.delay_s, self.respond)

    def respond(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.good)
            if self.close:
                self.transport.close()


async def serve(ports: list[int], delay_s: float, context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(
            lambda: Endpoint(delay_s, close=context is not None), "127.0.0.1", port, ssl=context, backlog=2048
        )
    await asyncio.Event().wait()


def main() -> None:
    context = None
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3])
        context.num_tickets = 0  # no session resumption: every handshake is a full one
    asyncio.run(serve([int(port) for port in sys.argv[1].split(",")], float(sys.argv[2]), context))


if __name__ == "__main__":
    main()
