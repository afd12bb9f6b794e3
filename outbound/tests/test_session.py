"""What is special about `session.call`: what requests would do by itself, bodies, and answers of which part counts."""

import asyncio
import json
import logging
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from outbound.session import call
from outbound.tests.servers import LOCAL, OK, Server, call_once, failure, goes_on_with, says, serving
from outbound.transfer import OutboundError

SECRET = "T0K3N-of-the-path"
H = b"HTTP/1.1 200 OK\r\n"


def _reads_body(raw: bytes = OK) -> Server:
    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await server.request(reader)
        length = int(server.header(-1, "Content-Length")[0]) if b"Content-Length" in head else 0
        server.requests.append(await reader.readexactly(length))
        writer.write(raw)

    return Server(answer)


def test_a_value_is_posted_as_json_and_bytes_as_they_are() -> None:
    server = _reads_body(b"HTTP/1.1 202 Accepted\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\ndone")
    answer = call_once(server, "/hook?a=b", method="POST", json={"text": "né"}, headers={"X-Key": "k"})
    head, body = server.requests
    assert head.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert server.header(0, "Content-Type") == ["application/json"]
    assert json.loads(body) == {"text": "né"}
    assert (answer.status, answer.headers["retry-after"], answer.body) == (202, "7", b"done")

    server = _reads_body()
    call_once(server, method="PUT", body=b"\x00\xff", headers={"content-type": "image/png"})
    assert (server.header(0, "Content-Type"), server.requests[1]) == (["image/png"], b"\x00\xff")


def test_nothing_of_the_environment_or_of_earlier_calls_changes_a_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    server = says(H + b"Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
    for _ in range(2):
        call_once(server)
    assert (len(server.requests), server.connections) == (2, 2)
    assert not any(name in request.lower() for request in server.requests for name in (b"cookie", b"authorization"))


@pytest.mark.parametrize("location", [b"http://[", b"//\xff\xfe", b"http://169.254.169.254/", b"http://a:99999999/"])
def test_where_a_redirect_leads_is_not_looked_at(location: bytes) -> None:
    server = says(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 3\r\n\r\nabc")
    assert call_once(server)[::2][:2] == (302, b"abc")


def test_a_request_that_failed_is_not_sent_again() -> None:
    async def breaks(server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await server.request(reader)

    server = Server(breaks)
    assert failure(server, send=call_once, method="POST", json=[]).code == "protocol"
    assert (len(server.requests), server.connections) == (1, 1)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (H + b"Content-Length: 99999999\r\n\r\n" + b"x" * 5000, b"x" * 1024),
        (H + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", b""),
        (H + b"Content-Length: 10\r\n\r\nabc", b"abc"),
        (H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", b"abc"),
        (H + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b""),
        (H + b"Content-Length: nonsense\r\n\r\nabc", b"abc"),
    ],
)
def test_where_the_status_is_the_answer_a_body_that_cannot_be_read_takes_nothing_away(raw: bytes, body: bytes) -> None:
    answer = call_once(says(raw), whole=False, timeout_s=0.3, max_bytes=1024)
    assert (answer.status, answer.body) == (200, body)


def test_early_hints_are_no_answer() -> None:
    server = says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert call_once(server).status == 200


def test_an_answer_to_a_body_that_is_not_read_is_an_answer() -> None:
    async def refuses(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.3)  # the answer has to be read before the connection is reset

    assert call_once(Server(refuses), method="POST", body=b"x" * 300_000).status == 413


def test_a_server_that_does_not_read_ends_in_a_timeout() -> None:
    async def sleeps(_server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)  # longer than the deadline of the call

    error = failure(Server(sleeps), send=call_once, method="POST", body=b"x" * 20_000_000, timeout_s=0.3)
    assert error.code == "timeout"


def test_encryption_is_under_the_deadline_and_its_records_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drip = goes_on_with(b"\x16\x03\x03\x40\x00", b"\x02", 0.05)
    drip.request = lambda _reader: asyncio.sleep(0, b"")  # type: ignore[method-assign, assignment]
    error = failure(drip, send=call_once, scheme="https", timeout_s=0.3)
    assert (error.code, "agreeing on encryption" in str(error), error.sent) == ("timeout", True, False)

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "named.localhost").configure_cert(context)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    endless = goes_on_with(H + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 65536, 0)
    assert "384 KiB in all" in str(failure(endless, send=call_once, scheme="https", tls=context))
    assert call_once(says(OK), host="named.localhost", scheme="https", tls=context).remote_ip == "127.0.0.1"
    assert names == [None, "named.localhost"]

    async def breaks(_server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        raw = socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))
        raw.send(b"no record of TLS")
        raw.close()

    error = failure(Server(breaks), send=call_once, scheme="https", tls=context)
    assert (error.code, error.sent) == ("tls", True)


def test_a_name_that_hangs_is_under_the_deadline_and_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    release, asked = threading.Event(), []

    def hangs(host: str, *_arguments: Any, **_options: Any) -> list[Any]:
        asked.append(host)
        release.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    try:
        for _ in range(3):
            with pytest.raises(Exception, match="while resolving the name"):
                call("GET", "http://hang.example/", allow=LOCAL, deadline_s=0.1)
    finally:
        release.set()
    assert asked == ["hang.example"]


def test_a_name_for_which_there_is_no_thread_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(OutboundError, match="start new thread") as caught:
        call("GET", "http://some.example/", allow=LOCAL, deadline_s=1)
    assert caught.value.code == "dns"


def test_a_name_is_looked_up_once_for_the_check_and_for_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def changes(host: str, *_arguments: Any, **_options: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "192.0.2.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    async def main() -> tuple[Any, str]:
        async with serving(says(OK)) as server:
            with monkeypatch.context() as patch:
                patch.setattr(socket, "getaddrinfo", changes)
                url = f"http://rebinding.example:{server.port}/"
                answer = await asyncio.to_thread(call, "GET", url, allow=LOCAL)
            return answer, server.header(0, "Host")[0] + f" {server.port}"

    answer, host = asyncio.run(main())
    assert (answer.remote_ip, asked) == ("127.0.0.1", ["rebinding.example"])
    assert host.startswith("rebinding.example:")


@pytest.mark.parametrize(
    "server",
    [
        says(b""),
        says(b"SSH\r\n"),
        says(H + b"broken header\r\n: x\r\nContent-Length: 2\r\n\r\n{}"),
        says(H + b"Content-Length: 99999999\r\n\r\n"),
    ],
)
def test_neither_errors_nor_logs_contain_the_path(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    results: list[Any] = []
    try:
        results.append(call_once(server, f"/services/{SECRET}?token={SECRET}", timeout_s=0.2))
    except OutboundError as error:
        results += [error, str(error), error.fact, error.__cause__]
    assert server.requests
    assert SECRET not in repr(results)
    assert SECRET not in caplog.text
    assert SECRET not in str([record.__dict__ for record in caplog.records])
