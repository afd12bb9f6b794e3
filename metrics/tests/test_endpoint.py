"""Asking a metrics endpoint: real requests to a real server."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from metrics.collecting import endpoint_of
from metrics.payload import Metrics
from metrics.signing import SignatureRefused, verified_nonce
from metrics.sources import http_endpoint
from metrics.sources.http_endpoint import Endpoint, collect
from metrics.storing import Sample, note_previous_secret
from outbound.fetcher import Fetcher
from outbound.tests.servers import Server, play
from projects.models import Environment
from projects.signing import end_grace, fingerprint, rotate_secret
from projects.tests.factories import make_environment
from scheduler.registry import JobError
from security.encryption import Sealed

METRICS = {"requests_per_sec": 50.0, "latency_p95": 120.0, "error_rate": 0.0, "cpu_usage": 0.3, "memory_usage": 0.4}
BODY = json.dumps({"metrics": METRICS}).encode()


def now() -> datetime:
    return datetime.now(UTC)


def answer_of(status: int, body: bytes = BODY) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


def knowing(*secrets: str, refusal: int = 401, then: int = 200) -> Server:
    """A service that accepts signatures made with one of these secrets, and each nonce once."""
    seen: set[str] = set()

    async def answer(server: Server, reader: Any, writer: Any) -> None:
        while True:
            head = (await server.request(reader)).decode().split("\r\n")
            headers = {name.title(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            headers = {name.replace("Seqpulse", "SeqPulse"): value for name, value in headers.items()}
            status = refusal
            for secret in secrets:
                try:
                    nonce = verified_nonce(secret, method="GET", path="/m", headers=headers, now=now())
                except SignatureRefused:
                    continue
                status = refusal if nonce in seen else then
                seen.add(nonce)
            writer.write(answer_of(status))
            await writer.drain()

    return Server(answer)


async def collected(fetcher: Fetcher, endpoint: Endpoint) -> tuple[Metrics, bool]:
    ended: asyncio.Queue[tuple[Metrics, bool] | Exception] = asyncio.Queue()
    collect(fetcher, endpoint, ended.put_nowait, now=now)
    found = await ended.get()
    if isinstance(found, Exception):
        raise found
    return found


def ask(server: Server, **options: Any) -> tuple[Metrics, bool]:
    async def scenario(server: Server, fetcher: Fetcher) -> tuple[Metrics, bool]:
        return await collected(fetcher, Endpoint(f"http://127.0.0.1:{server.port}/m", "p", **options))

    return play(server, scenario)


def rotated(until: timedelta = timedelta(hours=1), **options: Any) -> dict[str, Any]:
    return {
        "hmac_secret": "new",
        "previous": Sealed.of("old"),
        "previous_until": now() + until,
        **options,
    }


def refusal(server: Server, **options: Any) -> JobError:
    with pytest.raises(JobError) as caught:
        ask(server, **options)
    return caught.value


@pytest.mark.parametrize("status", [401, 403])
def test_an_endpoint_that_knows_only_the_old_secret_is_asked_once_more_with_that(status: int) -> None:
    server = knowing("old", refusal=status)
    found = ask(server, **rotated())
    assert found == (Metrics(**METRICS), True)
    assert len(server.requests) == 2
    assert server.header(0, "X-SeqPulse-Nonce") != server.header(1, "X-SeqPulse-Nonce")


def test_an_endpoint_that_knows_the_new_secret_is_asked_once() -> None:
    server = knowing("new", "old")
    assert ask(server, **rotated()) == (Metrics(**METRICS), False)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"hmac_secret": "new"},
        rotated(timedelta(seconds=-1)),
        {**rotated(), "previous": Sealed("")},
        {**rotated(), "previous_until": None},
    ],
)
def test_without_grace_a_refusal_is_final_after_one_request(options: dict[str, Any]) -> None:
    server = knowing("old")
    error = refusal(server, **options)
    assert (error.code, error.retry) == ("unauthorized", False)
    assert len(server.requests) == 1


def test_an_endpoint_that_refuses_both_secrets_is_unauthorized() -> None:
    server = knowing("another")
    error = refusal(server, **rotated())
    assert (error.code, error.retry) == ("unauthorized", False)
    assert len(server.requests) == 2


def test_a_failure_with_the_old_secret_is_reported_and_retried() -> None:
    error = refusal(knowing("old", then=503), **rotated())
    assert (error.code, error.retry) == ("http_5xx", True)


def test_both_requests_share_the_time_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the second one never comes: what is left of the 5 s is all that is waited for."""
    monkeypatch.setattr(http_endpoint, "TIMEOUT_S", 0.6)

    async def answer(server: Server, reader: Any, writer: Any) -> None:
        await server.request(reader)
        writer.write(answer_of(401))
        await writer.drain()
        await server.request(reader)
        await reader.read()

    server = Server(answer)
    error = refusal(server, **rotated())
    assert (error.code, error.retry) == ("timeout", True)
    assert len(server.requests) == 2
    assert float(str(error.fact.params["seconds"])) < 0.6


