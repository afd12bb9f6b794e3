"""Run a metrics endpoint for tests: `python -m tests.endpoint PORT`. The path selects its behaviour.

GET /requests answers the number of requests by path.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter

from demo.signature import Refused, Verifier

METRICS = {"requests_per_sec": 50.0, "latency_p95": 120.0, "error_rate": 0.0, "cpu_usage": 0.3, "memory_usage": 0.4}
SLOW_S = 0.5
asked: Counter[str] = Counter()
verifier = Verifier(os.environ.get("ENDPOINT_SECRET", ""))


def body(**changes: object) -> bytes:
    return json.dumps({"metrics": {**METRICS, **changes}}).encode()


# path → status, body, extra header
ANSWERS: dict[str, tuple[int, bytes, str]] = {
    "/good": (200, body(), ""),
    "/500": (500, b"oh", ""),
    "/401": (401, b"no", ""),
    "/invalid-json": (200, b'{"metrics": {', ""),
    "/nan": (200, body(latency_p95=float("nan")), ""),
    "/wrong-types": (200, body(latency_p95="120"), ""),
    "/out-of-range": (200, body(error_rate=4.2), ""),
    "/huge": (200, b"[" + b"1," * 100_000 + b"1]", ""),
    "/redirect": (302, b"", "Location: /good\r\n"),
}


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = head[0].split(" ")[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        asked[path] += 1
        await answer(path, headers, writer)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def answer(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
    if path == "/requests":
        send(writer, 200, json.dumps(asked).encode())
    elif path == "/hang":
        await asyncio.sleep(3600)
    elif path == "/drip":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.3)
    elif path.startswith("/slow"):
        await asyncio.sleep(SLOW_S)
        send(writer, 200, body())
    elif path == "/signed":
        try:
            verifier.check("GET", path, headers, time.time())
        except Refused as refused:
            send(writer, 401, str(refused).encode())
        else:
            send(writer, 200, body())
    else:
        status, content, header = ANSWERS.get(path, (404, b"", ""))
        send(writer, status, content, header)


def send(writer: asyncio.StreamWriter, status: int, content: bytes, header: str = "") -> None:
    writer.write(f"HTTP/1.1 {status} X\r\n{header}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode())
    writer.write(content)


async def serve(port: int) -> None:
    server = await asyncio.start_server(handle, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
