"""The operators' proxy: all requests go through it, and what can be checked before is checked."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from outbound.addresses import AllowList
from outbound.fetcher import Fetcher
from outbound.proxy import parse_proxy
from outbound.session import call
from outbound.tests.servers import LOCAL, OK, ProxyServer, Server, says, serving
from outbound.tests.test_failures import WRONG
from outbound.tests.test_fetcher import FORBIDDEN_HOSTS
from outbound.tests.test_options import BOMB, compressed, reads_body
from outbound.transfer import OutboundError

USER, PASSWORD = "op", "p@ss/w:rd%"
CREDENTIALS = "op:p%40ss%2Fw%3Ard%25"
TOKEN = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CLIENTS = ["fetcher", "session"]
AUTHORITY = trustme.CA()
PEM = AUTHORITY.cert_pem.bytes().decode()

Ask = Callable[..., Awaitable[Any]]


def context(*names: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(*names).configure_cert(made)
    return made


def through(
    proxy: ProxyServer,
    scenario: Callable[[Ask], Awaitable[None]],
    patch: pytest.MonkeyPatch,
    client: str,
    *,
    allow: AllowList = LOCAL,
    credentials: str = CREDENTIALS,
    host: str = "127.0.0.1",
) -> None:
    """Run the scenario with a client that goes through the proxy; it gets how to ask."""

    async def main() -> None:
        async with serving(proxy):
            patch.setenv("SEQPULSE_OUTBOUND_PROXY", f"http://{credentials}@{host}:{proxy.port}")
            fetcher = Fetcher(allow)

            async def ask(url: str, **options: Any) -> Any:
                if client == "fetcher":
                    return await fetcher.get(url, options.pop("headers", {}), **options)
                for name, same in ("timeout_s", "deadline_s"), ("max_bytes", "most_bytes"):
                    if name in options:
                        options[same] = options.pop(name)
                return await asyncio.to_thread(call, options.pop("method", "GET"), url, allow=allow, **options)

            try:
                await scenario(ask)
            finally:
                await fetcher.aclose()

    asyncio.run(main())


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return what this machine resolves; nothing else has an address."""
    known = {"here.example": ["127.0.0.1"], "proxy.example": ["127.0.0.1"]}
    system = socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **options: Any) -> Any:
        if options.get("flags") == socket.AI_NUMERICHOST or host[0].isdigit():
            return system(host, *arguments, **options)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.usefixtures("names")
def test_requests_go_through_the_proxy_plain_ones_by_their_url_and_others_in_a_tunnel(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, secret = reads_body(), reads_body()
    proxy = ProxyServer({"here.example": "127.0.0.1"}, authorization=TOKEN)

    async def scenario(ask: Ask) -> None:
        async with serving(server), serving(secret, context("here.example")):
            headers = {"Authorization": "Bearer of-the-host"}
            url = f"http://here.example:{server.port}/a/../b?c=%20"
            response = await ask(url, method="POST", body=b"x", headers=headers)
            assert (response.status, response.body, response.remote_ip) == (200, b"{}", "127.0.0.1")
            tunnelled = f"https://here.example:{secret.port}/path?secret"
            for _ in range(2):
                response = await ask(tunnelled, ca_pem=PEM, headers=headers)
                assert (response.status, response.remote_ip) == (200, "127.0.0.1")
                assert "x-proxy" not in response.headers
            with pytest.raises(OutboundError) as caught:
                await ask(tunnelled)
            assert caught.value.code == "tls"
            assert f"here.example:{secret.port}" in str(caught.value)

    through(proxy, scenario, monkeypatch, client, host="proxy.example")
    assert server.requests[0].startswith(b"POST /a/../b?c=%20 HTTP/1.1\r\n")
    assert server.header(0, "Host") == [f"here.example:{server.port}"]
    assert proxy.requests[0].startswith(f"POST http://here.example:{server.port}/a/../b?c=%20 HTTP/1.1\r\n".encode())
    tunnels = proxy.requests[1:]
    assert all(one.startswith(f"CONNECT here.example:{secret.port} HTTP/1.1\r\n".encode()) for one in tunnels)
    assert not any(word in one for one in tunnels for word in (b"/path", b"of-the-host"))
    assert secret.requests[0].startswith(b"GET /path?secret HTTP/1.1\r\n")
    assert not any(b"proxy-auth" in one.lower() for one in secret.requests)


@pytest.mark.usefixtures("names")
def test_what_leads_to_a_forbidden_address_is_not_sent_to_the_proxy(
    client: str, monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]
) -> None:
    names |= {
        "inside.example": ["10.0.0.5"],
        "mixed.example": ["8.8.8.8", "127.0.0.1"],
        "meta.ours": ["169.254.169.254"],
    }
    proxy = ProxyServer()

    async def scenario(ask: Ask) -> None:
        for host in (*FORBIDDEN_HOSTS, "inside.example", "mixed.example", "meta.ours"):
            for scheme in ("http", "https"):
                with pytest.raises(OutboundError) as caught:
                    await ask(f"{scheme}://{host}/")
                assert (host, caught.value.code) == (host, "blocked")
                assert "SEQPULSE_OUTBOUND_ALLOW" in str(caught.value)

    through(proxy, scenario, monkeypatch, client, allow=AllowList.parse(".ours"))
    assert proxy.requests == []


