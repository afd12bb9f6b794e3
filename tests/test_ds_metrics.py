"""/ds-metrics: correct numbers over all processes, and signature checks as a receiver."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from metrics.payload import parse_metrics
from metrics.signing import signed_headers
from projects.models import Environment
from seqpulse.jobs import forget_nonces
from seqpulse.models import RequestCount, UsedNonce
from seqpulse.observability import own_requests
from seqpulse.observability.machine import ProcessorMeter, read_memory, read_processor
from seqpulse.observability.own_requests import (
    RequestRecorder,
    Served,
    latency_of,
    percentile,
    recorder,
    served,
    step_of,
)
from tests.processes import live_installation, wait_for

SECRET = "sphs_for-ds-metrics-only"
NOW = 1_800_000_000
pytestmark = pytest.mark.django_db


def headers(now: datetime | None = None, secret: str = SECRET, path: str = "/ds-metrics") -> dict[str, str]:
    return signed_headers(secret, url=f"http://x{path}", now=now or timezone.now(), project_id="p")


@pytest.fixture
def signed(settings: Any) -> None:
    settings.SEQPULSE_DS_METRICS_SECRET = SECRET


def status(client: Client, given: dict[str, str], path: str = "/ds-metrics") -> int:
    return client.get(path, headers=given).status_code


def test_it_answers_what_our_own_parser_reads(client: Client) -> None:
    answer = client.get("/ds-metrics")
    assert answer.status_code == 200
    metrics = parse_metrics(answer.content)
    assert metrics.memory_usage is not None
    assert 0 < metrics.memory_usage < 1
    assert metrics.cpu_usage is not None
    assert 0 <= metrics.cpu_usage <= 1


def test_a_signed_request_is_let_in_once(client: Client, signed: None) -> None:
    given = headers()
    assert status(client, given) == 200
    assert status(client, given) == 401
    assert status(client, headers()) == 200
    assert status(client, headers(), "/ds-metrics/") == 200


@pytest.mark.parametrize(
    ("age_s", "expected"), [(0, 200), (290, 200), (-25, 200), (310, 401), (-40, 401), (86400 * 365, 401)]
)
def test_its_time_has_to_be_near(client: Client, signed: None, age_s: float, expected: int) -> None:
    assert status(client, headers(timezone.now() - timedelta(seconds=age_s))) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"X-SeqPulse-Signature": ""},
        {"X-SeqPulse-Signature": "sha256=" + "0" * 64},
        {"X-SeqPulse-Signature": "ü"},
        {"X-SeqPulse-Nonce": ""},
        {"X-SeqPulse-Nonce": "another"},
        {"X-SeqPulse-Nonce": "x" * 201},
        {"X-SeqPulse-Timestamp": ""},
        {"X-SeqPulse-Timestamp": "yesterday"},
        {"X-SeqPulse-Timestamp": "2026-02-13T10:00:00+00:00"},
        {"X-SeqPulse-Signature-Version": "v1"},
    ],
)
def test_what_is_not_rightly_signed_is_refused_and_takes_no_nonce(
    client: Client, signed: None, change: dict[str, str]
) -> None:
    answer = client.get("/ds-metrics", headers={**headers(), **change})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "signature_refused"
    assert not UsedNonce.objects.exists()


def test_a_signature_with_another_secret_or_for_another_path_is_refused(client: Client, signed: None) -> None:
    assert status(client, headers(secret="sphs_another")) == 401
    assert status(client, headers(path="/other")) == 401
    assert status(client, {}) == 401


def test_nonces_go_when_their_requests_are_too_old_anyway() -> None:
    UsedNonce.objects.create(digest=b"old", expires_at=timezone.now() - timedelta(seconds=1))
    UsedNonce.objects.create(digest=b"new", expires_at=timezone.now() + timedelta(minutes=1))
    assert forget_nonces() == 1
    assert bytes(UsedNonce.objects.get().digest) == b"new"


def test_processes_add_up() -> None:
    for each in (RequestRecorder(), RequestRecorder()):
        for number in range(300):
            each.add(10.0 if number % 10 else 200.0, 500 if number % 100 == 0 else 200, at=NOW - 10 - number % 30)
        each.flush()
        assert each.flush() == 0
    found = served(NOW)
    assert found.requests_per_sec == 10.0
    assert found.error_rate == 0.01
    assert abs(found.latency_p95 / 200 - 1) < 0.05


def test_only_the_last_minute_counts() -> None:
    each = RequestRecorder()
    for age in (200, 64, 63, 62, 4, 3, 2, 0):
        each.add(1.0, 200, at=NOW - age)
    each.flush()
    # Seconds to which other processes may still add are not counted yet.
    assert served(NOW).requests_per_sec == 3 / 60
    own_requests.forget(NOW)
    assert RequestCount.objects.count() == 7


def test_without_requests_all_is_zero() -> None:
    assert served(NOW) == Served(0.0, 0.0, 0.0)


def test_the_scale_keeps_latency_within_four_percent() -> None:
    for latency_ms in (0.2, 1.0, 7.7, 118.0, 342.0, 9_000.0):
        assert abs(latency_of(step_of(latency_ms)) / latency_ms - 1) <= 0.04
    assert step_of(0.0) == 0
    assert step_of(10**9) == own_requests.STEPS


def test_the_percentile_is_of_requests_not_of_steps() -> None:
    assert percentile({1: 95, 50: 5}, 0.95) == latency_of(1)
    assert percentile({1: 94, 50: 6}, 0.95) == latency_of(50)


def test_counts_that_could_not_be_shared_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    each = RequestRecorder()
    each.add(5.0, 200)
    monkeypatch.setattr(own_requests, "ADD", "SELECT %s, %s, %s, %s / 0 FROM nowhere")
    with pytest.raises(DatabaseError), transaction.atomic():
        each.flush()
    monkeypatch.undo()
    assert each.flush() == 1


def test_requests_are_counted_but_not_those_of_monitoring(client: Client) -> None:
    recorder.flush()
    for path in ("/ds-metrics", "/deployments", "/health", "/accounts/login/"):
        client.get(path)
    assert recorder.flush() == 2


def test_a_container_is_measured_by_its_own_limits(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 200000\n")
    assert read_memory(tmp_path) == 0.5
    (tmp_path / "cpu.max").write_text("200000 100000\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 5000000\nuser_usec 1\n")
    first = read_processor(tmp_path)
    assert first.used_s == 5.0
    assert first.offered_s == pytest.approx(first.at * 2)
    (tmp_path / "memory.max").write_text("max\n")
    assert 0 < read_memory(tmp_path) < 1


def test_processor_use_is_a_ratio_from_the_first_question_on() -> None:
    meter = ProcessorMeter()
    assert 0 <= meter.usage() <= 1
    assert 0 <= meter.usage() <= 1


@pytest.mark.e2e
def test_a_second_seqpulse_watches_this_one(tmp_path: Path) -> None:
    for name in ("watched", "watching"):
        (tmp_path / name).mkdir()
    with (
        live_installation(tmp_path / "watched", SEQPULSE_DS_METRICS_SECRET=SECRET, WEB_CONCURRENCY="2") as watched,
        live_installation(tmp_path / "watching") as watching,
    ):
        watched.start_web()
        watching.start_web()
        made = watching.project("seqpulse", "--endpoint", f"{watched.site}/ds-metrics", "--hmac")
        with watching.here():
            environment = Environment.objects.get()
            environment.hmac_secret = SECRET
            environment.save()
        key = watched.project("somebody")["api_key"]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: watched.call("GET", "/deployments", key).status_code, range(120)))
        assert set(answers) == {200}
        # Every process has written its counts.
        wait_for(lambda: watched.rows("SELECT sum(requests) FROM own_requests")[0][0] == 120, "both processes to share")
        wait_for(lambda: numbers(watched.site)["requests_per_sec"] == 2.0, "those seconds to be settled")

        watching.start_poller()
        with watching.late_expiry():
            deployment = watching.deploy(made["api_key"])
        verdict = watching.verdict_of(deployment, made["api_key"])
        assert verdict["samples"] == {"collected": 5, "expected": 5}
        assert watched.rows("SELECT count(*) FROM used_nonces")[0][0] >= 5
        one = headers()
        with ThreadPoolExecutor(8) as pool:
            replayed = list(pool.map(lambda _: ask(watched.site, one).status_code, range(8)))
        assert sorted(replayed) == [200] + [401] * 7


def ask(site: str, given: dict[str, str]) -> requests.Response:
    return requests.get(f"{site}/ds-metrics", headers=given, timeout=10)


def numbers(site: str) -> dict[str, float]:
    answer = ask(site, headers(datetime.now(UTC)))
    found: dict[str, float] = answer.json()["metrics"]
    return found
