"""`make demo`: the whole demo with all processes, and the parts of the simulated service."""

import hashlib
import hmac
import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
import requests

from analysis.judge import judge
from analysis.tests.samples import make_post, make_pre
from analysis.tests.test_journeys import asked, window_of
from demo.__main__ import CHECKED_TIMES, avoid_other_pollers
from demo.load import Load
from demo.play import ACTS, BASELINE_SAMPLES, IN_PLACE, Outcome, table
from demo.prometheus import EXPRESSIONS, programs, start_prometheus
from demo.service import VERSIONS, Meter
from demo.signature import Refused, Verifier
from projects.policy import policy_from_dict
from seqpulse.devserver import embedded
from seqpulse.devserver.processes import Children
from seqpulse.devserver.runner import RunError
from tests.processes import Installation, Program, free_port, wait_for
from tests.system_tools import ROOT

SECRET = "hmac_test_secret"
NOW = datetime(2026, 2, 13, 10, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def start(server_dir: Path) -> Iterator[Callable[..., Program]]:
    made: list[Program] = []

    def start_one(*arguments: str, **env: str) -> Program:
        made.append(Program(server_dir, "demo", *arguments, **env))
        return made[-1]

    yield start_one
    for demo in made:
        demo.kill()
    embedded.stop(server_dir)


# Real time: it judges a service under real load.
@pytest.mark.e2e
@pytest.mark.exclusive
def test_the_demo_reaches_three_verdicts_and_stops_every_process(
    start: Callable[..., Program], server_dir: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        demo = start("--exit", PORT=str(taken))
        assert demo.process.wait(180) == 0, demo.text()
    text = demo.text()
    rows = re.findall(r"^\d  (\S+) +\S+ +(\S+) +\d+%", text, flags=re.MULTILINE)
    assert rows == [("good", "ok"), ("slow", "warning"), ("broken", "rollback_recommended")], text
    assert f"Port {taken} is taken" in text
    assert "5 of 5 collected" in text
    assert len(re.findall(r"baseline  \d+ samples", text)) == 3
    assert re.search(r"^Dashboard  http://localhost:\d+/$", text, flags=re.MULTILINE)
    assert demo.left_over() == []
    assert not embedded.is_running(server_dir)


@pytest.mark.e2e
@pytest.mark.exclusive
def test_a_demo_stopped_in_the_middle_ends_everything_it_started(
    start: Callable[..., Program], server_dir: Path
) -> None:
    demo = start(PORT=str(free_port()))
    wait_for(lambda: "trigger   deployment #1" in demo.text() or demo.process.poll(), "the play", 120)
    assert demo.process.poll() is None, demo.text()
    assert len(demo.left_over()) >= 5  # the demo, the service, web with a worker, poller
    assert demo.end() == 0
    assert demo.left_over() == []
    assert not embedded.is_running(server_dir)


def test_the_demo_does_not_share_a_database_with_another_poller(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", installation.database_url)
    avoid_other_pollers()
    poller = installation.start_poller()
    with pytest.raises(RunError, match="A poller works on the database"):
        avoid_other_pollers()
    poller.kill()
    poller.wait()
    # Its heartbeat is still fresh, but the process has ended.
    avoid_other_pollers()


@pytest.mark.e2e
def test_the_demos_prometheus_knows_the_service_of_now_and_of_the_half_hour_before(tmp_path: Path) -> None:
    port, prometheus_port = free_port(), free_port()
    children, load = Children(), Load(port)
    try:
        command = [sys.executable, "-m", "demo.service", "--port", str(port), "--speaks", "exposition"]
        service = children.start("service", command, env=os.environ, cwd=ROOT, log_dir=tmp_path)
        load.start()
        url = start_prometheus(
            children, tmp_path / "prometheus", f"127.0.0.1:{port}", port=prometheus_port, service=service.pid
        )

        def level(name: str, ago_s: float) -> float:
            """Ask for a metric, 0.0 where there is none yet."""
            query = EXPRESSIONS[name].replace("$__rate_interval", "3s")
            with suppress(requests.ConnectionError, IndexError):
                answer = requests.get(f"{url}/api/v1/query", {"query": query, "time": time.time() - ago_s}, timeout=5)
                return float(answer.json()["data"]["result"][0]["value"][1])
            return 0.0

        # It scrapes the service itself by now.
        wait_for(lambda: requests_of(url) > 3, "scrapes", 30)
        for ago_s in (0, 1700):
            assert 30 < level("requests_per_sec", ago_s) < 50
            assert 150 < level("latency_p95", ago_s) < 200
            assert level("error_rate", ago_s) == 0
            assert 0 < level("cpu_usage", ago_s) < 1
            assert 0 < level("memory_usage", ago_s) < 1
        refused = requests.get(f"http://127.0.0.1:{port}/ds-metrics", timeout=5)
        assert refused.status_code == 404
    finally:
        load.stop()
        children.stop()


def test_the_journeys_of_a_demo_prove_a_rollback_whatever_chance_does() -> None:
    random = Random(20)

    def failed() -> int:
        return sum(random.random() < VERSIONS["broken"].fails for _ in range(CHECKED_TIMES))

    known = BASELINE_SAMPLES + 1  # and that of the trigger
    before = asked(make_pre(known), [0] * known, asks=CHECKED_TIMES)
    verdicts = Counter(
        judge(
            before,
            asked(make_post(5), [failed() for _ in range(5)], asks=CHECKED_TIMES),
            policy_from_dict({}),
            window_of(5),
        ).verdict
        for _ in range(500)
    )
    assert verdicts == {"rollback_recommended": 500}


def requests_of(url: str) -> int:
    """Return how often the Prometheus has scraped the service."""
    with suppress(requests.ConnectionError, IndexError):
        answer = requests.get(f"{url}/api/v1/query", {"query": 'count_over_time(up{job="shop"}[1m])'}, timeout=5)
        return int(answer.json()["data"]["result"][0]["value"][1])
    return 0


def test_without_a_prometheus_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RunError, match="apt-get install prometheus"):
        programs()


# ------------------------------------------------------------------------------------------------- the service's parts


def signed(**changes: str) -> dict[str, str]:
    """Return the headers of signature v2, computed here; changes are applied after signing."""
    payload = "2026-02-13T10:00:00Z|GET|/ds-metrics|abc123"
    digest = hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()
    headers = {
        "x-seqpulse-timestamp": "2026-02-13T10:00:00Z",
        "x-seqpulse-nonce": "abc123",
        "x-seqpulse-signature": f"sha256={digest}",
        "x-seqpulse-signature-version": "v2",
    }
    return {**headers, **{f"x-seqpulse-{name}": value for name, value in changes.items()}}


def test_the_service_accepts_the_published_test_vector() -> None:
    assert signed()["x-seqpulse-signature"].endswith("821ad4c61c727112d1f87f32a6af88eb327d28ab725894f87d748d6ca73271ff")
    Verifier(SECRET).check("GET", "/ds-metrics/?x=1", signed(), NOW)


@pytest.mark.parametrize(
    ("changes", "method", "path", "now", "words"),
    [
        ({"signature": "sha256=" + 64 * "0"}, "GET", "/ds-metrics", NOW, "signature is wrong"),
        ({"signature": "é"}, "GET", "/ds-metrics", NOW, "signature is wrong"),
        ({"nonce": "other"}, "GET", "/ds-metrics", NOW, "signature is wrong"),
        ({"nonce": ""}, "GET", "/ds-metrics", NOW, "nonce"),
        ({"timestamp": "yesterday"}, "GET", "/ds-metrics", NOW, "cannot be read"),
        ({"signature-version": "v1"}, "GET", "/ds-metrics", NOW, "not v2"),
        ({}, "POST", "/ds-metrics", NOW, "signature is wrong"),
        ({}, "GET", "/other", NOW, "signature is wrong"),
        ({}, "GET", "/ds-metrics", NOW + 301, "too old"),
        ({}, "GET", "/ds-metrics", NOW - 31, "in the future"),
    ],
)
def test_the_service_refuses_what_is_not_signed_right(
    changes: dict[str, str], method: str, path: str, now: float, words: str
) -> None:
    with pytest.raises(Refused, match=words):
        Verifier(SECRET).check(method, path, signed(**changes), now)


def test_the_service_takes_a_nonce_once() -> None:
    verifier = Verifier(SECRET)
    verifier.check("GET", "/ds-metrics", signed(), NOW)
    with pytest.raises(Refused, match="used before"):
        verifier.check("GET", "/ds-metrics", signed(), NOW + 10)


def test_the_service_measures_the_last_two_seconds() -> None:
    meter = Meter()
    for number in range(100):
        meter.arrived(10 + number / 50)
        meter.answered(10 + number / 50, 100.0 + number, failed=number % 5 == 0)
    meter.cpu_used(10, 1.0)
    meter.cpu_used(12, 1.0)
    metrics = meter.metrics(12)
    assert metrics["requests_per_sec"] == 50
    assert metrics["latency_p95"] == 194
    assert metrics["error_rate"] == pytest.approx(0.2)
    assert metrics["cpu_usage"] == 0
    assert 0 < metrics["memory_usage"] <= 1
    assert meter.metrics(13)["requests_per_sec"] == 25
    later = meter.metrics(20)
    assert (later["requests_per_sec"], later["latency_p95"], later["error_rate"]) == (0, 0, 0)


def test_every_act_has_a_version_that_the_service_can_show() -> None:
    assert [act.version for act in ACTS] == list(IN_PLACE)


def test_the_table_shows_each_verdict_with_its_top_hint() -> None:
    hints = [{"title": "Errors", "severity": "critical"}, {"title": "Latency", "severity": "warning"}]
    answer = {"verdict": "rollback_recommended", "confidence": 0.9, "hints": hints}
    text = table([Outcome(ACTS[0], {**answer, "hints": []}), Outcome(ACTS[2], answer)])
    assert "90%" in text
    assert text.splitlines()[2].endswith("none")
    assert text.splitlines()[3].endswith("Errors (critical)")
    assert Outcome(ACTS[2], answer).as_expected
    assert not Outcome(ACTS[0], answer).as_expected
