"""Content of answers, and refused requests: of both clients; the Fetcher under load."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from outbound import fetcher, polling, transfer
from outbound.addresses import AllowList
from outbound.fetcher import Fetcher, OutboundError, Response
from outbound.tests.servers import OK, Server, failure, fetch, goes_on_with, play, says, serving, until


def test_an_answer_comes_with_all_that_is_known_about_it(send: Any) -> None:
    response = send(says(OK), "/ds-metrics")
    assert (response.status, response.body, response.content_type) == (200, b"{}", "application/json")
    assert response.remote_ip == "127.0.0.1"
    assert 0 < response.elapsed_ms < 5000


@pytest.mark.parametrize("status", [204, 301, 302, 304, 307, 401, 404, 429, 500, 503])
def test_every_status_is_an_answer_and_redirects_are_not_followed(status: int, send: Any) -> None:
    server = says(b"HTTP/1.1 %d Whatever\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n" % status)
    assert send(server).status == status
    assert len(server.requests) == 1


def test_the_request_is_sent_as_given(send: Any) -> None:
    server = says(OK)
    headers = {"X-Nonce": "abc", "User-Agent": "Mine", "X-Empty": ""}
    send(server, "/a/../b//?q=%20", headers=headers)
    assert server.requests[0].startswith(b"GET /a/../b//?q=%20 HTTP/1.1\r\n")
    assert server.header(0, "Host") == [f"127.0.0.1:{server.port}"]
    assert server.header(0, "X-Nonce") == ["abc"]
    assert server.header(0, "User-Agent") == ["Mine"]
    assert server.header(0, "Accept-Encoding") == ["identity"]
    assert b"X-Empty:" in server.requests[0]


def test_a_chunked_body_is_put_together(send: Any) -> None:
    server = says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert send(server).body == b"abcde"


def test_a_content_type_in_no_known_encoding_is_shown_as_far_as_it_can_be_read() -> None:
    server = says(b"HTTP/1.1 200 OK\r\nContent-Type: text/\xff\r\nContent-Length: 2\r\n\r\n{}")
    response = fetch(server, timeout_s=2)
    assert (response.body, response.content_type) == (b"{}", "text/\N{REPLACEMENT CHARACTER}")


def test_an_answer_that_cannot_be_read_ends_its_own_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    read = transfer.Transfer._read_headers

    def raising(one: transfer.Transfer) -> tuple[bool, str]:
        if one._endpoint.url.endswith("bad"):
            raise ZeroDivisionError
        return read(one)

    async def scenario(s: Server, f: Fetcher) -> list[Any]:
        urls = [f"{s.url}{name}" for name in ("bad", "good") * 5]
        asked = (f.get(url, {}) for url in urls)
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 3)

    monkeypatch.setattr(transfer.Transfer, "_read_headers", raising)
    results = play(says(OK), scenario)
    assert [type(one) for one in results] == [ZeroDivisionError, Response] * 5


def test_a_request_whose_end_is_not_reported_ends_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(s: Server, f: Fetcher) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(f, "_collect", lambda: None)
            with pytest.raises(OutboundError, match=r"within 0\.2 s"):
                await asyncio.wait_for(f.get(s.url, {}, timeout_s=0.2), 5)
        return (await f.get(s.url, {})).status

    assert play(says(OK), scenario, max_connections=1) == 200


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
        {"Host": "a"},
        {"Content-Length": "5"},
        {"transfer-encoding": "chunked"},
        {"Proxy-Authorization": "Basic x"},
        {"@file": "x"},
    ],
)
def test_headers_that_could_split_a_request_are_a_callers_mistake(headers: dict[str, str], send: Any) -> None:
    server = says(OK)
    with pytest.raises(ValueError, match="header"):
        send(server, headers=headers)
    assert server.connections == 0


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
            await f.get(s.url, {})

    play(server, twice)
    assert len(server.requests) == 2
    assert not any(name in request.lower() for request in server.requests for name in (b"cookie", b"authorization"))


FORBIDDEN_HOSTS = [
    "127.0.0.1",
    "localhost",
    "0x7f.1",
    "2130706433",
    "127.1",
    "0177.0.0.1",
    "0",
    "a.localhost",
    "localhost.",
    "[::ffff:127.0.0.1]",
    "[::1]",
    "[::7f00:1]",
    "[64:ff9b::7f00:1]",
    "[::]",
    "169.254.169.254",
    "10.0.0.1",
]


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
def test_whatever_leads_to_a_forbidden_address_is_blocked(host: str, send: Any) -> None:
    server = says(OK)
    error = failure(server, send=send, host=host, allow=AllowList())
    assert error.code == "blocked", error
    assert "may not be called" in str(error)
    assert "SEQPULSE_OUTBOUND_ALLOW" in str(error)
    assert server.connections == 0


def test_the_message_names_host_and_address(send: Any) -> None:
    server = says(OK)
    error = failure(server, send=send, host="localhost", allow=AllowList())
    assert f"localhost:{server.port}" in str(error)
    assert "is a loopback address" in str(error)


@pytest.mark.parametrize(
    ("allow", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "2130706433"),
        ("localhost", "localhost"),
        (".localhost", "metrics.localhost"),
    ],
)
def test_the_allow_list_opens_networks_and_names(allow: str, host: str, send: Any) -> None:
    assert send(says(OK), host=host, allow=AllowList.parse(allow)).status == 200


def test_a_listed_name_opens_nothing_for_another_name_of_the_same_address() -> None:
    async def scenario(s: Server, f: Fetcher) -> str:
        assert (await f.get(f"http://localhost:{s.port}/", {})).status == 200
        with pytest.raises(OutboundError) as caught:
            await f.get(s.url, {})
        return caught.value.code

    assert play(says(OK), scenario, allow=AllowList.parse("localhost")) == "blocked"


def test_connections_are_kept_and_used_again() -> None:
    async def scenario(s: Server, f: Fetcher) -> None:
        for _ in range(20):
            await f.get(s.url, {})

    server = says(OK)
    play(server, scenario)
    assert (len(server.requests), server.connections) == (20, 1)


async def _breaks_at_the_second(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await server.request(reader)
    writer.write(OK)
    await server.request(reader)  # the request was read, perhaps processed, and the connection breaks


def test_a_request_that_met_a_dead_connection_is_sent_again_with_new_headers() -> None:
    async def scenario(s: Server, f: Fetcher) -> list[int]:
        nonces = iter(range(100))
        return [(await f.get(s.url, lambda: {"X-Nonce": str(next(nonces))})).status for _ in range(3)]

    server = Server(_breaks_at_the_second)
    assert play(server, scenario) == [200, 200, 200]
    assert [server.header(index, "X-Nonce") for index in range(5)] == [["0"], ["1"], ["2"], ["3"], ["4"]]


def test_a_request_that_cannot_be_sent_again_ends() -> None:
    async def scenario(s: Server, f: Fetcher) -> int:
        nonces = iter(["0", "1", "no\nce"])
        assert (await f.get(s.url, lambda: {"X-Nonce": next(nonces)})).status == 200
        with pytest.raises(ValueError, match="header"):
            await asyncio.wait_for(f.get(s.url, lambda: {"X-Nonce": next(nonces)}), 3)
        return (await f.get(s.url, {})).status

    assert play(Server(_breaks_at_the_second), scenario) == 200


@pytest.mark.parametrize("poll", [polling.Poll, polling.PortablePoll])
def test_two_hundred_requests_at_once(poll: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "Poll", poll)

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
        return await asyncio.gather(*(f.get(s.url, {}) for _ in range(20)))

    server = Server(_slow)
    assert len(play(server, scenario, **limit)) == 20
    assert server.most_active == 3


def test_waiting_for_a_place_counts_against_the_timeout() -> None:
    async def scenario(s: Server, f: Fetcher) -> tuple[OutboundError, Response]:
        first = asyncio.create_task(f.get(s.url, {}, timeout_s=30))
        await asyncio.sleep(0.1)
        with pytest.raises(OutboundError) as caught:
            await f.get(s.url, {}, timeout_s=0.2)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        s.answer = lambda server, reader, writer: says(OK).answer(server, reader, writer)
        return caught.value, await f.get(s.url, {}, timeout_s=5)

    error, later = play(says(b""), scenario, per_host=1)
    assert error.code == "timeout"
    assert "waiting for its turn" in str(error)
    assert later.status == 200


def test_a_request_that_is_cancelled_while_it_waits_takes_no_place() -> None:
    async def scenario(s: Server, f: Fetcher) -> list[int]:
        first = asyncio.create_task(f.get(s.url, {}))
        waiting = [asyncio.create_task(f.get(s.url, {})) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        results = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert isinstance(results.pop(1), asyncio.CancelledError)
        return [result.status for result in results if isinstance(result, Response)]

    for limit in ({"per_host": 1}, {"max_connections": 1}):
        server = Server(_slow)
        assert play(server, scenario, **limit) == [200] * 3
        assert (server.most_active, len(server.requests)) == (1, 3)


def test_a_callback_that_raises_holds_nobody_up() -> None:
    async def scenario(s: Server, f: Fetcher) -> list[Any]:
        results: list[Any] = []
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))

        def ended(result: Any) -> None:
            results.append(result)
            raise ZeroDivisionError

        for _ in range(2):
            f.start(s.url, {}, ended)
        await until(lambda: len(results) == 2)
        assert (await f.get(s.url, {})).status == 200
        assert [type(one) for one in complaints] == [ZeroDivisionError] * 2
        return [result.status for result in results]

    assert play(says(OK), scenario, per_host=1) == [200, 200]


def test_hanging_and_dripping_endpoints_hold_nobody_up() -> None:
    async def scenario(s: Server, f: Fetcher) -> list[int]:
        drip = goes_on_with(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x", 0.1)
        async with serving(says(b"")) as hang, serving(drip):
            stuck = [asyncio.create_task(f.get(hang.url, {}, timeout_s=60)) for _ in range(150)]
            stuck += [asyncio.create_task(f.get(drip.url, {}, timeout_s=60)) for _ in range(50)]
            await until(lambda: len(hang.requests) + len(drip.requests) == 64 + 50)
            healthy = [(await f.get(s.url, {})).status for _ in range(50)]
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
            task = asyncio.create_task(f.get(drip.url, {}, timeout_s=60))
            await until(lambda: drip.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: drip.ended_by_client)
        return (await f.get(s.url, {})).status

    assert play(says(OK), scenario, per_host=1, max_connections=1) == 200


def test_closing_ends_requests_under_way_and_refuses_new_ones() -> None:
    async def scenario(s: Server, f: Fetcher) -> list[str]:
        task = asyncio.create_task(f.get(s.url, {}, timeout_s=60))
        await until(lambda: s.requests)
        await f.aclose()
        results = await asyncio.gather(task, f.get(s.url, {}), return_exceptions=True)
        return [str(result) for result in results]

    assert play(says(b""), scenario) == ["the program is shutting down"] * 2
