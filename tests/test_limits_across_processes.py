"""Limits are exact across processes, in PostgreSQL and in Redis, and when Redis becomes unavailable."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.processes import Installation, free_port, live_installation, wait_for
from tests.system_tools import ROOT, require

pytestmark = pytest.mark.e2e

COUNTING = """
import django; django.setup()
from django.core.cache import caches
from django.test import RequestFactory
from django_ratelimit.core import get_usage
request = RequestFactory().get("/")
passed = sum(
    not get_usage(request, group="t", key=lambda g, r: "caller", rate=(50, 10**8), increment=True)["should_limit"]
    for _ in range(100)
)
print(passed)
"""


def counted_by_four_processes(**env: str) -> int:
    """Return how many of four times a hundred concurrent calls pass a limit of fifty."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTING],
            cwd=ROOT,
            env={**env, "DJANGO_SETTINGS_MODULE": "seqpulse.settings"},
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    return sum(int(output.split()[-1]) for output in outputs)


def test_of_400_calls_at_once_exactly_as_many_pass_as_may(installation: Installation) -> None:
    assert counted_by_four_processes(**installation.env) == 50
    assert installation.rows("SELECT value FROM rate_counters") == [(400,)]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yield the URL and the process of a Redis server."""
    if find_spec("redis") is None:
        pytest.skip("install the package redis")
    port = free_port()
    where = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen([require("redis-server"), *where], stdout=subprocess.PIPE)
    output = server.stdout
    assert output is not None
    wait_for(lambda: b"Ready to accept" in output.readline(), "redis to be ready")
    try:
        yield f"redis://127.0.0.1:{port}/0", server
    finally:
        server.kill()
        server.communicate()


def test_redis_counts_as_exactly(redis: tuple[str, subprocess.Popen[bytes]], tmp_path: Path) -> None:
    url, server = redis
    with live_installation(tmp_path, REDIS_URL=url) as made:
        assert counted_by_four_processes(**made.env) == 50
        assert made.rows("SELECT count(*) FROM rate_counters") == [(0,)]
        server.kill()
        server.wait()
        # The limit holds, although counting restarts.
        assert counted_by_four_processes(**made.env) == 50
        assert made.rows("SELECT value FROM rate_counters") == [(400,)]
