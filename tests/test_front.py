"""The front of the web server: what it hands to the application, and how long it waits for clients."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from ipaddress import ip_network
from typing import Any

import pytest
from prometheus_client import REGISTRY

from seqpulse.front.bounds import Bounds
from tests.front import BODY_BYTES, THREADS, Front, everything, front, open_sockets, status_of
from tests.processes import wait_for

HEAD = b"POST /deployments/trigger HTTP/1.1\r\nHost: x\r\n"
MIB = 1024 * 1024
# Of the generator at /stream: the pieces that it made, and whether it was closed.
made: list[str] = []


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer with what arrived, or with much."""
    size = int(environ["QUERY_STRING"] or 0)
    if environ["PATH_INFO"] == "/file":
        start_response("200 OK", [("Content-Length", str(size))])
        return environ["wsgi.file_wrapper"](BytesIO(b"f" * size))
    if environ["PATH_INFO"] == "/much":
        start_response("200 OK", [])
        return [b"m" * size]
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [])
        return stream(size)
    seen = {name: value for name, value in environ.items() if isinstance(value, str)}
    body = environ["wsgi.input"].read()
    seen.update(body=body[:100].decode("latin-1"), size=str(len(body)))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]


def stream(size: int) -> Iterator[bytes]:
    try:
        for _ in range(size // 1000):
            yield b"s" * 1000
            made.append("piece")
    finally:
        made.append("closed")


@pytest.fixture(scope="module")
def server() -> Iterator[Front]:
    with front(application, Bounds(head_s=0.4, body_s=0.6, answer_s=0.6)) as running:
        yield running


def seen_of(raw: bytes) -> dict[str, Any]:
    """Return what the application has seen of the last request."""
    head, _, body = raw.rpartition(b"\r\n\r\n")
    assert b"HTTP/1.1 200 OK" in head, raw
    seen: dict[str, Any] = json.loads(body)
    return seen


def test_a_request_arrives_as_under_any_wsgi_server(server: Front) -> None:
    seen = seen_of(
        server.ask(
            b"POST /a%20b/%C3%A9 HTTP/1.1\r\nHost: seqpulse.example:8000\r\nConnection: close\r\n"
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


def test_a_proxy_on_this_machine_says_whether_the_client_came_by_https(server: Front) -> None:
    raw = server.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-Proto: https\r\n\r\n")
    assert seen_of(raw)["wsgi.url_scheme"] == "https"


def test_a_chunked_body_has_a_length_and_its_trailers_are_no_headers(server: Front) -> None:
    seen = seen_of(
        server.ask(
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Api-Key: trailer\r\n\r\n"
        )
    )
    assert (seen["body"], seen["CONTENT_LENGTH"]) == ("abcde", "5")
    assert not {"HTTP_TRANSFER_ENCODING", "HTTP_X_API_KEY"} & set(seen)


@pytest.mark.parametrize("megabytes", [2, 9000])
@pytest.mark.parametrize("chunked", [True, False])
def test_of_a_body_that_is_too_large_the_application_sees_enough_to_refuse_it(
    server: Front, chunked: bool, megabytes: int
) -> None:
    size = megabytes * MIB
    length = f"Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n" if chunked else f"Content-Length: {size}\r\n\r\n"
    with server.connect(HEAD + length.encode()) as client:
        client.sendall(b"x" * min(size, 8 * MIB + 1))
        client.sendall(b"\r\n0\r\n\r\n" if chunked else b"")
        seen = json.loads(client.recv(65536).partition(b"\r\n\r\n")[2] or client.recv(65536))
        assert int(seen["size"]) in range(BODY_BYTES + 1, 2 * MIB)


def test_a_connection_serves_several_requests_also_sent_at_once(server: Front) -> None:
    raw = server.ask(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + HEAD + b"Connection: close\r\n\r\n")
    assert raw.count(b"HTTP/1.1 200 OK") == 3
    assert seen_of(raw)["PATH_INFO"] == "/deployments/trigger"


def test_head_has_the_length_and_no_body(server: Front) -> None:
    raw = server.ask(b"HEAD /much?7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"\r\ncontent-length: 7\r\n" in raw
    assert raw.endswith(b"\r\n\r\n")


def test_a_client_of_http_1_0_gets_a_length_instead_of_chunks(server: Front) -> None:
    raw = server.ask(b"GET /stream?1000000 HTTP/1.0\r\n\r\n")
    assert b"\r\ncontent-length: 1000000\r\n" in raw
    assert raw.endswith(b"s" * 1000)


def test_a_client_that_asks_first_is_told_to_continue(server: Front) -> None:
    with server.connect(HEAD + b"Connection: close\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n") as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ok")
        assert b'"body": "ok"' in everything(client)


def test_a_client_that_wants_another_protocol_gets_an_answer_in_this_one(server: Front) -> None:
    raw = server.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n")
    assert seen_of(raw)["HTTP_UPGRADE"] == "h2c"


UPGRADE = (
    b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
)


@pytest.mark.parametrize(
    "pieces",
    [
        (UPGRADE + b"Content-Length: 5\r\n\r\nhello",),
        (UPGRADE + b"Content-Length: 5\r\n\r\n", b"he", b"llo"),
        (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",),
        (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe", b"\r\n3\r\nllo\r\n0\r\n\r\n"),
        (UPGRADE + b"Content-Length: 5\r\n\r\nhelloPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"more"),
    ],
)
def test_the_body_of_a_request_that_wants_another_protocol_arrives(server: Front, pieces: tuple[bytes, ...]) -> None:
    with server.connect() as client:
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0.02)  # so that each piece arrives by itself
        seen = seen_of(everything(client))
    assert (seen["body"], seen["size"]) == ("hello", "5")


def test_a_body_of_a_request_that_wants_another_protocol_has_a_deadline(server: Front) -> None:
    assert status_of(server.ask(UPGRADE + b"Content-Length: 5\r\n\r\nhell")) == 408


@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"chunked, gzip"])
def test_a_body_without_an_end_is_refused_also_beside_another_protocol(server: Front, coding: bytes) -> None:
    assert status_of(server.ask(UPGRADE + b"Transfer-Encoding: %b\r\n\r\nhello" % coding)) == 400


@pytest.mark.parametrize("path", ["/file", "/much", "/stream"])
def test_a_long_answer_arrives_whole(server: Front, path: str) -> None:
    raw = server.get(f"{path}?3000000")
    assert status_of(raw) == 200
    assert raw.count(path[1:2].encode() * 100) >= 29_900


UNFINISHED = {
    b"": 0,
    b"GET /deployments HTTP/1.1\r\nHost: x\r\nX-Half: ": 408,
    b"\r\n": 408,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT": 408,
    HEAD + b"Content-Length: 1000\r\n\r\nx": 408,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n": 408,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;endless": 408,
    HEAD + b"X-Long: " + b"x" * 70_000: 431,
    HEAD + b"X-Many: 1\r\n" * 200 + b"\r\n": 431,
    HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n": 400,
    HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    b"\x16\x03\x01\x02\x00\x01\x00": 400,
}


def test_a_request_that_does_not_come_is_ended_and_others_are_served(server: Front) -> None:
    clients = {sent: server.connect(sent) for sent in UNFINISHED}
    assert status_of(server.get()) == 200
    answers = {sent: everything(client) for sent, client in clients.items()}
    ended = {sent: answer.removesuffix(b"<reset>").split(b"HTTP/1.1 ")[-1][:3] for sent, answer in answers.items()}
    assert {sent: int(status or 0) for sent, status in ended.items()} == UNFINISHED
    for client in clients.values():
        client.close()


def test_refused_clients_are_counted(server: Front) -> None:
    before = refused_with(400)
    server.ask(b"\x16\x03\x01")
    assert refused_with(400) == before + 1


def test_a_task_of_the_server_that_fails_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqpulse.front.server.RESTART_AFTER_S", 0.01)

    class Failing:
        began = 0

        async def run(self) -> None:
            self.began += 1
            raise RuntimeError("can't start new thread")

    failing = Failing()
    with front(application, listener=failing) as server:
        wait_for(lambda: failing.began > 1, "another run")
        assert status_of(server.get()) == 200


def test_requests_refused_beside_too_many_others_are_counted() -> None:
    before = refused_with(503)
    with front(application, Bounds(running=0)) as server:
        assert status_of(server.get()) == 503
        assert status_of(server.get("/health/live")) == 200
        assert refused_with(503) == before + 1
        wait_for(lambda: not server.bridge.refused.counts, "the line in the log")


def refused_with(status: int) -> float:
    return REGISTRY.get_sample_value("seqpulse_http_refused_total", {"status": str(status)}) or 0.0


def test_who_is_refused_is_told_why_like_by_the_application(server: Front) -> None:
    body = b"Content-Length: 9\r\n\r\nx"
    with (
        server.connect(HEAD.replace(b"trigger", b"/verdict") + body) as api,
        server.connect(b"POST /dashboard/ HTTP/1.1\r\nHost: x\r\nAccept-Language: fr\r\n" + body) as page,
    ):
        head, _, words = everything(api).partition(b"\r\n\r\n")
        assert json.loads(words)["error"]["code"] == "request_timeout"
        assert json.loads(words)["gate"] == "pending"
        assert b"Retry-After: 1\r\n" in head
        assert b"X-Content-Type-Options: nosniff" in head
        shown = everything(page).decode()
        assert shown.startswith("HTTP/1.1 408 Request Timeout\r\n")
        assert '<html lang="fr">' in shown


def test_a_request_in_tiny_pieces_is_ended_at_once(server: Front) -> None:
    with server.connect(HEAD) as client, pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012  (any of the pieces may fail)
        for _ in range(1000):
            client.sendall(b"X")
            # Otherwise many pieces arrive as one.
            time.sleep(0.0002)


@pytest.mark.parametrize("path", ["/file", "/much", "/stream"])
def test_who_does_not_take_an_answer_occupies_no_thread_and_is_ended(server: Front, path: str) -> None:
    made.clear()
    asked = f"GET {path}?20000000 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    number = 1 if path == "/stream" else 2 * THREADS
    with open_sockets(lambda: server.connect(asked, receive_buffer=4096), number):
        wait_for(lambda: server.door.number == number, "the connections")
        assert status_of(server.get()) == 200
        wait_for(lambda: server.door.number == 0, "the end of the connections", 10)
    if path == "/stream":
        wait_for(lambda: made[-1] == "closed", "the end of the generator", 5)
        assert len(made) < 5000


def test_answers_that_are_taken_slowly_are_bounded_in_all() -> None:
    """From however many addresses: those that have been taking one for longest are ended."""
    asked = b"GET /much?2000000 HTTP/1.1\r\nHost: x\r\n\r\n"
    with front(application, Bounds(slow_s=0.2, answer_s=10, untaken_bytes=4_200_000)) as server, ExitStack() as stack:
        for number in range(2, 6):
            stack.enter_context(server.connect(asked, f"127.0.0.{number}", receive_buffer=4096))
        wait_for(lambda: server.door.number == 2, "two to be ended")
        time.sleep(3 * server.bridge.bounds.sweep_s)  # further sweeps end no more
        assert server.door.number == 2
        assert set(server.door.connections) == {"127.0.0.4", "127.0.0.5"}


def test_slow_clients_of_one_address_are_bounded_and_the_oldest_ended_first() -> None:
    with front(application, Bounds(head_s=30.0, slow_s=0.2, slow_per_address=2)) as server:
        old = server.connect(HEAD)
        wait_for(lambda: server.door.number == 1, "the connection")
        young = [server.connect(HEAD) for _ in range(2)]
        other = server.connect(HEAD, source="127.0.0.2")
        assert status_of(everything(old)) == 429
        assert status_of(server.get()) == 200
        for client in (*young, other):
            client.sendall(b"Connection: close\r\n\r\n")
            assert status_of(everything(client)) == 200
            client.close()
        old.close()


def test_there_is_always_room_for_another_connection() -> None:
    with front(application, Bounds(head_s=30.0, connections=3)) as server:
        with open_sockets(lambda: server.connect(HEAD), 3) as slow:
            wait_for(lambda: server.door.number == 3, "the connections")
            assert status_of(server.get(source="127.0.0.2")) == 200
            assert status_of(everything(slow[0])) == 503
        wait_for(lambda: server.door.number == 0, "the end")


def test_who_keeps_connections_without_asking_makes_room_for_another_one() -> None:
    kept = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        front(application, Bounds(connections=3), timeout_keep_alive=30) as server,
        open_sockets(lambda: server.connect(kept), 3) as idle,
    ):
        for client in idle:
            assert status_of(client.recv(65536)) == 200
        assert status_of(server.get(source="127.0.0.2")) == 200
        # Without another answer.
        assert everything(idle[0]) == b""
        wait_for(lambda: server.door.number == 2, "the end of the one that has asked")


class Gate:
    """An application whose answers wait until `opened`."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.inside = threading.Semaphore(0)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.inside.release()
        assert self.opened.wait(20)
        start_response("200 OK", [])
        return [b"late"]


def test_calls_do_not_wait_for_pages() -> None:
    gate = Gate()
    with (
        front(gate) as server,
        open_sockets(lambda: server.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), THREADS) as pages,
    ):
        for _ in range(THREADS // 2):
            assert gate.inside.acquire(timeout=5)
        call = server.connect(asked_by("192.0.2.1"))
        assert gate.inside.acquire(timeout=5)
        gate.opened.set()
        assert status_of(everything(call)) == 200
        assert all(status_of(client.recv(100)) == 200 for client in pages)
        call.close()


def test_a_client_with_many_requests_does_not_delay_another_one(settings: Any) -> None:
    settings.SEQPULSE_TRUSTED_PROXIES = [ip_network("127.0.0.0/8")]
    served: list[str] = []
    gate = Gate()

    def noting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        answer = gate(environ, start_response)
        served.append(environ["HTTP_X_FORWARDED_FOR"])
        return answer

    with (
        front(noting) as server,
        open_sockets(lambda: server.connect(asked_by("192.0.2.1")), 60) as many,
    ):
        wait_for(lambda: server.bridge.running.by_address.total() == 60, "the many")
        one = server.connect(asked_by("192.0.2.2"))
        wait_for(lambda: server.bridge.running.by_address.total() == 61, "the one")
        gate.opened.set()
        assert status_of(everything(one)) == 200
        one.close()
        assert all(status_of(everything(client)) == 200 for client in many)
    assert served.index("192.0.2.2") <= THREADS + 1


def asked_by(client: str) -> bytes:
    return f"GET /deployments HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: {client}\r\n\r\n".encode()


def test_beside_too_many_others_that_are_served_a_client_is_refused() -> None:
    gate = Gate()
    with front(gate, Bounds(connections=1)) as server, server.connect(asked_by("192.0.2.1")) as asked:
        assert gate.inside.acquire(timeout=5)
        with server.connect() as other:
            refused = everything(other)
        assert (status_of(refused), b'"overloaded"' in refused) == (503, True)
        gate.opened.set()
        assert status_of(everything(asked)) == 200


def test_what_a_trusted_proxy_forwards_counts_by_client(settings: Any) -> None:
    settings.SEQPULSE_TRUSTED_PROXIES = [ip_network("127.0.0.0/8")]
    gate = Gate()
    with front(gate, Bounds(running_per_address=2, running=5)) as server:
        first = [server.connect(asked_by("192.0.2.1")) for _ in range(2)]
        for _ in first:
            assert gate.inside.acquire(timeout=5)
        assert status_of(server.ask(asked_by("192.0.2.1"))) == 429
        second = [server.connect(asked_by(f"2001:db8::{n}")) for n in range(1, 3)]
        for _ in second:
            assert gate.inside.acquire(timeout=5)
        assert status_of(server.ask(asked_by("2001:db8::3"))) == 429, "one network"
        last = server.connect(asked_by("192.0.2.3"))
        wait_for(lambda: server.bridge.running.by_address.total() == 5, "the last one")
        refused = server.ask(asked_by("192.0.2.4"))
        assert (status_of(refused), b'"overloaded"' in refused) == (503, True)
        gate.opened.set()
        for client in (*first, *second, last):
            assert status_of(everything(client)) == 200
            client.close()


def upload(client: str, size: int, sent: int) -> bytes:
    """Return a request whose body announces more than it sends, or is complete."""
    head = asked_by(client).replace(b"GET", b"POST").removesuffix(b"\r\n")
    return head + b"Content-Length: %d\r\n\r\n" % size + b"u" * sent


def test_bytes_of_requests_are_bounded_by_address_and_in_all(settings: Any) -> None:
    settings.SEQPULSE_TRUSTED_PROXIES = [ip_network("127.0.0.0/8")]
    bounds = Bounds(held_bytes_per_address=250_000, held_bytes=400_000)
    gate = Gate()
    with front(gate, bounds) as server, ExitStack() as stack:
        held = server.bridge.running

        def send(client: str, sent: int, size: int = 100_000) -> socket.socket:
            return stack.enter_context(server.connect(upload(client, size, sent)))

        complete = [send("192.0.2.1", 100_000) for _ in range(2)]
        for _ in complete:
            assert gate.inside.acquire(timeout=5)
        assert status_of(everything(send("192.0.2.1", 99_000))) == 429
        half = send("192.0.2.2", 99_000)
        wait_for(lambda: held.bytes["192.0.2.2"] > 99_000, "the half one")
        half_too = send("192.0.2.2", 99_500)
        # Now there is no room: of the address that holds most, the larger one of the incomplete requests is ended.
        wait_for(lambda: held.bytes["192.0.2.2"] > 198_000, "both")
        small = send("192.0.2.3", 1000, size=1000)
        wait_for(lambda: held.by_address["192.0.2.3"] == 1, "a small one is served")
        large = send("192.0.2.4", 99_000)
        refused = everything(half_too)
        assert (status_of(refused), b'"overloaded"' in refused) == (503, True)
        gate.opened.set()
        assert [status_of(everything(client)) for client in (*complete, small)] == [200, 200, 200]
        half.close()
        large.close()
        wait_for(lambda: not held.bytes and not held.total_bytes, "nothing is held any more")


def test_what_clients_left_behind_counts_until_it_was_served() -> None:
    gate = Gate()
    with front(gate, Bounds(held_bytes_per_address=250_000)) as server:
        for _ in range(2):
            server.connect(upload("192.0.2.1", 100_000, 100_000)).close()
            assert gate.inside.acquire(timeout=5)
        assert status_of(server.ask(upload("192.0.2.1", 100_000, 100_000))) == 429
        gate.opened.set()
        wait_for(lambda: not server.bridge.running.bytes, "nothing is held any more")


def test_who_sends_too_many_requests_without_waiting_is_ended(server: Front) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with server.connect(request * 60 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) as client:
        assert everything(client).count(b"HTTP/1.1 200") == 61
    gate = Gate()
    with front(gate) as blocked, blocked.connect(request * 200) as client:
        assert everything(client) in (b"", b"<reset>")
        gate.opened.set()
        wait_for(lambda: not blocked.door.number, "the connection is gone")


def test_liveness_is_answered_while_a_hanging_database_keeps_everything_else() -> None:
    gate = Gate()

    def hanging(environ: dict[str, Any], start_response: Any) -> Any:
        return (application if environ["PATH_INFO"] == "/health/live" else gate)(environ, start_response)

    with (
        front(hanging, Bounds(running=THREADS, running_per_address=THREADS)) as server,
        open_sockets(lambda: server.connect(asked_by("192.0.2.1")), THREADS),
    ):
        wait_for(lambda: server.bridge.running.by_address.total() == THREADS, "all places to be taken")
        assert status_of(server.ask(asked_by("192.0.2.1"))) in (429, 503)
        assert status_of(server.get("/health/live")) == 200
        gate.opened.set()


def test_stopping_lets_answers_end_and_waits_for_no_request() -> None:
    gate = Gate()
    with front(gate) as server:
        asked, half = server.connect(asked_by("192.0.2.1")), server.connect(HEAD + b"Content-Length: 9\r\n\r\n")
        assert gate.inside.acquire(timeout=5)
        server.should_exit = True
        assert status_of(everything(half)) == 503
        gate.opened.set()
        assert status_of(everything(asked)) == 200
        asked.close()
        half.close()
