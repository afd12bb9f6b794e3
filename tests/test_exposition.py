"""GET /metrics: access, content and correctness."""

import re
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
import requests
import structlog
from django.conf import settings
from django.db import OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import get_resolver
from django.utils import timezone
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from common import totals
from scheduler.counting import JOBS_ENDED, START_DELAY
from scheduler.models import Poller
from seqpulse.observability import exposition
from seqpulse.observability.http_metrics import TIMED_CALLS, HttpMetricsMiddleware
from tests.processes import Installation, wait_for

pytestmark = pytest.mark.django_db

LOCAL = {"Host": "localhost"}
DOCUMENTED = {
    "seqpulse_metrics_collected",
    "seqpulse_collection_failures",
    "seqpulse_analysis_duration_seconds",
    "seqpulse_analysis_verdict",
    "seqpulse_analysis_hint",
    "seqpulse_notifications_deliveries",
    "seqpulse_notifications_pending",
    "seqpulse_notifications_lag_seconds",
    "seqpulse_scheduler_jobs_pending",
    "seqpulse_scheduler_jobs_failed",
    "seqpulse_scheduler_job_start_delay_seconds",
    "seqpulse_scheduler_poller_heartbeat_age_seconds",
    "seqpulse_time_to_verdict_seconds",
    "seqpulse_http_requests",
    "seqpulse_http_request_duration_seconds",
    "seqpulse_database_connections",
    "django_db_execute",
}


