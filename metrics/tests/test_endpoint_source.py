"""Options of endpoints as sources: credentials, authorities, JSON of another form, several instances."""

import asyncio
import itertools
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import trustme
from django.utils import timezone

from explain.errors import ExplainedError
from explain.rendering import render
from metrics.payload import METRICS, Metrics
from metrics.probing import probe
from metrics.sources.aggregation import aggregated
from metrics.sources.base import Asking, InvalidConfig
from metrics.sources.endpoint import EndpointKind
from metrics.sources.http_endpoint import Endpoint
from metrics.tests.site import Asked, Page, Site, serving
from outbound.addresses import AllowList
from outbound.fetcher import Fetcher
from outbound.transfer import OutboundError
from projects.services import create_project
from scheduler.registry import JobError

KIND = EndpointKind()
JSON = (("Content-Type", "application/json"),)
OWN = {"requests_per_sec": 40.0, "latency_p95": 120.0, "error_rate": 0.01, "cpu_usage": 0.5, "memory_usage": 0.25}
ENDPOINT = Endpoint("", "project", hmac_secret="sphs_marked")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


def page(document: object, status: int = 200) -> Page:
    return Page(json.dumps(document).encode(), status, JSON)


def read(config: Mapping[str, object], endpoint: Endpoint = ENDPOINT) -> tuple[Metrics, list[str]]:
    """Read once; return the metrics, and the codes of what is told."""
    told: list[str] = []

    async def scenario() -> Metrics:
        now, fetcher = timezone.now(), Fetcher(AllowList.parse("127.0.0.0/8"))
        asking = Asking(fetcher, now, now, endpoint)
        try:
            return await KIND.read(KIND.parse(config), asking)
        finally:
            told.extend(render(fact) for fact in asking.told)
            await fetcher.aclose()

    return asyncio.run(scenario()), told


def failure(config: Mapping[str, object], endpoint: Endpoint = ENDPOINT) -> ExplainedError:
    with pytest.raises((JobError, OutboundError)) as raised:
        read(config, endpoint)
    error: ExplainedError = raised.value
    assert "marked" not in f"{error}{error.fact.to_json()}"
    return error


def test_credentials_go_to_the_configured_address_with_the_signature_of_the_environment(site: Site) -> None:
    site.clear()
    site.pages["/m"] = page({"metrics": OWN})
    config = {"url": f"{site.url}/m", "username": "us", "password": "marked", "headers": {"X-Tenant": "shop"}}
    metrics, told = read(config)
    assert {name: getattr(metrics, name) for name in METRICS} == OWN
    assert (metrics.instances, told) == (None, [])
    [asked] = site.asked
    assert asked.headers["Authorization"].startswith("Basic ")
    assert asked.headers["X-Tenant"] == "shop"
    assert asked.headers["X-SeqPulse-Signature-Version"] == "v2"
    site.pages["/m"] = page({}, 401)
    assert failure(config).code == "source_unauthorized"


def test_an_endpoint_that_a_call_named_gets_no_credentials(site: Site) -> None:
    site.clear()
    site.pages["/called"] = page({"metrics": OWN})
    with pytest.raises(InvalidConfig) as refused:
        KIND.parse({"headers": {"Authorization": "Bearer marked"}})
    assert {path: fact.code for path, fact in refused.value.errors.items()} == {"url": "config.credentials_need_url"}
    called = replace(ENDPOINT, url=f"{site.url}/called")
    other = {"url": f"{site.url}/m", "headers": {"Authorization": "Bearer marked"}}
    failure(other, called)
    assert read({"timeout_s": 2}, called)[0].requests_per_sec == 40
    # A control group, or the green side.
    assert read(other, replace(called, elsewhere=True))[0].requests_per_sec == 40
    assert "Authorization" in site.asked.pop().headers
    foreign = replace(called, elsewhere=True, url=called.url.replace("127.0.0.1", "localhost"))
    assert read(other, foreign)[0].requests_per_sec == 40
    assert "Authorization" not in site.asked.pop().headers
    assert [(one.path, "Authorization" in one.headers) for one in site.asked] == [("/m", True), ("/called", False)]


