"""Endpoints that fail in many ways: failures are bounded and reported."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from outbound.tests.servers import OK, Server, call_once, failure, goes_on_with, says


def test_a_closed_port_is_reported_in_words(send: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        error = failure(says(OK), send=send, port=port)
    assert (error.code, str(error)) == ("refused", f"could not connect to 127.0.0.1:{port}: connection refused")


def closes_after(raw: bytes) -> Server:
    """Return a server that sends these bytes and closes the connection."""

    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(raw)

    return Server(answer)


H = b"HTTP/1.1 200 OK\r\n"
CHUNKED = H + b"Transfer-Encoding: chunked\r\n\r\n"
KIB = {"max_bytes": 1024}
# Where the clients have other limits: that of the fetcher, that of `call`.
TRAILERS = ("headers of more than 32 KiB", "more than 384 KiB in all")
MANY = ("headers of more than 32 KiB", "more than 100 headers")
HANGS, DRIPS, SPEAKS = {"timeout_s": 0.2}, {"timeout_s": 0.4}, {"timeout_s": 2}


# The server, options of the request, and what is said of it: its code, and a part of the text.
WRONG: list[tuple[Server, dict[str, Any], str, str | tuple[str, str]]] = [
    (says(OK), {"host": "no-such-host.invalid", "timeout_s": 30}, "dns", "-host.invalid could not be resolved"),
    (says(b""), HANGS, "timeout", "within 0.2 s (no answer)"),
    (goes_on_with(H + b"Content-Length: 1000\r\n\r\n", b"x", 0.05), DRIPS, "timeout", "within 0.4 s"),
    (goes_on_with(CHUNKED, b"1\r\nx\r\n", 0.05), DRIPS, "timeout", "within 0.4 s"),
    (goes_on_with(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05), DRIPS, "timeout", "within 0.4 s"),
    (goes_on_with(H, b"X: y\r\n", 0.05), DRIPS, "timeout", "within 0.4 s"),
    (says(H + b"Content-Length: 99999999999\r\n\r\n"), KIB, "too_large", "a body of more than 1 KiB"),
    (says(H + b"Content-Length: 1025\r\n\r\n" + b"x" * 1025), KIB, "too_large", "a body of more than 1 KiB"),
    (says(H + b"Content-Type: \xff\r\nContent-Length: 1025\r\n\r\n"), KIB, "too_large", "a body of more than 1"),
    (says(H + b"\r\n" + b"x" * 1025), KIB, "too_large", "a body of more than 1 KiB"),
    (says(CHUNKED + b"400\r\n" + b"x" * 1024 + b"\r\n1\r\nx\r\n"), KIB, "too_large", "a body of more than 1 KiB"),
    (goes_on_with(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n", 0), {}, "too_large", "more than 64 KiB"),
    (goes_on_with(CHUNKED + b"1;", b"a" * 65536, 0), {}, "too_large", "more than 384 KiB in all"),
    (goes_on_with(CHUNKED + b"1\r\nx\r\n0\r\nX: ", b"a" * 65536, 0), {}, "too_large", TRAILERS),
    (goes_on_with(b"", b"HTTP/1.1 103 Early\r\n\r\n" * 99, 0), {}, "too_large", "headers of more than 32 KiB"),
    (goes_on_with(CHUNKED + b"1;", b"a", 0), {}, "too_large", "in too many small pieces"),
    (goes_on_with(b"", b"\r\n" * 32768, 0), SPEAKS, "protocol", "not HTTP"),
    (says(H + b"X: " + b"y" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n"), {}, "too_large", "more than 32 KiB"),
    (says(H + b"X: y\r\n" * 10_000), {}, "too_large", MANY),
    (says(H + b"X: y\r\n" * 10_000 + b"Content-Length: 0\r\n\r\n"), {}, "too_large", MANY),
    (says(b"SSH-2.0-OpenSSH_9.2\r\n"), SPEAKS, "protocol", "not HTTP"),
    (says(b"\x00\x01\x02\x03" * 20), SPEAKS, "protocol", "not HTTP"),
    (says(b"-ERR unknown command 'GET'\r\n"), SPEAKS, "protocol", "not HTTP"),
    (says(b"HTTP/9.9 what\r\n\r\n"), SPEAKS, "protocol", "not HTTP"),
    (closes_after(b""), {}, "protocol", "closed"),
    (closes_after(H + b"Content-Length: 10\r\n\r\nabc"), {}, "protocol", "closed"),
    (closes_after(H + b"Conte"), {}, "protocol", "closed"),
    (says(H + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), {}, "protocol", "encoding 'gzip'"),
    (says(OK), {"path": "/#fragment"}, "other", "fragment"),
]  # fmt: skip


@pytest.mark.parametrize(("server", "options", "code", "text"), WRONG)
def test_what_an_endpoint_does_wrong_is_named(
    server: Server, options: dict[str, Any], code: str, text: str | tuple[str, str], send: Any
) -> None:
    error = failure(server, send=send, **options)
    expected = text if isinstance(text, str) else text[send is call_once]
    assert (error.code, expected in str(error)) == (code, True), error


def test_a_port_that_never_accepts_ends_in_a_timeout(send: Any) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())

        error = failure(says(OK), send=send, port=full.getsockname()[1], timeout_s=0.3)
        for client in waiting:
            client.close()
    assert (error.code, "while connecting" in str(error)) == ("timeout", True)


def test_a_body_of_exactly_the_limit_passes(send: Any) -> None:
    server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024)
    assert len(send(server, max_bytes=1024).body) == 1024


def test_messages_contain_no_header_values(send: Any) -> None:
    assert "top-secret" not in str(failure(says(b""), send=send, headers={"X-Key": "top-secret"}, timeout_s=0.2))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_side(authority: trustme.CA) -> ssl.SSLContext:
    """Return the TLS settings of a server with a certificate for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


def test_a_certificate_of_an_unknown_authority_is_refused(server_side: ssl.SSLContext, send: Any) -> None:
    server = says(OK)
    error = failure(server, send=send, scheme="https", tls=server_side)
    assert error.code == "tls"
    assert "certificate" in str(error)
    assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_a_trusted_certificate_is_accepted_for_its_own_host_alone(server_side: ssl.SSLContext, send: Any) -> None:
    assert send(says(OK), scheme="https", tls=server_side).status == 200
    assert failure(says(OK), send=send, scheme="https", host="localhost", tls=server_side).code == "tls"


def test_tls_to_a_plain_port_is_reported_in_words(send: Any) -> None:
    error = failure(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), send=send, scheme="https", timeout_s=0.5)
    assert error.code in ("tls", "timeout")
