"""Methods, bodies, headers of answers, and compressed answers: of both clients."""

import asyncio
import gzip
import zlib
from typing import Any

import pytest

from outbound.inflating import MOST_MEMBERS, inflated
from outbound.tests.servers import OK, Server, call_once, failure, fetch, goes_on_with, play, says
from outbound.transfer import METHODS, OutboundError

H = b"HTTP/1.1 200 OK\r\n"


def reads_body(raw: bytes = OK) -> Server:
    """Return a server that records head and body of each request, and keeps the connection open."""

    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await server.request(reader)
            lengths = server.header(-1, "Content-Length")
            server.requests[-1] = head + await reader.readexactly(int(lengths[0]) if lengths else 0)
            writer.write(raw)

    return Server(answer)


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", b"", []),
        ("HEAD", b"", []),
        ("OPTIONS", b"", []),
        ("DELETE", b"", []),
        ("POST", b"", ["0"]),
        ("PUT", b"", ["0"]),
        ("PATCH", b"", ["0"]),
        ("GET", b"x", ["1"]),
        ("DELETE", b"{}", ["2"]),
        ("POST", b"query=up\x00\xff", ["10"]),
        ("PUT", b"x" * 3_000_000, ["3000000"]),
        ("PATCH", b"x", ["1"]),
    ],
)
def test_a_request_has_the_method_and_the_body_that_are_given(
    method: str, body: bytes, length: list[str], send: Any
) -> None:
    server = reads_body(H + b"Content-Length: 0\r\n\r\n")
    assert send(server, "/a?b=c", method=method, body=body, headers={"X-A": "b"}).status == 200
    head, _, received = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"%s /a?b=c HTTP/1.1\r\n" % method.encode())
    assert received == body
    # `call` announces that there is no body, too.
    assert server.header(0, "Content-Length") in (
        length,
        ["0"] if not body and method in ("DELETE", "OPTIONS") else length,
    )
    assert not any(server.header(0, name) for name in ("Expect", "Content-Type", "Transfer-Encoding"))


def test_a_body_has_the_type_that_is_given(send: Any) -> None:
    server = reads_body()
    send(server, method="POST", body=b"{}", headers={"content-type": "application/json"})
    assert server.header(0, "Content-Type") == ["application/json"]


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "", "GET /x HTTP/1.1\r\nX: y", "BREW"])
def test_other_methods_are_a_callers_mistake(method: str, send: Any) -> None:
    server = says(OK)
    with pytest.raises(ValueError, match="method"):
        send(server, method=method)
    with pytest.raises(ValueError, match="HEAD has no body"):
        send(server, method="HEAD", body=b"x")
    assert server.connections == 0


def test_the_length_of_a_body_that_head_does_not_send_is_no_body(send: Any) -> None:
    server = says(H + b"Content-Length: 99999999\r\nContent-Encoding: gzip\r\nX-A: b\r\n\r\n")
    response = send(server, method="HEAD", gzip=True)
    assert (response.status, response.body, response.headers["x-a"]) == (200, b"", "b")


def test_a_request_leaves_nothing_to_the_next_one() -> None:
    async def scenario(s: Server, f: Any) -> None:
        for method in (*METHODS, "GET"):
            body = b"" if method == "HEAD" else method.encode() * 2
            assert (await f.get(s.url, {}, method=method, body=body, gzip=method == "PUT")).status == 200
            assert (await f.get(s.url, {})).status == 200

    server = reads_body(H + b"Content-Length: 0\r\n\r\n")
    play(server, scenario)
    plain = server.requests[1::2]
    assert len(plain) == len(METHODS) + 1
    assert set(plain) == {plain[0]}
    assert plain[0].startswith(b"GET / ")
    assert plain[0].endswith(b"\r\n\r\n")
    assert b"Accept-Encoding: identity\r\n" in plain[0]
    assert b"Content-Length" not in plain[0]
    assert server.connections == 1