@pytest.mark.usefixtures("names")
def test_a_name_that_only_the_proxy_resolves_is_left_to_it_if_the_operators_list_it(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ProxyServer({"a.partner.example": "127.0.0.1", "b.other.example": "127.0.0.1"})
    server = says(OK)

    async def scenario(ask: Ask) -> None:
        async with serving(server):
            for _ in range(2):
                response = await ask(f"http://a.partner.example:{server.port}/")
                assert (response.status, response.remote_ip) == (200, "")
            with pytest.raises(OutboundError) as caught:
                await ask(f"http://b.other.example:{server.port}/")
            assert caught.value.code == "dns"
            assert "the name b.other.example could not be resolved: name or service not known" in str(caught.value)
            assert "SEQPULSE_OUTBOUND_ALLOW" in str(caught.value)

    through(proxy, scenario, monkeypatch, client, allow=AllowList.parse(".partner.example"))
    assert len(server.requests) == 2


def test_an_address_is_sent_in_the_notation_that_was_checked(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy might read a leading zero as decimal: 0010.8.8.8 is 8.8.8.8 here, and 10.8.8.8 there."""
    proxy = ProxyServer({"8.8.8.8": "127.0.0.1", "127.0.0.9": "127.0.0.1"})

    async def scenario(ask: Ask) -> None:
        for url in ("http://0010.8.8.8:1/", "https://0010.8.8.8:1/", "http://134744072:1/"):
            with pytest.raises(OutboundError, match="502") if url[4] == "s" else nothing():
                assert (await ask(url)).status == 502

    through(proxy, scenario, monkeypatch, client, allow=AllowList())
    lines = [one.split(b"\r\n")[0].decode() for one in proxy.requests]
    assert lines == ["GET http://8.8.8.8:1/ HTTP/1.1", "CONNECT 8.8.8.8:1 HTTP/1.1", "GET http://8.8.8.8:1/ HTTP/1.1"]


class nothing:  # noqa: N801  (as contextlib.nullcontext)
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def _answers(raw: bytes) -> ProxyServer:
    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(raw)

    made = ProxyServer()
    made.answer = answer
    return made


def _hangs() -> ProxyServer:
    async def answer(server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    made = ProxyServer()
    made.answer = answer
    return made


@pytest.mark.parametrize(
    ("proxy", "scheme", "text"),
    [
        (ProxyServer(authorization="Basic other"), "http", "refuses the credentials of SEQPULSE_OUTBOUND_PROXY"),
        (ProxyServer(authorization="Basic other"), "https", "refuses the credentials of SEQPULSE_OUTBOUND_PROXY"),
        (ProxyServer(), "https", "it refuses to connect to the host (502)"),
        (_answers(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "https", "connect to the host (403)"),
        (_answers(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"), "https", "to the host (302)"),
        (_answers(b""), "https", "closed|broke"),
        (_answers(b"SSH-2.0-x\r\n\r\n"), "https", "SSH|not HTTP|libcurl"),
        (_answers(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90_000), "https", "headers|large|libcurl"),
        (_hangs(), "https", "while waiting for the outbound proxy"),
    ],
)
def test_failures_of_the_proxy_are_explained_as_its_own_and_without_its_credentials(
    client: str, proxy: ProxyServer, scheme: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(ask: Ask) -> None:
        with pytest.raises(OutboundError, match=text.replace("(", r"\(").replace(")", r"\)")) as caught:
            await ask(f"{scheme}://127.0.0.1:1/", timeout_s=0.5)
        error = caught.value
        assert error.code == ("timeout" if "waiting" in text else "proxy")
        assert ("timeout" in error.code) or f"outbound proxy 127.0.0.1:{proxy.port}:" in str(error)
        for secret in (PASSWORD, CREDENTIALS, TOKEN, TOKEN[6:]):
            assert secret not in f"{error} {error.fact} {error.__cause__}"

    through(proxy, scenario, monkeypatch, client)


@pytest.mark.parametrize(("host", "problem"), [("127.0.0.2", "connection refused"), ("no-such-proxy.invalid", "")])
def test_a_proxy_that_cannot_be_reached_is_named(
    client: str, host: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(ask: Ask) -> None:
        for scheme in ("http", "https"):
            with pytest.raises(OutboundError, match=f"outbound proxy {host}:[0-9]+: {problem}") as caught:
                await ask(f"{scheme}://127.0.0.1:1/")
            assert (caught.value.code, caught.value.sent) == ("proxy", False)

    through(ProxyServer(), scenario, monkeypatch, client, host=host)


def test_hostile_servers_are_bounded_through_the_proxy_as_without_it(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The corpus of test_failures, and a compressed bomb, all at once; half of it in TLS, with its own authority."""
    rows = [row for row in WRONG if "host" not in row[1] and "path" not in row[1]]
    rows += [(compressed(BOMB), {"gzip": True}, "too_large", "a body of more than 64 KiB")]

    async def scenario(ask: Ask) -> None:
        async with AsyncExitStack() as stack:
            asked = []
            for number, (server, options, _code, _text) in enumerate(rows):
                encrypted = number % 2 == 1
                await stack.enter_async_context(serving(server, tls if encrypted else None))
                url = f"http{'s' * encrypted}://127.0.0.1:{server.port}/"
                asked.append(ask(url, **options, **({"ca_pem": PEM} if encrypted else {})))
            results = await asyncio.gather(*asked, return_exceptions=True)
        for (_server, _options, code, text), result in zip(rows, results, strict=True):
            expected = text if isinstance(text, str) else text[client == "session"]
            assert isinstance(result, OutboundError), (expected, result)
            assert result.code == code, (expected, str(result))
            assert expected in str(result) or code == "timeout", (expected, str(result))

    tls = context("127.0.0.1")
    through(ProxyServer(), scenario, monkeypatch, client)


@pytest.mark.parametrize(
    ("text", "authority", "user", "password"),
    [
        ("http://proxy.example:3128", "proxy.example:3128", "", ""),
        ("HTTP://Proxy.Example:3128/", "proxy.example:3128", "", ""),
        ("http://[::1]:80", "[::1]:80", "", ""),
        (f"http://{CREDENTIALS}@10.0.0.1:8080", "10.0.0.1:8080", USER, PASSWORD),
        ("http://user@10.0.0.1:8080", "10.0.0.1:8080", "user", ""),
        ("http://ü:ß@p.example:1", "p.example:1", "ü", "ß"),
    ],
)
def test_a_proxy_is_read_from_its_url(text: str, authority: str, user: str, password: str) -> None:
    proxy = parse_proxy(text)
    assert (proxy.authority, proxy.user, proxy.password) == (authority, user, password)
    assert password == "" or password not in repr(proxy)


@pytest.mark.parametrize(
    "text",
    [
        *("proxy.example:3128", "https://u:S3CRET@p.example:1", "socks5://p.example:1080", "http://p.example"),
        *("http://u:S3CRET@p.example", "http://u:S3CRET@:80", "http://p.example:99999", "http://p.example:port"),
        *("http://u:S3CRET@p.example:1/path", "http://u:S3CRET@p.example:1?q", "http://u:S3C/RET@p.example:1"),
        *("http://u%3Av:S3CRET@p.example:1", "http://u:S3CRET%0D%0A@p.example:1", "http://", "http://a b:1", "x"),
    ],
)
def test_what_is_no_proxy_is_refused_without_repeating_its_password(text: str) -> None:
    with pytest.raises(ValueError, match=r"write http://host:port") as caught:
        parse_proxy(text)
    assert "S3C" not in str(caught.value)


def test_variables_of_other_programs_choose_no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*" if name == "no_proxy" else "http://127.0.0.1:1")
    proxy, server = ProxyServer(), says(OK)

    async def scenario(ask: Ask) -> None:
        async with serving(server):
            assert (await ask(server.url)).status == 200

    for client in CLIENTS:
        through(proxy, scenario, monkeypatch, client)
    assert len(proxy.requests) == 2
