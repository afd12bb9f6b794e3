"""Hundreds of slow clients beside a pipeline, on real servers."""

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles

import pytest
import requests

from tests.processes import Installation, free_port
from tests.system_tools import ROOT

SLOW, ROUNDS = 500, 80
SERVER = (sys.executable, "-m", "gunicorn", "-c", "python:tests.short_deadlines", "seqpulse.wsgi")
# Of some hundred KB, for those who do not take their answers.
ASSET = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


@contextmanager
def slow_clients(port: int) -> Iterator[None]:
    command = (sys.executable, "-m", "tests.slow_clients", str(port), str(SLOW), ASSET)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == b"ready\n"
        yield
        assert process.poll() is None
        process.stdin.close()


@pytest.mark.exclusive
def test_slow_clients_delay_nobody(installation: Installation) -> None:
    ports = attacked, quiet = free_port(), free_port()
    key = installation.project("beside slow clients")["api_key"]
    servers = [installation.start(f"web-{port}", *SERVER, PORT=str(port), DEBUG="on") for port in ports]
    for port, server in zip(ports, servers, strict=True):
        installation.wait_until_answers(server, f"http://127.0.0.1:{port}/health/live")
    assert len(requests.get(f"http://127.0.0.1:{attacked}{ASSET}", timeout=10).content) > 200_000
    took_s: dict[tuple[str, int], list[float]] = defaultdict(list)

    def ask(method: str, port: int, path: str, **body: str) -> str:
        began = time.monotonic()
        answer = requests.request(
            method, f"http://127.0.0.1:{port}{path}", json=body, headers={"X-API-Key": key}, timeout=10
        )
        took_s[path, port].append(time.monotonic() - began)
        assert answer.status_code == 200, answer.text
        return str(answer.json().get("deployment_id", ""))

    with slow_clients(attacked):
        for turn in range(ROUNDS):
            # The control has the same machine at the same time, but no slow clients.
            for port in ports:
                ask("GET", port, "/health/live")
                started = ask("POST", port, "/deployments/trigger", env="prod", idempotency_key=f"{port}-{turn}")
                ask("POST", port, "/deployments/finish", deployment_id=started, result="success")
    p95 = {asked: quantiles(times, n=20)[-1] for asked, times in took_s.items()}
    for path in ("/health/live", "/deployments/trigger", "/deployments/finish"):
        assert p95[path, attacked] <= 2 * p95[path, quiet], p95
    assert "clients_refused" in installation.log(f"web-{attacked}")