@pytest.fixture(autouse=True)
def fresh_answers() -> Iterator[None]:
    exposition.database.forget()
    yield
    exposition.database.forget()


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return values by sample name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(client: Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    exposition.database.forget()
    return parsed(client.get("/metrics", headers=LOCAL).content.decode())


def test_every_documented_metric_is_there_from_the_start(client: Client) -> None:
    client.get("/health/live")
    text = client.get("/metrics", headers=LOCAL).content.decode()
    assert {family.name for family in text_string_to_metric_families(text)} >= DOCUMENTED
    values = parsed(text)
    assert values["seqpulse_analysis_verdict_total", (("verdict", "rollback_recommended"),)] == 0
    assert values["seqpulse_metrics_collected_total", (("phase", "baseline"),)] == 0
    assert values["seqpulse_scheduler_jobs_failed_total", (("job_type", "analysis"),)] == 0


def test_totals_are_shown_as_counters_and_histograms(client: Client) -> None:
    JOBS_ENDED.add({("analysis", "failed"): 2, ("analysis", "completed"): 5})
    START_DELAY.observe([(("analysis",), 0.03), (("analysis",), 0.5), (("analysis",), 1000)])
    values = scrape(client)
    assert values["seqpulse_scheduler_jobs_failed_total", (("job_type", "analysis"),)] == 2
    name = "seqpulse_scheduler_job_start_delay_seconds"

    def bucket(bound: str) -> float:
        return values[f"{name}_bucket", (("job_type", "analysis"), ("le", bound))]

    assert [bucket("0.025"), bucket("0.05"), bucket("0.5"), bucket("300"), bucket("+Inf")] == [0, 1, 2, 2, 3]
    assert values[f"{name}_count", (("job_type", "analysis"),)] == 3
    assert values[f"{name}_sum", (("job_type", "analysis"),)] == pytest.approx(1000.53)


def test_folding_changes_no_number(client: Client) -> None:
    for _ in range(20):
        JOBS_ENDED.add({("analysis", "completed"): 1})
    series = "seqpulse_scheduler_jobs_ended_total", (("job_type", "analysis"), ("status", "completed"))
    before = scrape(client)[series]
    totals.fold()
    assert before == scrape(client)[series] == 20


def test_a_hosts_age_is_that_of_its_freshest_poller_and_long_gone_hosts_are_left_out(client: Client) -> None:
    now = timezone.now()
    for name, host, age_s in [("1", "a", 5000), ("2", "a", 3), ("3", "b", 100), ("4", "gone", 2000)]:
        beat = now - timedelta(seconds=age_s)
        Poller.objects.create(name=name, host=host, pid=1, started_at=beat, heartbeat_at=beat)
    values = scrape(client)
    name = "seqpulse_scheduler_poller_heartbeat_age_seconds"
    ages = {labels[0][1]: value for (found, labels), value in values.items() if found == name}
    assert ages == {"a": pytest.approx(3, abs=2), "b": pytest.approx(100, abs=2)}
    assert values["seqpulse_scheduler_pollers_alive", ()] == 1
    Poller.objects.exclude(host="gone").delete()
    assert (name, (("host", "gone"),)) in scrape(client)


def test_a_request_that_ends_in_a_traceback_is_counted_and_leaves_the_next_one_no_names() -> None:
    def break_down(request: HttpRequest) -> HttpResponse:
        structlog.contextvars.bind_contextvars(user_id=7)
        raise RuntimeError("beyond every other middleware")

    def seen(request: HttpRequest) -> HttpResponse:
        return HttpResponse(repr(structlog.contextvars.get_contextvars()))

    labels = {"method": "GET", "view": "unmatched", "status": "500"}
    before = REGISTRY.get_sample_value("seqpulse_http_requests_total", labels) or 0.0
    request = RequestFactory().get("/")
    with pytest.raises(RuntimeError):
        HttpMetricsMiddleware(break_down)(request)
    assert REGISTRY.get_sample_value("seqpulse_http_requests_total", labels) == before + 1
    assert HttpMetricsMiddleware(seen)(request).content == b"{}"


def test_labels_are_bounded_whatever_is_asked_for(client: Client) -> None:
    for number in range(5):
        client.get(f"/no/such/page-{number}")
        client.generic(f"METHOD{number}", "/health/live")
        client.get(f"/deployments/00000000-0000-0000-0000-{number:012}")
    requested = [labels for (name, labels), _ in scrape(client).items() if name == "seqpulse_http_requests_total"]
    views = {dict(labels)["view"] for labels in requested}
    assert not {view for view in views if "page-" in view or "0000" in view}
    assert {"unmatched", "deployment-detail"} <= views
    assert not {method for labels in requested if (method := dict(labels)["method"]).startswith("METHOD")}


def test_what_the_recorded_p95_is_made_of_has_its_series_before_the_first_call(client: Client) -> None:
    rules = (settings.BASE_DIR / "ops/prometheus/rules/seqpulse.yml").read_text()
    views = set(re.search(r'duration_seconds_bucket\{view=~"([^"]+)"', rules)[1].split("|"))  # type: ignore[index]
    assert views == {view for _, view in TIMED_CALLS}
    name = "seqpulse_http_request_duration_seconds_count"
    counted = {dict(labels)["view"] for (each, labels), _ in scrape(client).items() if each == name}
    assert views <= counted
    assert views <= set(get_resolver().reverse_dict)


def test_without_its_database_the_other_metrics_are_exposed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(exposition, "read_gauges", away)
    monkeypatch.setattr(connection, "close", lambda: None)
    values = scrape(client)
    assert values["seqpulse_database_up", ()] == 0
    assert any(name == "seqpulse_http_requests_total" for name, _ in values)
    assert not any(name.startswith("seqpulse_scheduler") for name, _ in values)


CALLERS: list[tuple[dict[str, Any], str, int]] = [
    ({"REMOTE_ADDR": "127.0.0.1"}, "", 200),
    ({"REMOTE_ADDR": "::1"}, "", 200),
    ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, "", 200),
    ({"REMOTE_ADDR": "10.0.0.7"}, "", 401),
    ({"REMOTE_ADDR": ""}, "", 401),
    # A local proxy that the settings do not list: its clients are not local.
    ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}, "", 401),
    ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"}, "", 401),
    ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_REAL_IP": "127.0.0.1"}, "", 401),
    # A trusted proxy names the client; addresses that the client prepended do not count.
    ({"REMOTE_ADDR": "10.1.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1, 203.0.113.9"}, "10.1.0.0/16", 401),
    ({"REMOTE_ADDR": "10.1.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9, 127.0.0.1"}, "10.1.0.0/16", 200),
    ({"REMOTE_ADDR": "10.1.0.1", "HTTP_X_FORWARDED_FOR": "nonsense"}, "10.1.0.0/16", 401),
]


@pytest.mark.parametrize(("meta", "trusted", "code"), CALLERS)
def test_without_a_token_only_this_machine_may_scrape(
    client: Client, monkeypatch: pytest.MonkeyPatch, meta: dict[str, Any], trusted: str, code: int
) -> None:
    monkeypatch.setattr(settings, "SEQPULSE_TRUSTED_PROXIES", [ip_network(trusted)] if trusted else [])
    assert client.get("/metrics", **{"HTTP_HOST": "localhost", **meta}).status_code == code