def test_a_refusal_that_comes_at_the_last_moment_is_a_timeout_and_no_wrong_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_endpoint, "LEAST_LEFT_S", http_endpoint.TIMEOUT_S)
    error = refusal(knowing("old"), **rotated())
    assert (error.code, error.retry) == ("timeout", True)


def test_a_blocked_endpoint_is_not_asked() -> None:
    server = knowing("new")
    error = refusal(server, hmac_secret="new", blocked=True)
    assert (error.code, error.retry) == ("blocked_by_ops", False)
    assert server.requests == []


def answering(head: bytes, body: bytes) -> Server:
    async def answer(server: Server, reader: Any, writer: Any) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
        await writer.drain()

    return Server(answer)


PAGE = (
    b"""<!doctype html><html><head><title>x</title><style>a {}</style></head>
<body>\n<h1>404</h1> <p>no   such page, token=hunter2"""
    + b" and more" * 100
)


@pytest.mark.parametrize(
    ("head", "body", "code", "shown"),
    [
        (b"404 X", PAGE, "http_4xx", "x 404 no such page, token=[redacted] and more and more"),
        (b"503 X", b"no database\0\r\n", "http_5xx", "no database"),
        (b"200 X", b"up 1\nmine 2\n", "invalid_json", "up 1 mine 2"),
        (b"200 X", b'{"status": "ok"}', "invalid_payload", '{"status": "ok"}'),
        (b"401 X", b"who are you?", "unauthorized_unsigned", "who are you?"),
    ],
)
def test_a_failure_keeps_the_first_lines_of_the_answer(
    settings: Any, head: bytes, body: bytes, code: str, shown: str
) -> None:
    settings.SEQPULSE_SHOW_INTERNAL_ANSWERS = True
    error = refusal(answering(head, body))
    assert error.code == code
    kept = str(error.fact.params["answered"])
    assert kept.startswith(shown)
    assert len(kept) <= 200


def test_an_answer_from_inside_a_network_is_not_kept() -> None:
    error = refusal(answering(b"404 X", b"an internal service"))
    assert error.fact.params["answered"] == ""


def test_an_exporters_large_answer_is_named_by_its_type() -> None:
    head = b"200 X\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8"
    error = refusal(answering(head, b"# HELP a b\n" * 10_000))
    assert error.code == "too_large"
    assert "Prometheus text" in str(error)
    assert "more than 64 KiB" in str(refusal(answering(b"200 X", b"x" * 70_000)))


def last_used() -> datetime | None:
    return Environment.objects.values_list("previous_hmac_used_at", flat=True).get()


@pytest.mark.django_db
def test_a_rotated_environment_is_collected_from_before_during_and_after_its_service_follows() -> None:
    """The whole life of a rotation, as the poller sees it."""
    environment = make_environment(hmac_secret="first", metrics_endpoint="http://unused.example/m")

    def with_previous(server: Server) -> bool:
        found = Environment.objects.select_related("project").get(pk=environment.pk)

        async def scenario(server: Server, fetcher: Fetcher) -> tuple[Metrics, bool]:
            return await collected(fetcher, endpoint_of(found, f"http://127.0.0.1:{server.port}/m"))

        metrics, previous = play(server, scenario)
        note_previous_secret([Sample(environment.pk, metrics, now(), with_previous=previous)])
        return previous

    service = knowing("first")
    assert not with_previous(service)
    second = rotate_secret(environment, seen=fingerprint(environment), grace=timedelta(hours=1))
    assert with_previous(service)
    noted = last_used()
    assert noted is not None
    assert with_previous(service)
    assert last_used() == noted  # to the minute
    assert not with_previous(knowing(second))
    assert last_used() == noted
    end_grace(environment, seen=fingerprint(environment))
    assert last_used() is None
    with pytest.raises(JobError, match="refuses our signature"):
        with_previous(service)


@pytest.mark.django_db
def test_a_note_older_than_a_minute_is_renewed() -> None:
    old = timezone.now() - timedelta(minutes=2)
    environment = make_environment(previous_hmac_used_at=old)
    note_previous_secret([Sample(environment.pk, Metrics(**METRICS), now(), with_previous=True)])
    noted = last_used()
    assert noted is not None
    assert noted > old
