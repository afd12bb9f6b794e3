"""Instances behind a name, resolved by a name server of the tests, and requests to each of them."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme
from dns import asyncresolver, flags, message, rcode, rrset

from outbound.addresses import AllowList
from outbound.fetcher import Fetcher
from outbound.tests.servers import LOCAL, ProxyServer, serving
from outbound.transfer import OutboundError

SERVICES = {
    "_http._tcp.api.example.": ["1 1 PORT one.example.", "1 5 PORT two.example.", "2 1 PORT one.example."],
    "many.example.": [f"1 1 80 h{n}.example." for n in range(51)],
    "stopping.example.": ["1 1 80 missing.example.", "1 1 80 one.example."],
    "dangling.example.": ["1 1 80 missing.example."],
    "none.example.": ["0 0 0 ."],
    "inside.example.": ["1 1 PORT metadata.example."],
}
ADDRESSES = {
    "api.example": ["127.0.0.3", "127.0.0.2", "::1"],
    "one.example": ["127.0.0.2"],
    "two.example": ["127.0.0.3", "127.0.0.9"],
    "many.example": [f"127.0.1.{n}" for n in range(51)],
    "six.example": ["::1"],
    "metadata.example": ["169.254.169.254"],
}


class NameServer(asyncio.DatagramProtocol):
    """Answers questions for SRV records, none for `silent.example`, garbage for `garbage.example`."""

    def __init__(self) -> None:
        self.port = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        asked = message.from_wire(data)
        name = asked.question[0].name.to_text()
        answer = message.make_response(asked)
        answer.flags |= flags.RA
        records = [text.replace("PORT", str(self.port)) for text in SERVICES.get(name, [])]
        if records:
            answer.answer.append(rrset.from_text(name, 60, "IN", "SRV", *records))
        elif name == "unknown.example.":
            answer.set_rcode(rcode.NXDOMAIN)
        elif name == "broken.example.":
            answer.set_rcode(rcode.SERVFAIL)
        if name == "silent.example.":
            return
        self.transport.sendto(b"\xff" * 20 if name == "garbage.example." else answer.to_wire(), address)


def resolving(
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[Fetcher, int], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
    allow: AllowList = LOCAL,
) -> None:
    """Run the scenario with a fetcher and the port at which 127.0.0.2 and 127.0.0.3 say which of them they are."""

    def look_up(host: str, *_: Any, **options: Any) -> Any:
        if options.get("flags") == socket.AI_NUMERICHOST or host[0].isdigit():
            return system(host, *_, **options)
        if host not in ADDRESSES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ADDRESSES[host]]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("sockname")[0]
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = f"{own} {head.decode().split('Host: ')[1].splitlines()[0]}".encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except asyncio.IncompleteReadError:
            writer.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = await asyncio.start_server(answer, "127.0.0.2", 0, ssl=tls)
        port = first.sockets[0].getsockname()[1]
        second = await asyncio.start_server(answer, "127.0.0.3", port, ssl=tls)
        transport, names = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
        names.port = port
        resolver = asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
        monkeypatch.setattr(asyncresolver, "default_resolver", resolver)
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        fetcher = Fetcher(allow)
        try:
            await scenario(fetcher, port)
        finally:
            await fetcher.aclose()
            transport.close()
            first.close()
            second.close()

    system = socket.getaddrinfo
    asyncio.run(main())


def test_the_instances_of_a_name_are_its_addresses_or_what_its_service_records_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(f: Fetcher, port: int) -> None:
        both = [("api.example", "127.0.0.2", None), ("api.example", "127.0.0.3", None)]
        assert await f.resolve("api.example", "A") == both
        assert await f.resolve("API.example", "AAAA") == [("api.example", "::1", None)]
        assert await f.resolve("127.0.0.2", "A") == [("127.0.0.2", "127.0.0.2", None)]
        listed = await f.resolve("_http._tcp.api.example", "SRV")
        assert listed == [("api.example", "127.0.0.2", port), ("api.example", "127.0.0.3", port)]
        assert await f.resolve("stopping.example", "SRV") == [("stopping.example", "127.0.0.2", 80)]

    resolving(monkeypatch, scenario)


@pytest.mark.parametrize("encrypted", [False, True])
def test_each_instance_is_asked_under_the_common_name(encrypted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(f: Fetcher, port: int) -> None:
        listed = await f.resolve("_http._tcp.api.example", "SRV")
        for _ in range(2):  # the second time on the same connections
            for target in listed:
                url = f"http{'s' * encrypted}://{target.host}:{target.port}/"
                response = await f.get(url, {}, to=target.address, ca_pem=pem)
                assert response.body.decode() == f"{target.address} api.example:{port}"
                assert response.remote_ip == target.address
        with pytest.raises(OutboundError):
            await f.get(f"http://api.example:{port}/", {}, to="127.0.0.9")
        with pytest.raises(ValueError, match="address"):
            await f.get(f"http://api.example:{port}/", {}, to="other.example")

    authority = trustme.CA()
    pem = authority.cert_pem.bytes().decode()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.example").configure_cert(context)
    resolving(monkeypatch, scenario, tls=context if encrypted else None)


def test_each_instance_is_guarded_as_any_other_address_also_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(f: Fetcher, port: int) -> None:
        [target] = await f.resolve("inside.example", "SRV")
        async with serving(ProxyServer()) as proxy:
            monkeypatch.setenv("SEQPULSE_OUTBOUND_PROXY", f"http://127.0.0.1:{proxy.port}")
            proxied = Fetcher(AllowList.parse(".example"))
            for fetcher in (f, proxied):
                for address in (target.address, "::ffff:169.254.169.254", "127.0.0.1" if fetcher is f else "fe80::1"):
                    with pytest.raises(OutboundError) as caught:
                        await fetcher.get(f"http://{target.host}:{port}/", {}, to=address)
                    assert caught.value.code == "blocked"
            assert proxy.requests == []
            response = await proxied.get(f"http://api.example:{port}/", {}, to="127.0.0.3")
            assert (response.body, response.remote_ip) == (b"127.0.0.3 api.example:%d" % port, "127.0.0.3")
            await proxied.aclose()

    resolving(monkeypatch, scenario, allow=AllowList())


@pytest.mark.parametrize(
    ("name", "kind", "code", "text"),
    [
        ("many.example", "A", "dns", "it has 51 instances, and at most 50 are asked"),
        ("many.example", "SRV", "dns", "it has 51 instances, and at most 50 are asked"),
        ("six.example", "A", "dns", "no address"),
        ("one.example", "AAAA", "dns", "no address"),
        ("unknown.example", "A", "dns", "not known"),
        ("unknown.example", "SRV", "dns", "not known"),
        ("none.example", "SRV", "dns", "no SRV records"),
        ("one.example", "SRV", "dns", "no SRV records"),
        ("dangling.example", "SRV", "dns", "missing.example could not be resolved"),
        ("broken.example", "SRV", "dns", "temporary failure"),
        ("silent.example", "SRV", "timeout", "while resolving the name"),
        ("garbage.example", "SRV", "timeout", "while resolving the name"),
        ("a b", "A", "other", "U+0020"),
        ("a.example/x", "A", "other", "not a valid name"),
        ("a.example:81", "SRV", "other", "not a valid name"),
        ("user@a.example", "SRV", "other", "user name"),
        ("x" * 64 + ".example", "SRV", "other", "not a valid name"),
    ],
)
def test_a_name_without_usable_instances_is_explained(
    name: str, kind: Any, code: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(f: Fetcher, _port: int) -> None:
        with pytest.raises(OutboundError) as caught:
            await f.resolve(name, kind, timeout_s=0.3 if code == "timeout" else 5)
        assert (caught.value.code, text in str(caught.value)) == (code, True), caught.value

    resolving(monkeypatch, scenario)
