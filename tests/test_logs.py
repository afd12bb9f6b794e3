"""Logs of real processes: one format, one id from trigger to verdict, and no secret."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import structlog
from django.db import OperationalError
from django.http import HttpResponse
from django.test import RequestFactory

from deployments.tracing import public_ids
from scheduler.tracing import announce_names, names_of
from seqpulse.observability.logging import redact_event
from seqpulse.observability.request_logging import LogMiddleware
from tests.processes import Installation, live_installation, wait_for

pytestmark = pytest.mark.e2e


@dataclass
class LoggedDeployment:
    """A deployment from trigger to verdict, and the logs of all processes."""

    installation: Installation
    made: dict[str, Any]
    deployment: str

    def lines(self, *names: str) -> list[dict[str, Any]]:
        text = "".join(self.installation.log(name) for name in names)
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedDeployment]:
    with live_installation(tmp_path_factory.mktemp("logs")) as installation:
        installation.start_web()
        poller = installation.start_poller()
        made = installation.project("logged", "--hmac", "--endpoint", f"{installation.start_endpoint()}/401")
        deployment = installation.deploy(made["api_key"])
        installation.verdict_of(deployment, made["api_key"])
        wait_for(lambda: "verdict_issued" in installation.log("poller"), "the line about the verdict")
        poller.terminate()
        poller.wait(20)
        yield LoggedDeployment(installation, made, deployment)


def test_every_line_of_every_process_is_json_with_time_level_logger_and_event(logged: LoggedDeployment) -> None:
    for name in ("web", "poller"):
        lines = logged.lines(name)
        assert lines
        for line in lines:
            assert {"timestamp", "level", "logger", "event"} <= line.keys(), line
    assert "gunicorn.error" in {line["logger"] for line in logged.lines("web")}


def test_a_deployment_can_be_followed_by_one_id_across_processes(logged: LoggedDeployment) -> None:
    def about(name: str) -> list[dict[str, Any]]:
        return [line for line in logged.lines(name) if line.get("deployment_id") == logged.deployment]

    web, poller = about("web"), about("poller")
    assert [line["event"] for line in web if line["logger"] == "deployments.services"] == [
        "deployment_started",
        "deployment_finished",
    ]
    assert {"job_failed", "verdict_issued"} <= {line["event"] for line in poller}
    [verdict] = [line for line in poller if line["event"] == "verdict_issued"]
    assert verdict["duration_ms"] >= 0
    projects = {line["project_id"] for line in web + poller if "project_id" in line}
    assert len(projects) == 1
    failed = [line for line in poller if line["event"] == "job_failed"]
    assert all({"job_id", "job_type", "phase", "duration_ms", "project_id"} <= line.keys() for line in failed)
    completed = [line for line in logged.lines("poller") if line["event"] == "jobs_completed"]
    assert any(logged.deployment in line["deployment_ids"] for line in completed)


def test_all_lines_of_a_request_share_its_id_and_the_last_one_has_the_duration(logged: LoggedDeployment) -> None:
    [started] = [line for line in logged.lines("web") if line["event"] == "deployment_started"]
    of_request = [line for line in logged.lines("web") if line.get("request_id") == started["request_id"]]
    assert [line["event"] for line in of_request] == ["deployment_started", "request_finished"]
    assert of_request[-1]["duration_ms"] > 0
    assert (of_request[-1]["view"], of_request[-1]["code"]) == ("trigger", 200)
    assert of_request[-1]["deployment_id"] == logged.deployment
    assert {"ip", "request", "user_agent"} <= of_request[-1].keys()


def test_what_is_wrong_with_a_client_is_one_line_without_a_traceback(logged: LoggedDeployment) -> None:
    site = logged.installation.site
    for path in ("/deployments", "/accounts/login/"):
        assert requests.get(f"{site}{path}", headers={"Host": "foreign.example"}, timeout=10).status_code == 400
    lines = [line for line in logged.lines("web") if line["logger"] == "django.security.DisallowedHost"]
    assert [(line["level"], line.keys() & {"exception", "exc_info"}) for line in lines] == [("warning", set())] * 2
    assert all("foreign.example" in line["event"] for line in lines)


def test_no_secret_is_in_any_log(logged: LoggedDeployment) -> None:
    for name in ("web", "poller"):
        text = logged.installation.log(name)
        assert logged.made["api_key"] not in text
        assert logged.made["hmac_secret"] not in text
        assert logged.installation.env["SECRET_KEY"] not in text


def test_the_console_format_is_not_json(tmp_path: Path) -> None:
    with live_installation(tmp_path, LOG_FORMAT="console") as installation:
        installation.start_poller().terminate()
        installation.children.running["poller"].wait(20)
        lines = installation.log("poller").splitlines()
    assert any("poller_started" in line for line in lines)
    assert not any(line.startswith("{") for line in lines)


@pytest.mark.parametrize(
    ("event", "hidden"),
    [
        ({"hmac_secret": "abc"}, "abc"),
        ({"headers": {"Authorization": "Bearer abc"}}, "abc"),
        ({"event": "refused sp_abcdefghij"}, "abcdefghij"),
        ({"error": "cannot reach postgres://seqpulse:hunter2@db/seqpulse"}, "hunter2"),
        ({"rows": [{"password": "abc"}, ["sphs_abcdefghij"]]}, "abc"),
    ],
)
def test_secrets_are_masked_by_key_and_by_value(event: dict[str, Any], hidden: str) -> None:
    assert hidden not in json.dumps(redact_event(None, "info", event))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "status", "lines"),
    [
        ("/static/seqpulse.css", 200, 0),
        ("/static/seqpulse.css", 304, 0),
        ("/static/x", 404, 1),
        ("/dashboard/", 200, 2),
    ],
)
def test_static_files_that_are_served_are_not_logged(rf: RequestFactory, path: str, status: int, lines: int) -> None:
    with structlog.testing.capture_logs() as logs:
        LogMiddleware(lambda request: HttpResponse(status=status))(rf.get(path))
    assert len(logs) == lines
    assert structlog.contextvars.get_contextvars() == {}


def test_names_that_cannot_be_found_out_lose_no_job() -> None:
    def away(ids: Any) -> Any:
        raise OperationalError("connection refused")

    announce_names(away)
    try:
        with structlog.testing.capture_logs() as logs:
            assert names_of([7]) == {}
        assert [line["event"] for line in logs] == ["names_unknown"]
        announce_names(lambda ids: {pk: {"deployment_id": "u"} for pk in ids})
        assert names_of([7]) == {7: {"deployment_id": "u"}}
        assert names_of([8]) == {8: {"deployment_id": "u"}}
    finally:
        announce_names(public_ids)
