"""The main flow across real processes: web, pollers, endpoints; and with faulty endpoints."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests

from projects.models import Environment
from projects.signing import fingerprint, rotate_secret
from tests.processes import Installation, closed_port, wait_for

pytestmark = pytest.mark.e2e
# Of deployments only: there is always a next recurring job.
OPEN = "SELECT count(*) FROM scheduled_jobs WHERE status IN ('pending', 'running') AND deployment_id IS NOT NULL"


@pytest.fixture(scope="module")
def site(installation: Installation) -> Installation:
    """Return the installation with a web server; tests start the pollers."""
    installation.start_web()
    return installation


@pytest.fixture
def late_expiry(site: Installation) -> Iterator[None]:
    with site.late_expiry():
        yield


@pytest.mark.usefixtures("late_expiry")
def test_a_deployment_is_measured_and_judged_over_http_alone(site: Installation) -> None:
    made = json.loads(site.manage("create_project", "whole flow", "--hmac", "--json"))
    endpoint = site.start_endpoint(made["hmac_secret"])
    poller = site.start_poller()

    started = {"env": "prod", "metrics_endpoint": f"{endpoint}/signed", "version": "2.1", "idempotency_key": "run-1"}
    first = site.call("POST", "/deployments/trigger", made["api_key"], started).json()
    again = site.call("POST", "/deployments/trigger", made["api_key"], started).json()
    assert (first["status"], again["status"]) == ("created", "existing")
    assert again["deployment_id"] == first["deployment_id"]
    deployment = first["deployment_id"]
    path = f"/deployments/{deployment}"
    wait_for(lambda: site.call("GET", f"{path}/metrics", made["api_key"]).json()["samples"], "the sample from before")

    finish = {"deployment_id": deployment, "result": "success"}
    assert site.call("POST", "/deployments/finish", made["api_key"], finish).json()["status"] == "accepted"
    pending = site.call("GET", f"{path}/verdict", made["api_key"])
    assert pending.status_code == 202
    assert pending.headers["Retry-After"]
    assert pending.json()["verdict"] is None

    verdict = site.verdict_of(deployment, made["api_key"])
    assert verdict["verdict"] == "ok", verdict["summary"]
    assert verdict["samples"] == {"collected": 10, "expected": 10}
    samples = site.call("GET", f"{path}/metrics", made["api_key"]).json()["samples"]
    assert [sample["phase"] for sample in samples] == ["pre"] + 10 * ["post"]
    assert {sample["latency_p95"] for sample in samples} == {120.0}
    # Each request was signed anew: a repeated nonce would have been refused.
    assert requests.get(f"{endpoint}/requests", timeout=5).json()["/signed"] == 11
    stop(poller)


@pytest.mark.usefixtures("late_expiry")
def test_while_a_rotation_lasts_a_service_that_knows_only_the_old_secret_is_measured(site: Installation) -> None:
    made = site.project("rotated", "--hmac")
    endpoint = site.start_endpoint(made["hmac_secret"])
    with site.here():
        environment = Environment.objects.get(project__name="rotated")
        rotate_secret(environment, seen=fingerprint(environment), grace=timedelta(hours=1))
    poller = site.start_poller()
    deployment = site.deploy(made["api_key"], metrics_endpoint=f"{endpoint}/signed")
    assert site.verdict_of(deployment, made["api_key"])["samples"] == {"collected": 5, "expected": 5}
    used = (
        "SELECT previous_hmac_used_at IS NOT NULL FROM projects_environment AS environment JOIN projects_project AS p"
    )
    assert site.rows(f"{used} ON p.id = project_id WHERE p.name = 'rotated'") == [(True,)]
    stop(poller)


def stop(poller: object) -> None:
    poller.terminate()  # type: ignore[attr-defined]
    assert poller.wait(20) == 0  # type: ignore[attr-defined]


BAD_ENDPOINTS = {
    "/500": "HTTP 500 from",
    # Refused itself, or cancelled because the PRE sample was refused.
    "/401": "401",
    "/hang": "within 5 s",
    "/drip": "within 5 s",
    "/invalid-json": "not valid JSON",
    "/nan": "NaN is not a number in JSON",
    "/wrong-types": 'latency_p95 is "120", it has to be a number',
    "/out-of-range": "error_rate is 4.2, allowed 0..1",
    "/huge": "a body of more than 64 KiB",
    "/redirect": "redirects are not followed",
    "closed port": "refused",
}


@pytest.fixture
def closed() -> Iterator[int]:
    with closed_port() as port:
        yield port


def test_a_bad_endpoint_costs_no_deployment_its_verdict(site: Installation, closed: int) -> None:
    endpoint = site.start_endpoint()
    addresses = {
        case: f"http://127.0.0.1:{closed}/ds-metrics" if case == "closed port" else endpoint + case
        for case in [*BAD_ENDPOINTS, "/good"]
    }
    wanted = [
        {"name": f"bad endpoint {case}", "endpoint": addresses[case], "signed": case == "/401"} for case in addresses
    ]
    keys = dict(zip(addresses, site.projects(wanted), strict=True))
    poller = site.start_poller()
    with ThreadPoolExecutor(len(keys)) as pool:
        deployments = dict(zip(keys, pool.map(site.deploy, keys.values()), strict=True))
        verdicts = dict(zip(keys, pool.map(site.verdict_of, deployments.values(), keys.values()), strict=True))
    wait_for(lambda: site.rows(OPEN)[0][0] == 0, "every job to end")
    stop(poller)

    assert verdicts.pop("/good")["verdict"] == "ok"
    for case, words in BAD_ENDPOINTS.items():
        verdict = verdicts[case]
        assert verdict["verdict"] == "warning", case
        assert verdict["conclusive"] is False, case
        assert verdict["samples"] == {"collected": 0, "expected": 5}, case
        errors = errors_of(site, deployments[case])
        assert errors, case
        assert any(words in error for error in errors), (case, errors)


def errors_of(site: Installation, deployment: str) -> list[str]:
    query = (
        "SELECT last_error FROM scheduled_jobs JOIN deployments ON deployments.id = deployment_id"
        " WHERE deployments.uuid = %s AND job_type = 'post_collect'"
    )
    return [row[0] for row in site.rows(query, deployment)]


@pytest.mark.usefixtures("late_expiry")
def test_a_refused_signature_ends_the_remaining_collections(site: Installation) -> None:
    endpoint = site.start_endpoint()
    wanted = {"name": "wrong secret", "endpoint": f"{endpoint}/401", "signed": True, "plan": "enterprise"}
    [key] = site.projects([wanted])
    poller = site.start_poller()
    deployment = site.deploy(key)
    verdict = site.verdict_of(deployment, key)
    stop(poller)

    assert verdict["conclusive"] is False
    jobs = site.rows(
        "SELECT job.status, job.error_code, job.started_at, job.finished_at FROM scheduled_jobs AS job"
        " JOIN deployments ON deployments.id = deployment_id"
        " WHERE deployments.uuid = %s AND job_type = 'post_collect'",
        deployment,
    )
    statuses = Counter(status for status, *_ in jobs)
    assert set(statuses) <= {"failed", "cancelled"}
    assert statuses["cancelled"] > 0
    # Some may have been under way when the first one was refused; none started later.
    refused = [finished_at for _, code, started_at, finished_at in jobs if code == "unauthorized" and started_at]
    assert all(started_at is None or started_at <= min(refused) for _, _, started_at, _ in jobs)
    # Plus the PRE sample.
    assert requests.get(f"{endpoint}/requests", timeout=5).json()["/401"] <= statuses["failed"] + 1