def test_an_existing_health_page_serves(site: Site) -> None:
    site.clear()
    site.pages["/health"] = page(
        {
            "status": "up",
            "http": [{"rpm": 2400, "p95": 0.118, "failed": 0}],
            "cpu_percent": 42.5,
            "memory": {"rss mib": 512},
            "queue": {"ready": 7, "oldest": None},
            "cache": {"hits": 90, "gets": 120},
            "sessions": "many",
        }
    )
    metrics, told = read(
        {
            "url": f"{site.url}/health",
            "fields": {
                "requests_per_sec": {"path": "$.http[0].rpm", "unit": "per_minute"},
                "latency_p95": {"path": "$.http[0].p95", "unit": "s"},
                "error_rate": {"path": "$.http[0].failed", "over": "$.http[0].rpm"},
                "cpu_usage": {"path": "$.cpu_percent", "unit": "percent"},
                "memory_usage": {"path": "$.memory['rss mib']", "unit": "mib", "over_value": 2048},
                "backlog": {"path": "$.queue.ready"},
                "oldest": {"path": "$.queue.oldest"},
                "hits": {"path": "$.cache.hits", "over": "$.cache.gets"},
                "capacity": {"value": 3, "scale": 2},
                "sessions": {"path": "$.sessions"},
                "gone": {"path": "$.gone.away"},
            },
        }
    )
    assert metrics == Metrics(40.0, 118.0, 0.0, 0.425, 0.25, {"backlog": 7.0, "hits": 0.75, "capacity": 6.0})
    assert told == [
        'sessions: $.sessions is "many", it has to be a number',
        "gone: the answer has nothing at $.gone.away",
    ]


