"""The front of the web server: what it hands to the application, and how long it waits for clients."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from seqpulse.front.bounds import Bounds
from tests.front import Front, echo, everything, front

SHORT = Bounds(head_s=0.4, body_s=0.6, answer_s=0.6)


@pytest.fixture(scope="module")
def server() -> Iterator[Front]:
    with front(echo, SHORT) as running:
        yield running


def answered(raw: bytes) -> dict[str, Any]:
    """Return what `echo` has seen of the last request."""
    head, _, body = raw.rpartition(b"\r\n\r\n")
    assert b"HTTP/1.1 200 OK" in head, raw
    seen: dict[str, Any] = json.loads(body)
    return seen


def test_a_request_arrives_as_under_any_wsgi_server(server: Front) -> None:
    seen = answered(
        server.ask(
            b"POST /a%20b/%C3%A9?q=%20x HTTP/1.1\r\nHost: seqpulse.example:8000\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 5\r\nCookie: a=1\r\nCookie: b=2\r\n"
            b"X-Forwarded-For: 192.0.2.1\r\nX_Forwarded_For: 192.0.2.66\r\nX-Forwarded-For: 192.0.2.2\r\n\r\nhello"
        )
    )
    assert (
        seen.items()
        >= {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a b/Ã©",
            "QUERY_STRING": "q=%20x",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_PORT": str(server.port),
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": "5",
            "HTTP_HOST": "seqpulse.example:8000",
            "HTTP_COOKIE": "a=1; b=2",
            "HTTP_X_FORWARDED_FOR": "192.0.2.1,192.0.2.2",
            "wsgi.url_scheme": "http",
            "body": "hello",
        }.items()
    )
    assert not {"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} & set(seen)


def test_a_chunked_body_has_a_length_and_its_trailers_are_no_headers(server: Front) -> None:
    seen = answered(
        server.ask(
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Api-Key: trailer\r\n\r\n"
        )
    )
    assert (seen["body"], seen["CONTENT_LENGTH"]) == ("abcde", "5")
    assert not {"HTTP_TRANSFER_ENCODING", "HTTP_X_API_KEY"} & set(seen)


def test_a_connection_serves_several_requests_also_sent_at_once(server: Front) -> None:
    raw = server.ask(
        b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert raw.count(b"HTTP/1.1 200 OK") == 3
    assert answered(raw)["PATH_INFO"] == "/3"


def test_head_has_no_body(server: Front) -> None:
    raw = server.ask(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 200 OK")
    assert raw.endswith(b"\r\n\r\n")
    assert b"content-length: " in raw


def test_a_client_that_asks_first_is_told_to_continue(server: Front) -> None:
    with server.connect(
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    ) as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ok")
        assert b'"body": "ok"' in everything(client)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ", b"408", id="half a head"),
        pytest.param(b"\r\n", b"408", id="empty lines"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx", b"408", id="one byte of a thousand"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", b"408", id="endless chunks"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 70_000, b"431", id="huge head"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400", id="two lengths"
        ),
    ],
)
def test_an_unfinished_request_is_ended(server: Front, sent: bytes, status: bytes) -> None:
    raw = server.ask(sent)
    assert raw.split(b"\r\n")[0].split(b" ")[1:2] == ([status] if status else [])
