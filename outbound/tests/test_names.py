"""Names that change, hang or resolve to refused addresses."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from outbound.addresses import AllowList
from outbound.fetcher import Fetcher, OutboundError, Response
from outbound.tests.servers import OK, Server, failure, play, says, until


class Names:
    """Replacement for the resolver of the operating system: knows some names, hangs on the others."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []
        self.release = threading.Event()

    def getaddrinfo(self, host: str, _port: object, **_options: object) -> list[Any]:
        self.asked.append(host)
        if host not in self.addresses:
            self.release.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.addresses[host]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names(local_example=["127.0.0.1"], public_example=["192.0.2.1"], two_example=["127.0.0.9", "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.release.set()


def test_a_name_is_looked_up_once_and_sent_as_host(names: Names) -> None:
    async def scenario(s: Server, f: Fetcher) -> list[Response]:
        url = f"http://local.example:{s.port}/"
        return [await f.get(url, {}), *await asyncio.gather(*(f.get(url, {}) for _ in range(5)))]

    server = says(OK)
    assert {response.remote_ip for response in play(server, scenario)} == {"127.0.0.1"}
    assert server.header(0, "Host") == [f"local.example:{server.port}"]
    assert names.asked == ["local.example"]


def test_a_name_that_leads_to_a_forbidden_address_is_blocked(names: Names, send: Any) -> None:
    server = says(OK)
    error = failure(server, send=send, host="local.example", allow=AllowList.parse("10.0.0.0/8"))
    assert error.code == "blocked"
    assert "127.0.0.1 is a loopback address" in str(error)
    assert server.connections == 0


def test_a_name_that_changes_its_address_gains_nothing(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(s: Server, f: Fetcher) -> list[str]:
        reasons: list[str] = []
        for addresses in (["192.0.2.1"], ["127.0.0.1"], ["192.0.2.1", "127.0.0.1"]):
            names.addresses["public.example"] = addresses
            f._resolver._known.clear()  # as if a minute had passed
            with pytest.raises(OutboundError) as caught:
                await f.get(f"http://public.example:{s.port}/", {})
            reasons.append(caught.value.code)
        return reasons

    server = says(OK)
    assert play(server, scenario, allow=AllowList()) == ["blocked"] * 3
    assert server.connections == 0


def test_the_next_address_of_a_name_is_tried(names: Names, send: Any) -> None:
    assert send(says(OK), host="two.example").remote_ip == "127.0.0.1"


def test_names_that_hang_hold_nobody_up(names: Names) -> None:
    async def scenario(s: Server, f: Fetcher) -> list[str]:
        urls = [f"http://hang{n}.example:{s.port}/" for n in range(100)]
        stuck = [asyncio.create_task(f.get(url, {}, timeout_s=0.5)) for url in urls * 2]
        await until(lambda: len(names.asked) == 100)
        assert (await f.get(f"http://local.example:{s.port}/", {})).status == 200
        return [str(result) for result in await asyncio.gather(*stuck, return_exceptions=True)]

    messages = play(says(OK), scenario)
    assert all("within 0.5 s (while resolving the name)" in message for message in messages)
    assert len(names.asked) == 101


def test_a_name_for_which_there_is_no_thread_ends_its_request_and_no_other(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(s: Server, f: Fetcher) -> int:
        f._resolver._free = asyncio.Semaphore(1)
        url = f"http://local.example:{s.port}/"
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(RuntimeError, match="can't start"):
                await asyncio.wait_for(f.get(url, {}), 3)
        return (await f.get(url, {})).status

    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    assert play(says(OK), scenario) == 200
