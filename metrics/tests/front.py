"""A server in front of a real Prometheus, which protects it, moves its clock or breaks its answers: for tests."""

import json
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

SHIFT_S = 90.0
BASIC = "Basic " + b64encode(b"reader:s3cret").decode()
LOGIN = '<html><body><form><input type="password"></form></body></html>'
VECTOR = '{"status": "success", "data": {"resultType": "vector", "result": [%s]}}'
# By the first part of the path: status and body.
BROKEN: dict[str, tuple[int, str]] = {
    "login": (200, LOGIN),
    "html": (200, "<html><body>Welcome</body></html>"),
    "text": (200, "up 1\nup2 1\n"),
    "number": (200, '{"status": "success", "data": 7}'),
    "form": (200, '{"status": "success", "data": {"resultType": "vector", "result": [{"metric": 1}]}}'),
    "values": (
        200,
        '{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1]}]}}',
    ),
    "deep": (200, "[" * 100_000),
    "cut": (200, '{"status": "success", "da'),
    "empty": (200, ""),
    "many": (200, VECTOR % ", ".join(f'{{"metric": {{"pod": "shop-{n}"}}, "value": [1, "1"]}}' for n in range(10_000))),
    "missing": (404, "404 page not found"),
    "forbidden": (403, '{"status": "error", "error": "token marked-secret-token expired"}'),
    "broken": (500, "oh"),
    "busy": (503, '{"status": "error", "errorType": "timeout", "error": "query timed out in expression evaluation"}'),
    "throttled": (429, "slow down"),
    "moved": (302, ""),
    "unknown": (400, "unsupported path requested"),
}


def shifted(document: Any) -> Any:
    """Return an answer with its times as a server whose clock is ahead gives them."""
    data = document.get("data")
    for one in data["result"] if isinstance(data, dict) and data.get("resultType") in ("vector", "matrix") else ():
        if "value" in one:
            one["value"][0] += SHIFT_S
        one["values"] = [[at + SHIFT_S, text] for at, text in one.get("values", ())]
    return document


@contextmanager
def front_of(prometheus: str, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """Run the server; yield its address, and the list of requests that it gets, each "METHOD path"."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path)
            first, _, rest = path.path[1:].partition("/")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            given = dict(parse_qsl(path.query or body))
            asked.append(f"{self.command} {path.path}")
            if first == "hang":
                time.sleep(2)
            if first in BROKEN:
                self.answer(*BROKEN[first])
            elif first == "no-post" and self.command == "POST":
                self.answer(405, "")
            elif first == "protected" and self.headers.get("Authorization") != BASIC:
                self.answer(401, "no")
            elif first == "tenant" and self.headers.get("X-Scope-OrgID") != "shop":
                self.answer(401, "no org id")
            else:
                self.pass_on(rest, given, ahead=first == "ahead")

        do_POST = do_GET  # noqa: N815

        def pass_on(self, rest: str, given: Mapping[str, str], *, ahead: bool) -> None:
            if ahead:
                times = {name: str(float(given[name]) - SHIFT_S) for name in ("time", "start", "end") if name in given}
                given = {**given, **times}
            answer = requests.get(f"{prometheus}/{rest}", given, timeout=5)
            self.answer(answer.status_code, json.dumps(shifted(answer.json())) if ahead else answer.text)

        def answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            if status == 302:
                self.send_header("Location", "/api/v1/query")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
