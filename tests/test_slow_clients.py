"""Hundreds of slow clients beside a pipeline, on real servers."""

import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles

import pytest
import requests

from seqpulse.devserver.embedded_process import alive
from tests.processes import Installation, children_of, free_port, wait_for
from tests.system_tools import ROOT

pytestmark = pytest.mark.exclusive

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


@pytest.fixture(scope="module")
def servers(installation: Installation) -> dict[int, subprocess.Popen[bytes]]:
    """Return two web servers by port."""
    started = {}
    for port in (free_port(), free_port()):
        started[port] = installation.start(f"web-{port}", *SERVER, PORT=str(port), DEBUG="on")
    for port, server in started.items():
        installation.wait_until_answers(server, f"http://127.0.0.1:{port}/health/live")
    return started


def test_slow_clients_delay_nobody(installation: Installation, servers: dict[int, subprocess.Popen[bytes]]) -> None:
    ports = attacked, quiet = list(servers)
    key = installation.project("beside slow clients")["api_key"]
    assert len(requests.get(f"http://127.0.0.1:{attacked}{ASSET}", timeout=10).content) > 200_000
    took_s: dict[tuple[str, int], list[float]] = defaultdict(list)

    def ask(method: str, port: int, path: str, **body: str) -> str:
        began = time.monotonic()
        answer = requests.request(
            method, f"http://127.0.0.1:{port}{path}", json=body, headers={"X-API-Key": key}, timeout=10
        )
        took_s["health" if method == "GET" else "pipeline", port].append(time.monotonic() - began)
        assert answer.status_code == 200, answer.text
        return str(answer.json().get("deployment_id", ""))

    with slow_clients(attacked):
        for turn in range(ROUNDS):
            # The control has the same machine at the same time, but no slow clients.
            for port in ports if turn % 2 else ports[::-1]:
                ask("GET", port, "/health/live")
                started = ask("POST", port, "/deployments/trigger", env="prod", idempotency_key=f"{port}-{turn}")
                ask("POST", port, "/deployments/finish", deployment_id=started, result="success")
        wait_for(lambda: "clients_refused" in installation.log(f"web-{attacked}"), "slow clients to be refused")
    p95 = {asked: quantiles(times, n=20)[-1] for asked, times in took_s.items()}
    for kind in ("health", "pipeline"):
        assert p95[kind, attacked] <= 2 * p95[kind, quiet], p95


def test_workers_do_not_outlive_their_master(
    installation: Installation, servers: dict[int, subprocess.Popen[bytes]]
) -> None:
    port, server = servers.popitem()
    [worker] = children_of(server.pid)
    installation.kill(server.pid)
    server.wait()
    wait_for(lambda: not alive(worker), "the end of the worker", 20)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
