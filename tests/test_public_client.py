"""The public client, package `seqpulse` 0.4.1, unchanged and in its own environment, against this server."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from metrics.signing import signed_headers
from tests.processes import Installation, free_port
from tests.system_tools import ROOT, client_python, output_of

pytestmark = pytest.mark.e2e

SCRIPTS = ROOT / "tests" / "client"
ENDPOINT = "/seqpulse-metrics"


@dataclass
class Service:
    """A service with the client's middleware, and the project that observes it."""

    address: str
    api_key: str
    hmac_secret: str


@pytest.fixture(scope="module")
def service(installation: Installation) -> Service:
    made = installation.project("client", "--hmac")
    port = free_port()
    script = str(SCRIPTS / "service.py")
    process = installation.start("service", client_python(), script, str(port), HMAC_SECRET=made["hmac_secret"])
    installation.wait_until_answers(process, f"http://127.0.0.1:{port}/")
    return Service(f"http://127.0.0.1:{port}", made["api_key"], made["hmac_secret"])


def test_the_client_drives_a_deployment_and_its_middleware_accepts_our_requests(
    installation: Installation, service: Service, tmp_path: Path
) -> None:
    site = installation.start_web()
    installation.start_poller()
    with installation.late_expiry():
        env = {**os.environ, "SEQPULSE_API_KEY": service.api_key}
        endpoint = service.address + ENDPOINT
        answers = json.loads(output_of(client_python(), SCRIPTS / "pipeline.py", site, endpoint, env=env, cwd=tmp_path))
    assert answers["first"]["status"] == "created"
    assert "has taken" in answers["first"]["message"]
    assert answers["again"]["status"] == "existing"
    assert answers["again"]["deployment_id"] == answers["first"]["deployment_id"]
    assert answers["finished"]["status"] == "accepted"
    assert answers["ignored"]["status"] == "ignored"

    deployment = answers["first"]["deployment_id"]
    verdict = installation.verdict_of(deployment, service.api_key)
    assert verdict["samples"] == {"collected": 5, "expected": 5}, verdict["summary"]
    samples = installation.call("GET", f"/deployments/{deployment}/metrics", service.api_key).json()["samples"]
    assert [sample["phase"] for sample in samples] == ["pre"] + 5 * ["post"]


def headers_of(service: Service, path: str = ENDPOINT, now: datetime | None = None) -> dict[str, str]:
    url = service.address + path
    return signed_headers(service.hmac_secret, url=url, now=now or datetime.now(UTC), project_id="any")


def status_of(service: Service, headers: dict[str, str]) -> int:
    return requests.get(service.address + ENDPOINT, headers=headers, timeout=10).status_code


def test_the_middleware_answers_a_signed_request_once(service: Service) -> None:
    headers = headers_of(service)
    assert status_of(service, headers) == 200
    assert status_of(service, headers) == 401  # the same nonce


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-SeqPulse-Signature", "sha256=" + 64 * "0"),
        ("X-SeqPulse-Nonce", "another"),
        ("X-SeqPulse-Timestamp", "2026-02-13T10:00:00Z"),
        ("X-SeqPulse-Canonical-Path", "/other"),
        ("X-SeqPulse-Method", "POST"),
        ("X-SeqPulse-Signature-Version", "v1"),
    ],
)
def test_the_middleware_refuses_a_tampered_request(service: Service, header: str, value: str) -> None:
    assert status_of(service, {**headers_of(service), header: value}) == 401


def test_the_middleware_refuses_old_and_unsigned_requests(service: Service) -> None:
    assert status_of(service, {}) == 401
    assert status_of(service, headers_of(service, now=datetime.now(UTC) - timedelta(seconds=310))) == 401
    assert status_of(service, headers_of(service, now=datetime.now(UTC) + timedelta(seconds=60))) == 401