@pytest.mark.parametrize(
    ("document", "field", "code"),
    [
        ({"p95": "0.1"}, {"path": "$.p95"}, "field_no_number"),
        ({"p95": True}, {"path": "$.p95"}, "field_no_number"),
        ({"p95": [1]}, {"path": "$.p95"}, "field_no_number"),
        ({"p95": -1}, {"path": "$.p95"}, "metric_out_of_bounds"),
        ([1], {"path": "$.p95"}, "field_missing"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(site: Site, document: object, field: object, code: str) -> None:
    site.pages["/health"] = page(document)
    error = failure({"url": f"{site.url}/health", "fields": {"latency_p95": field}})
    assert error.code == "invalid_payload"
    problem: Any = error.fact.params["problem"]
    assert problem.code == code
    assert problem.params["name"] == "latency_p95"


@pytest.mark.parametrize(
    ("config", "field", "code"),
    [
        ({"fields": {"latency_p95": {"path": "p95"}}}, "fields.latency_p95.path", "json_path.begin"),
        ({"fields": {"latency_p95": {"path": "$.a", "unit": "percent"}}}, "fields.latency_p95.unit", "config.unit_of"),
        (
            {"fields": {"memory_usage": {"path": "$.a", "unit": "mib"}}},
            "fields.memory_usage.over",
            "config.unit_needs_over",
        ),
        ({"fields": {"latency_p95": {}}}, "fields.latency_p95.path", "config.path_or_value"),
        ({"fields": {"Latency": {"path": "$.a"}}}, "fields.Latency.[key]", "config.metric_name"),
        ({"url": "http://a", "targets": ["http://b"]}, "targets", "config.url_and_targets"),
        ({"resolve": "A"}, "resolve", "config.resolve_needs_url"),
        ({"url": "ftp://a"}, "url", "url_scheme"),
        ({"targets": ["http://a", "b"]}, "targets.1", "url_not_absolute"),
        ({"url": "http://a", "ca_pem": "nonsense"}, "ca_pem", "ca_missing"),
    ],
)
def test_a_wrong_option_is_named(config: dict[str, object], field: str, code: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        KIND.parse(config)
    assert {path: fact.code for path, fact in refused.value.errors.items()} == {field: code}


def test_instances_are_one_sample_of_those_that_answered(site: Site) -> None:
    site.clear()

    def instance(asked: Asked) -> Page:
        if asked.path == "/2":
            return page({"oh": 1}, 503)
        slow = asked.path == "/1"
        metrics = {**OWN, "requests_per_sec": 10.0, "error_rate": 0.2, "memory_usage": 0.75} if slow else OWN
        custom = {"jobs": 5, "ratio": 0.2 if slow else 0.7, "depth": 4 if slow else 8, "unnamed": 1 if slow else 3}
        return page({"metrics": metrics, "custom": custom})

    site.pages.update({f"/{number}": instance for number in range(3)})
    kinds = {"jobs": "rate", "ratio": "ratio", "depth": "gauge"}
    metrics, told = read(
        {"targets": [f"{site.url}/{number}" for number in (0, 1, 2, 0)]}, replace(ENDPOINT, custom_kinds=kinds)
    )
    assert metrics.custom == {"jobs": 10.0, "ratio": pytest.approx(0.6), "depth": 6.0, "unnamed": 2.0}
    assert replace(metrics, custom={}) == Metrics(50.0, 120.0, (40 * 0.01 + 10 * 0.2) / 50, 0.5, 0.75, {}, 2)
    assert told == [f"1 of 3 instances did not answer: {site.url}/2: HTTP 503 from {site.url}/2"]
    assert failure({"targets": [f"{site.url}/2", f"{site.url}/3"]}).code == "http_5xx"


def test_instances_behind_a_name_are_asked_at_their_addresses(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.clear()
    site.pages["/m"] = page({"metrics": OWN})
    system = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        if host != "shop.test":
            return system(host, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    port = site.url.rpartition(":")[2]
    metrics, told = read({"url": f"http://shop.test:{port}/m", "resolve": "A"})
    assert (metrics.requests_per_sec, metrics.instances) == (40.0, 1)
    assert "127.0.0.2" in told[0]
    assert site.asked[0].headers["Host"] == f"shop.test:{port}"


def test_the_slowest_instance_ends_with_the_time_of_the_source(site: Site) -> None:
    site.pages.update({"/quick": page({"metrics": OWN}), "/slow": Page(b"{}", pause_s=3)})
    begun = timezone.now()
    metrics, told = read({"targets": [f"{site.url}/quick", f"{site.url}/slow"], "timeout_s": 0.5})
    assert metrics.instances == 1
    assert len(told) == 1
    assert (timezone.now() - begun).total_seconds() < 2.5


def test_an_own_authority_is_trusted_by_its_source_alone() -> None:
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(context) as site:
        site.pages["/m"] = page({"metrics": OWN})
        pem = authority.cert_pem.bytes().decode()
        assert read({"url": f"{site.url}/m", "ca_pem": pem})[0].cpu_usage == 0.5
        # The environment's own endpoint has it as well.
        assert read({"ca_pem": pem}, replace(ENDPOINT, url=f"{site.url}/m"))[0].cpu_usage == 0.5
        for wrong in ("", other.cert_pem.bytes().decode()):
            assert failure({"url": f"{site.url}/m", "ca_pem": wrong}).code == "tls"


def test_instances_without_requests_count_alike() -> None:
    idle = [Metrics(0.0, None, 0.0), Metrics(0.0, None, 1.0), Metrics(None, 80.0, instances=3)]
    assert aggregated(idle, {}) == Metrics(0.0, 80.0, 0.5, instances=5)
    assert aggregated([Metrics(cpu_usage=0.2), Metrics()], {}) == Metrics(cpu_usage=0.2, instances=2)


@pytest.mark.django_db
def test_worker_processes_that_tell_of_themselves_alone_are_told(site: Site, settings: Any) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    pids = itertools.cycle([7, 7, 8])
    site.pages["/worker"] = lambda _: page({"metrics": OWN, "pid": next(pids)})
    site.pages["/single"] = page({"metrics": OWN, "pid": 7})
    site.pages["/silent"] = page({"metrics": OWN})
    environment = create_project("shop", environment="prod").environment
    found = {path: probe(environment, f"{site.url}/{path}") for path in ("worker", "single", "silent")}
    assert {path: one.processes for path, one in found.items()} == {"worker": 2, "single": 1, "silent": 1}
    assert all(one.works for one in found.values())