async def _breaks_at_the_second(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    writer.write(OK)
    await server.request(reader)  # the request was read, perhaps processed, and the connection breaks


@pytest.mark.parametrize(("method", "sent"), [(method, 2 + (method not in ("POST", "PATCH"))) for method in METHODS])
def test_on_a_dead_connection_only_what_may_be_repeated_is_sent_again(method: str, sent: int) -> None:
    async def scenario(s: Server, f: Any) -> str:
        assert (await f.get(s.url, {})).status == 200
        try:
            return str((await f.get(s.url, {}, method=method)).status)
        except OutboundError as error:
            return str(error)

    server = Server(_breaks_at_the_second)
    result = play(server, scenario)
    assert ("closed without an answer" in result, len(server.requests)) == (sent == 2, sent), result


def test_the_headers_of_the_answer_are_found_in_any_case_and_joined(send: Any) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Early: 1\r\n\r\n"
    late = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n"
    response = send(says(early + H + b"X-One: a\r\nx-one:  b \r\nETag: \xe9\r\nX-Empty:\r\n" + late))
    assert response.headers["X-ONE"] == "a, b"
    assert response.headers["etag"] == "\xe9"
    assert response.headers["x-empty"] == ""
    assert not {"x-early", "link", "x-trailer"} & {name.lower() for name in response.headers}
    assert response.headers.get("missing") is None


TEXT = b"# HELP http_requests_total\n" * 400


def _zlib(data: bytes, window: int) -> bytes:
    stream = zlib.compressobj(wbits=window)
    return stream.compress(data) + stream.flush()


def compressed(body: bytes, encoding: bytes = b"gzip", more: bytes = b"") -> Server:
    return says(H + b"Content-Encoding: %s\r\nContent-Length: %d\r\n%s\r\n" % (encoding, len(body), more) + body)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", gzip.compress(TEXT)),
        (b"GZIP", gzip.compress(TEXT)),
        (b"x-gzip", gzip.compress(TEXT)),
        (b"gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
        (b"deflate", zlib.compress(TEXT)),
        (b"deflate", _zlib(TEXT, -15)),
        (b"identity", TEXT),
    ],
    ids=("gzip", "upper case", "x-gzip", "two members", "zlib", "bare data", "identity"),  # not the time in a body
)
def test_a_compressed_answer_is_inflated_where_it_was_asked_for(encoding: bytes, body: bytes, send: Any) -> None:
    server = compressed(body, encoding)
    response = send(server, gzip=True, max_bytes=len(TEXT))
    assert (response.body, response.content_type) == (TEXT, "")
    assert server.header(0, "Accept-Encoding") == ["gzip, deflate"]
    assert response.headers["content-encoding"] == encoding.decode()


def test_an_empty_body_is_empty_in_every_encoding(send: Any) -> None:
    assert send(compressed(b""), gzip=True).body == b""


GZIP = gzip.compress(TEXT)
BOMB = gzip.compress(b"\0" * 60_000_000)  # 58 KB
KIB = {"max_bytes": 1024}


@pytest.mark.parametrize(
    ("server", "options", "code", "text"),
    [
        (compressed(BOMB), {}, "too_large", "a body of more than 64 KiB"),
        (compressed(zlib.compress(b"\0" * 60_000_000), b"deflate"), {}, "too_large", "a body of more than 64 KiB"),
        (compressed(gzip.compress(b"x" * 600) * 2), KIB, "too_large", "a body of more than 1 KiB"),
        (compressed(gzip.compress(b"x" * 1025)), KIB, "too_large", "a body of more than 1 KiB"),
        (compressed(gzip.compress(b"") * (MOST_MEMBERS + 1)), {}, "protocol", "encoding is broken"),
        (compressed(GZIP[:-4]), {}, "protocol", "encoding is broken"),
        (compressed(GZIP[:-8] + b"\0" * 8), {}, "protocol", "encoding is broken"),
        (compressed(GZIP + b"garbage"), {}, "protocol", "encoding is broken"),
        (compressed(TEXT), {}, "protocol", "encoding is broken"),
        (compressed(TEXT, b"deflate"), {}, "protocol", "encoding is broken"),
        (compressed(GZIP, b"gzip, gzip"), {}, "protocol", "encoding 'gzip, gzip'"),
        (compressed(GZIP, b"gzip", b"Content-Encoding: deflate\r\n"), {}, "protocol", "encoding 'gzip, deflate'"),
        (compressed(GZIP, b"br"), {}, "protocol", "encoding 'br'"),
        (compressed(GZIP), {"gzip": False}, "protocol", "encoding 'gzip'"),
        (compressed(b"x" * 2000), KIB, "too_large", "a body of more than 1 KiB"),
        (goes_on_with(H + b"Content-Encoding: gzip\r\n\r\n" + GZIP, b"\0" * 9999, 0), {}, "too_large", "64 KiB"),
    ],
)
def test_a_body_that_is_not_what_it_says_or_inflates_beyond_the_limit_is_refused(
    server: Server, options: dict[str, Any], code: str, text: str, send: Any
) -> None:
    error = failure(server, send=send, **{"gzip": True, **options})
    assert (error.code, text in str(error)) == (code, True), error


def test_of_a_bomb_no_more_is_inflated_than_may_be() -> None:
    assert len(inflated(BOMB, "gzip", 1000)) == 1001
    assert len(inflated(zlib.compress(b"x" * 5000), "deflate", 1000)) == 1001


@pytest.mark.parametrize("client", [fetch, call_once])
def test_a_large_answer_may_come_in_many_pieces(client: Any) -> None:
    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(H + b"Content-Length: 2000000\r\n\r\n")
        for _ in range(2000):
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0)

    assert len(client(Server(answer), max_bytes=2_000_000).body) == 2_000_000
