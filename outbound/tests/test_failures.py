"""Endpoints that fail in many ways: failures are bounded and reported."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outbound.fetcher import Fetcher, OutboundError, Response
from outbound.tests.servers import OK, Server, failure, fetch, goes_on_with, play, says


def test_a_closed_port_is_reported_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        async def scenario(_server: Server, f: Fetcher) -> Response:
            return await f.get(f"http://127.0.0.1:{port}/", {})

        with pytest.raises(OutboundError) as caught:
            play(says(OK), scenario)
    assert caught.value.code == "refused"
    assert str(caught.value) == f"could not connect to 127.0.0.1:{port}: connection refused"


def test_an_unknown_name_is_reported_in_words() -> None:
    error = failure(says(OK), host="no-such-host.invalid", timeout_s=30)
    assert error.code == "dns"
    assert "no-such-host.invalid could not be resolved" in str(error)


def test_a_hanging_endpoint_ends_in_a_timeout() -> None:
    error = failure(says(b""), timeout_s=0.2)
    assert error.code == "timeout"
    assert "within 0.2 s (no answer)" in str(error)


@pytest.mark.parametrize(
    ("raw", "chunk"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    ],
)
def test_a_dripping_endpoint_ends_in_the_same_timeout(raw: bytes, chunk: bytes) -> None:
    server = goes_on_with(raw, chunk, 0.05)
    error = failure(server, timeout_s=0.4)
    assert error.code == "timeout"
    assert "within 0.4 s" in str(error)


def test_a_port_that_never_accepts_ends_in_a_timeout() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())

        async def scenario(_server: Server, f: Fetcher) -> Response:
            return await f.get(f"http://127.0.0.1:{full.getsockname()[1]}/", {}, timeout_s=0.3)

        with pytest.raises(OutboundError) as caught:
            play(says(OK), scenario)
        for client in waiting:
            client.close()
    assert caught.value.code == "timeout"
    assert "while connecting" in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n" + b"x" * 1025,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1025,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n1\r\nx\r\n",
    ],
)
def test_a_body_that_is_too_large_is_not_read(raw: bytes) -> None:
    error = failure(says(raw), max_bytes=1024)
    assert error.code == "too_large"
    assert "a body of more than 1 KiB" in str(error)


def test_an_endless_chunked_body_is_cut_off() -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    server = goes_on_with(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, 0)
    assert failure(server).code == "too_large"


def test_a_body_of_exactly_the_limit_passes() -> None:
    server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024)
    assert len(fetch(server, max_bytes=1024).body) == 1024


@pytest.mark.parametrize("headers", [b"X: " + b"y" * 200_000 + b"\r\n", b"X: y\r\n" * 10_000])
def test_headers_that_are_too_large_are_refused(headers: bytes) -> None:
    error = failure(says(b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 0\r\n\r\n"))
    assert error.code == "too_large"
    assert "headers of more than 32 KiB" in str(error)


@pytest.mark.parametrize(
    "raw",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\x03" * 20, b"-ERR unknown command 'GET'\r\n", b"HTTP/9.9 what\r\n\r\n"],
)
def test_an_answer_that_is_not_http_is_reported_in_words(raw: bytes) -> None:
    error = failure(says(raw), timeout_s=2)
    assert error.code == "protocol"
    assert "not HTTP" in str(error)


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nConte"])
def test_a_connection_that_is_closed_too_early_is_reported_in_words(raw: bytes) -> None:
    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(raw)

    error = failure(Server(answer))
    assert error.code == "protocol"
    assert "closed" in str(error)


def test_a_compressed_answer_is_refused_in_words() -> None:
    error = failure(says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"))
    assert error.code == "protocol"
    assert "encoding 'gzip'" in str(error)


def test_messages_contain_no_header_values() -> None:
    async def scenario(s: Server, f: Fetcher) -> Response:
        return await f.get(f"http://127.0.0.1:{s.port}/", {"X-Key": "top-secret"}, timeout_s=0.2)

    with pytest.raises(OutboundError) as caught:
        play(says(b""), scenario)
    assert "top-secret" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_nobody_vouches_for_is_refused_in_words(server_side: ssl.SSLContext) -> None:
    server = says(OK)
    error = failure(server, scheme="https", tls=server_side)
    assert error.code == "tls"
    assert "certificate" in str(error)
    assert server.requests == []


def test_a_trusted_certificate_is_accepted(
    server_side: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch(says(OK), scheme="https", tls=server_side).status == 200


def test_a_trusted_certificate_for_another_host_is_refused(
    server_side: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    error = failure(says(OK), scheme="https", host="localhost", tls=server_side)
    assert error.code == "tls"


def test_tls_to_a_plain_port_is_reported_in_words() -> None:
    error = failure(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), scheme="https", timeout_s=0.5)
    assert error.code in ("tls", "timeout")
