"""The one door for our requests, against real servers that misbehave in every way we could think of."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from security.addresses import AllowList
from security.outbound import Fetcher, OutboundError, Response

LOCAL = AllowList.parse("127.0.0.0/8, ::1")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
T = TypeVar("T")
Scenario = Callable[["Server", Fetcher], Awaitable[T]]


class Server:
    """A server of raw bytes that counts what it sees."""

    def __init__(self, answer: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
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

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        return head

    def header(self, index: int, name: str) -> list[str]:
        lines = self.requests[index].decode().split("\r\n")
        return [line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}:")]


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
    """A server that sends these bytes after each request and keeps the connection open."""

    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.request(reader)
            writer.write(raw)
            await writer.drain()

    return Server(answer)


def goes_on_with(raw: bytes, chunk: bytes, pause_s: float) -> Server:
    """A server that sends `raw` and then `chunk` again and again."""

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
    server: Server, path: str = "/", *, host: str = "127.0.0.1", scheme: str = "http", **options: Any
) -> Response:
    call = {name: options.pop(name) for name in ("timeout_s", "max_bytes") if name in options}
    return play(server, lambda s, f: f.get(f"{scheme}://{host}:{s.port}{path}", {}, **call), **options)


def failure(server: Server, path: str = "/", **options: Any) -> OutboundError:
    with pytest.raises(OutboundError) as caught:
        fetch(server, path, **options)
    assert caught.value.message == str(caught.value)
    return caught.value


# ------------------------------------------------------------------------------------------------------ answers


def test_an_answer_comes_with_all_that_is_known_about_it() -> None:
    response = fetch(says(OK), "/ds-metrics")
    assert (response.status, response.body, response.content_type) == (200, b"{}", "application/json")
    assert response.remote_ip == "127.0.0.1"
    assert 0 < response.elapsed_ms < 5000


@pytest.mark.parametrize("status", [204, 301, 302, 304, 307, 401, 404, 429, 500, 503])
def test_every_status_is_an_answer_and_redirects_are_not_followed(status: int) -> None:
    server = says(b"HTTP/1.1 %d Whatever\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n" % status)
    assert fetch(server).status == status
    assert len(server.requests) == 1


def test_the_request_is_sent_as_given() -> None:
    server = says(OK)
    headers = {"X-Nonce": "abc", "User-Agent": "Mine", "X-Empty": ""}
    play(server, lambda s, f: f.get(f"http://127.0.0.1:{s.port}/a/../b//?q=%20", headers))
    assert server.requests[0].startswith(b"GET /a/../b//?q=%20 HTTP/1.1\r\n")
    assert server.header(0, "Host") == [f"127.0.0.1:{server.port}"]
    assert server.header(0, "X-Nonce") == ["abc"]
    assert server.header(0, "User-Agent") == ["Mine"]
    assert server.header(0, "Accept-Encoding") == ["identity"]
    assert b"X-Empty:" in server.requests[0]


def test_a_chunked_body_is_put_together() -> None:
    server = says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert fetch(server).body == b"abcde"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "a\r\nX-Evil: 1"},
        {"X-A": "a\n"},
        {"X-A": "a\x00"},
        {"X-A": "ä"},
        {"X A": "a"},
        {"": "a"},
        {"X-A\r\nX-B": "a"},
    ]
    + [{"Host": "a"}, {"Content-Length": "5"}, {"transfer-encoding": "chunked"}, {"@file": "x"}],
)
def test_headers_that_could_split_a_request_are_a_callers_mistake(headers: dict[str, str]) -> None:
    server = says(OK)
    with pytest.raises(ValueError):
        play(server, lambda s, f: f.get(f"http://127.0.0.1:{s.port}/", headers))
    assert server.connections == 0


def test_a_bad_url_is_refused_before_anything_is_sent() -> None:
    error = failure(says(OK), "/#fragment")
    assert error.reason == "other"
    assert "fragment" in error.message


def test_neither_proxy_variables_nor_cookies_nor_netrc_change_a_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    server = says(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async def twice(s: Server, f: Fetcher) -> None:
        for _ in range(2):
            await f.get(f"http://127.0.0.1:{s.port}/", {})

    play(server, twice)
    assert len(server.requests) == 2
    assert not any(name in request.lower() for request in server.requests for name in (b"cookie", b"authorization"))


# ------------------------------------------------------------------------------------------------------ the guard


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "127.1", "0177.0.0.1", "0", "a.localhost", "localhost."]
    + ["[::ffff:127.0.0.1]", "[::1]", "[::7f00:1]", "[64:ff9b::7f00:1]", "[::]", "169.254.169.254", "10.0.0.1"],
)
def test_whatever_leads_to_a_forbidden_address_is_blocked(host: str) -> None:
    server = says(OK)
    error = failure(server, host=host, allow=AllowList())
    assert error.reason == "blocked", error
    assert "may not be called" in error.message
    assert "SEQPULSE_OUTBOUND_ALLOW" in error.message
    assert server.connections == 0


def test_the_message_names_host_and_address() -> None:
    server = says(OK)
    error = failure(server, host="localhost", allow=AllowList())
    assert f"localhost:{server.port}" in error.message
    assert "is a loopback address" in error.message


@pytest.mark.parametrize(
    ("allow", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "2130706433"),
        ("localhost", "localhost"),
        (".localhost", "metrics.localhost"),
    ],
)
def test_the_allow_list_opens_networks_and_names(allow: str, host: str) -> None:
    assert fetch(says(OK), host=host, allow=AllowList.parse(allow)).status == 200


def test_a_listed_name_opens_nothing_for_another_name_of_the_same_address() -> None:
    async def scenario(s: Server, f: Fetcher) -> str:
        assert (await f.get(f"http://localhost:{s.port}/", {})).status == 200
        with pytest.raises(OutboundError) as caught:
            await f.get(f"http://127.0.0.1:{s.port}/", {})
        return caught.value.reason

    assert play(says(OK), scenario, allow=AllowList.parse("localhost")) == "blocked"


# ------------------------------------------------------------------------------------------------ endpoints that fail


def test_a_closed_port_is_reported_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        async def scenario(_server: Server, f: Fetcher) -> Response:
            return await f.get(f"http://127.0.0.1:{port}/", {})

        with pytest.raises(OutboundError) as caught:
            play(says(OK), scenario)
    assert caught.value.reason == "refused"
    assert caught.value.message == f"could not connect to 127.0.0.1:{port}: connection refused"


def test_an_unknown_name_is_reported_in_words() -> None:
    error = failure(says(OK), host="no-such-host.invalid", timeout_s=30)
    assert error.reason == "dns"
    assert "no-such-host.invalid could not be resolved" in error.message


def test_a_hanging_endpoint_ends_in_a_timeout() -> None:
    error = failure(says(b""), timeout_s=0.2)
    assert error.reason == "timeout"
    assert "within 0.2 s (no answer)" in error.message


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
    assert error.reason == "timeout"
    assert "within 0.4 s" in error.message


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
    assert caught.value.reason == "timeout"
    assert "while connecting" in caught.value.message


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
    assert error.reason == "too_large"
    assert "a body of more than 1 KiB" in error.message


def test_an_endless_chunked_body_is_cut_off() -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    server = goes_on_with(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, 0)
    assert failure(server).reason == "too_large"


def test_a_body_of_exactly_the_limit_passes() -> None:
    server = says(b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024)
    assert len(fetch(server, max_bytes=1024).body) == 1024


@pytest.mark.parametrize("headers", [b"X: " + b"y" * 200_000 + b"\r\n", b"X: y\r\n" * 10_000])
def test_headers_that_are_too_large_are_refused(headers: bytes) -> None:
    error = failure(says(b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 0\r\n\r\n"))
    assert error.reason == "too_large"
    assert "headers of more than 32 KiB" in error.message


@pytest.mark.parametrize(
    "raw",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\x03" * 20, b"-ERR unknown command 'GET'\r\n", b"HTTP/9.9 what\r\n\r\n"],
)
def test_an_answer_that_is_not_http_is_reported_in_words(raw: bytes) -> None:
    error = failure(says(raw), timeout_s=2)
    assert error.reason == "protocol"
    assert "not HTTP" in error.message


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nConte"])
def test_a_connection_that_is_closed_too_early_is_reported_in_words(raw: bytes) -> None:
    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(raw)

    error = failure(Server(answer))
    assert error.reason == "protocol"
    assert "closed" in error.message


def test_a_compressed_answer_is_refused_in_words() -> None:
    error = failure(says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"))
    assert error.reason == "protocol"
    assert "encoding 'gzip'" in error.message


def test_messages_contain_no_header_values() -> None:
    async def scenario(s: Server, f: Fetcher) -> Response:
        return await f.get(f"http://127.0.0.1:{s.port}/", {"X-Key": "top-secret"}, timeout_s=0.2)

    with pytest.raises(OutboundError) as caught:
        play(says(b""), scenario)
    assert "top-secret" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------------ TLS


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
    assert error.reason == "tls"
    assert "certificate" in error.message
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
    assert error.reason == "tls"


def test_tls_to_a_plain_port_is_reported_in_words() -> None:
    error = failure(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), scheme="https", timeout_s=0.5)
    assert error.reason in ("tls", "timeout")


# -------------------------------------------------------------------------------------------------- many at once


def test_connections_are_kept_and_used_again() -> None:
    async def scenario(s: Server, f: Fetcher) -> None:
        for _ in range(20):
            await f.get(f"http://127.0.0.1:{s.port}/", {})

    server = says(OK)
    play(server, scenario)
    assert (len(server.requests), server.connections) == (20, 1)


def test_a_request_that_met_a_dead_connection_is_sent_again_with_new_headers() -> None:
    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(OK)
        await server.request(reader)  # read, perhaps acted upon, and the connection breaks

    async def scenario(s: Server, f: Fetcher) -> list[int]:
        nonces = iter(range(100))
        return [
            (await f.get(f"http://127.0.0.1:{s.port}/", lambda: {"X-Nonce": str(next(nonces))})).status
            for _ in range(3)
        ]

    server = Server(answer)
    assert play(server, scenario) == [200, 200, 200]
    assert [server.header(index, "X-Nonce") for index in range(5)] == [["0"], ["1"], ["2"], ["3"], ["4"]]


def test_two_hundred_requests_at_once() -> None:
    async def scenario(s: Server, f: Fetcher) -> list[Response]:
        return await asyncio.gather(*(f.get(f"http://127.0.0.1:{s.port}/{n}", {}) for n in range(200)))

    server = says(OK)
    assert [response.status for response in play(server, scenario, per_host=200)] == [200] * 200
    assert len(set(server.requests)) == 200


async def _slow(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await server.request(reader)
        server.active += 1
        server.most_active = max(server.most_active, server.active)
        await asyncio.sleep(0.02)
        server.active -= 1
        writer.write(OK)


@pytest.mark.parametrize("limit", [{"per_host": 3}, {"max_connections": 3}])
def test_no_more_requests_than_allowed_are_under_way(limit: dict[str, int]) -> None:
    async def scenario(s: Server, f: Fetcher) -> list[Response]:
        return await asyncio.gather(*(f.get(f"http://127.0.0.1:{s.port}/", {}) for _ in range(20)))

    server = Server(_slow)
    assert len(play(server, scenario, **limit)) == 20
    assert server.most_active == 3


def test_waiting_for_a_place_counts_against_the_timeout() -> None:
    async def scenario(s: Server, f: Fetcher) -> tuple[OutboundError, Response]:
        url = f"http://127.0.0.1:{s.port}/"
        first = asyncio.create_task(f.get(url, {}, timeout_s=30))
        await asyncio.sleep(0.1)
        with pytest.raises(OutboundError) as caught:
            await f.get(url, {}, timeout_s=0.2)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        s.answer = lambda server, reader, writer: says(OK).answer(server, reader, writer)
        return caught.value, await f.get(url, {}, timeout_s=5)

    error, later = play(says(b""), scenario, per_host=1)
    assert error.reason == "timeout"
    assert "waiting for its turn" in error.message
    assert later.status == 200


def test_hanging_and_dripping_endpoints_hold_nobody_up() -> None:
    async def scenario(s: Server, f: Fetcher) -> list[int]:
        drip = goes_on_with(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x", 0.1)
        async with serving(says(b"")) as hang, serving(drip):
            stuck = [asyncio.create_task(f.get(f"http://127.0.0.1:{hang.port}/", {}, timeout_s=60)) for _ in range(150)]
            stuck += [asyncio.create_task(f.get(f"http://127.0.0.1:{drip.port}/", {}, timeout_s=60)) for _ in range(50)]
            while len(hang.requests) + len(drip.requests) < 64 + 50:
                await asyncio.sleep(0.01)
            healthy = [(await f.get(f"http://127.0.0.1:{s.port}/", {})).status for _ in range(50)]
            assert not any(task.done() for task in stuck)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            return healthy

    assert play(says(OK), scenario, per_host=64) == [200] * 50


def test_a_cancelled_request_closes_its_connection_and_leaves_the_fetcher_usable() -> None:
    async def scenario(s: Server, f: Fetcher) -> int:
        drip = goes_on_with(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x", 0.02)
        async with serving(drip):
            task = asyncio.create_task(f.get(f"http://127.0.0.1:{drip.port}/", {}, timeout_s=60))
            while not drip.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while not drip.ended_by_client:
                await asyncio.sleep(0.01)
        return (await f.get(f"http://127.0.0.1:{s.port}/", {})).status

    assert play(says(OK), scenario, per_host=1, max_connections=1) == 200


def test_closing_ends_requests_under_way_and_refuses_new_ones() -> None:
    async def scenario(s: Server, f: Fetcher) -> list[str]:
        url = f"http://127.0.0.1:{s.port}/"
        task = asyncio.create_task(f.get(url, {}, timeout_s=60))
        while not s.requests:
            await asyncio.sleep(0.01)
        await f.aclose()
        results = await asyncio.gather(task, f.get(url, {}), return_exceptions=True)
        return [str(result) for result in results]

    assert play(says(b""), scenario) == ["the program is shutting down"] * 2