HOSTS = {
    200: ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.9.10", "[::1]:8000"],
    # A local proxy that forwards the host name but not the client's address.
    401: ["seqpulse.example", "localhost.example", "127.0.0.1.example", "10.0.0.7:8000", ""],
}


@pytest.mark.parametrize(("host", "code"), [(host, code) for code, hosts in HOSTS.items() for host in hosts])
def test_this_machine_asks_by_a_local_name(
    client: Client, monkeypatch: pytest.MonkeyPatch, host: str, code: int
) -> None:
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", ["*"])
    named = {"HTTP_HOST": host} if host else {}
    assert client.get("/metrics", REMOTE_ADDR="127.0.0.1", **named).status_code == code


LISTED: list[tuple[dict[str, Any], int]] = [
    ({"REMOTE_ADDR": "10.0.0.7"}, 200),
    ({"REMOTE_ADDR": "::ffff:10.0.0.7"}, 200),
    ({"REMOTE_ADDR": "2001:db8::7"}, 200),
    ({"REMOTE_ADDR": "10.0.1.7"}, 401),
    ({"REMOTE_ADDR": ""}, 401),
    # One of these networks, forwarding a client without being a trusted proxy.
    ({"REMOTE_ADDR": "10.0.0.7", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}, 401),
    ({"REMOTE_ADDR": "203.0.113.9", "HTTP_X_FORWARDED_FOR": "10.0.0.7"}, 401),
    # Through a trusted proxy the client's address counts; addresses that the client prepended do not.
    ({"REMOTE_ADDR": "10.1.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.7"}, 200),
    ({"REMOTE_ADDR": "10.1.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.7, 203.0.113.9"}, 401),
]


@pytest.mark.parametrize(("meta", "code"), LISTED)
def test_without_a_token_networks_that_are_listed_may_scrape(
    client: Client, monkeypatch: pytest.MonkeyPatch, meta: dict[str, Any], code: int
) -> None:
    monkeypatch.setattr(settings, "SEQPULSE_TRUSTED_PROXIES", [ip_network("10.1.0.0/16")])
    monkeypatch.setattr(settings, "SEQPULSE_METRICS_NETWORKS", [ip_network("10.0.0.0/24"), ip_network("2001:db8::/32")])
    assert client.get("/metrics", **meta).status_code == code
    monkeypatch.setattr(settings, "SEQPULSE_METRICS_TOKEN", "watch-me")
    assert client.get("/metrics", **meta).status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer watch-me"}, **meta).status_code == 200


def test_a_configured_token_is_required(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SEQPULSE_METRICS_TOKEN", "watch-me")
    refused = client.get("/metrics", REMOTE_ADDR="127.0.0.1")
    assert (refused.status_code, refused["WWW-Authenticate"]) == (401, "Bearer")
    assert b"seqpulse_scheduler" not in refused.content
    assert client.get("/metrics", headers={"Authorization": "Bearer watch-m"}).status_code == 401
    assert client.get("/metrics", headers={"Authorization": "bearer watch-me"}).status_code == 200


@pytest.mark.e2e
def test_requests_of_all_workers_are_in_each_scrape_and_a_killed_workers_stay(installation: Installation) -> None:
    installation.env["WEB_CONCURRENCY"] = "3"
    site = installation.start_web()
    own = f"{site}/health/live"

    def counted() -> float:
        values = parsed(requests.get(f"{site}/metrics", timeout=10).text)
        key = (("method", "GET"), ("status", "200"), ("view", "health-live"))
        return values.get(("seqpulse_http_requests_total", key), 0.0)

    for _ in range(60):
        # A new connection per request, so that all three workers get some.
        assert requests.get(own, timeout=10).ok
    assert [counted() for _ in range(6)] == [60.0] * 6

    workers = installation.workers()
    assert len(workers) == 3
    installation.kill(workers[0])
    wait_for(lambda: len(set(installation.workers()) - set(workers)) == 1, "another worker")
    assert requests.get(own, timeout=10).ok
    assert [counted() for _ in range(6)] == [61.0] * 6
