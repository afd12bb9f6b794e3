"""Find services and expressions, with a Prometheus and a VictoriaMetrics that scrape a service under load."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from explain.rendering import render
from metrics.configuring import Trial, ask_once, try_source
from metrics.payload import METRICS
from metrics.sources.prometheus import PrometheusConfig, PrometheusServer
from metrics.sources.prometheus_discovery import Discovery, Service, discover, tried
from metrics.tests.exposition import NATIVE, Exposition, counter, gauge, histogram, scraping, service, wait_for
from projects.models import Environment
from projects.services import create_project

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("local_allowed")]

SERVERS = ("prometheus", "victoria-metrics")


def shop(name: str, rate: float, failed: float, label: str = "status") -> list[Exposition]:
    labels = f'service="{name}",namespace="web"'
    return [
        histogram("http_request_duration_seconds", f'{labels},path="/a",{label}="200"', rate - failed),
        histogram("http_request_duration_seconds", f'{labels},path="/b",{label}="500"', failed),
    ]


EXPORTERS: list[Exposition] = [
    histogram("http_server_requests_seconds", 'application="stock",status="200"', 20),
    gauge('process_cpu_usage{application="stock"}', 0.3),
    gauge('jvm_memory_used_bytes{application="stock",area="heap",id="old"}', 300),
    gauge('jvm_memory_max_bytes{application="stock",area="heap",id="old"}', 400),
    histogram("http_server_request_duration_seconds", 'service_name="basket",http_response_status_code="200"', 9),
    histogram("http_server_request_duration_seconds", 'service_name="basket",http_response_status_code="502"', 1),
    counter('nginx_ingress_controller_requests{ingress="front",exported_namespace="web",status="200"}', 8),
    counter('nginx_ingress_controller_requests{ingress="front",exported_namespace="web",status="503"}', 2),
    histogram("nginx_ingress_controller_request_duration_seconds", 'ingress="front",exported_namespace="web"', 10),
    counter('istio_requests_total{reporter="destination",destination_workload="cart",response_code="200"}', 30),
    counter('istio_requests_total{reporter="source",destination_workload="cart",response_code="200"}', 30),
    counter('traefik_service_requests_total{service="mail@docker",code="200"}', 5),
    histogram("traefik_service_request_duration_seconds", 'service="mail@docker",code="200"', 5),
    counter('envoy_cluster_upstream_rq_total{envoy_cluster_name="pay"}', 4),
    counter('envoy_cluster_upstream_rq_xx{envoy_cluster_name="pay",envoy_response_code_class="2"}', 3),
    counter('envoy_cluster_upstream_rq_xx{envoy_cluster_name="pay",envoy_response_code_class="5"}', 1),
    counter("django_http_requests_before_middlewares_total", 12),
    counter('django_http_responses_total_by_status_total{status="200"}', 9),
    counter('django_http_responses_total_by_status_total{status="500"}', 3),
    histogram("django_http_requests_latency_including_middlewares_seconds", 'unused="x"', 12),
    histogram("search_request_latency_ms", 'app="search",code="200"', 7),
    counter('container_cpu_usage_seconds_total{namespace="web",container="shop",pod="shop-1"}', 0.2),
    counter('container_cpu_usage_seconds_total{namespace="web",container="shop",pod="shop-2"}', 0.2),
    counter('container_cpu_usage_seconds_total{namespace="web",container="",pod="shop-2"}', 0.4),
    counter('container_cpu_usage_seconds_total{namespace="other",container="shop",pod="shop-1"}', 0.9),
    gauge('container_memory_working_set_bytes{namespace="web",container="shop",pod="shop-1"}', 120),
    gauge('kube_pod_container_resource_limits{namespace="web",container="shop",resource="cpu"}', 1),
    gauge('kube_pod_container_resource_limits{namespace="web",container="shop",resource="memory"}', 200),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Prometheus and a VictoriaMetrics, which scrape the same services."""
    paths = {"/shop": [*shop("shop", 40, 2), *shop("shop-admin", 1, 0.5, "code")], "/exporters": EXPORTERS}
    jobs = {"pods": "/shop", "exporters": "/exporters", "native": "/native"}
    with ExitStack() as stack:
        target = stack.enter_context(service(paths))
        at = tmp_path_factory.mktemp
        urls = {name: stack.enter_context(scraping(name, at(name), target, jobs)) for name in SERVERS}
        for url in urls.values():
            wait_for(url, "django_http_requests_before_middlewares_total offset 1500ms")
        yield urls


@pytest.fixture
def local_allowed(settings: Any) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS = 1.0


@pytest.fixture
def environment() -> Environment:
    return create_project("shop", environment="prod").environment


def found_at(url: str, environment: Environment, *wanted: str) -> Discovery:
    server = PrometheusServer(url=url)
    return ask_once(environment, lambda asking: discover(server, asking, wanted=wanted))


def trial_of(url: str, environment: Environment, service: Service) -> Trial:
    """Try a service's expressions once two scrapes are within the interval of a rate: a busy machine scrapes late."""
    wait_for(url, service.expressions["requests_per_sec"].replace("$__rate_interval", "1600ms"))
    config = {"url": url, "expressions": dict(service.expressions), "scrape_interval_s": 0.4}
    return try_source(environment, "prometheus", config)


def of(found: Discovery, template: str) -> Service:
    return next(one for one in found.suggestions if one.template == template).services[0]


@pytest.mark.parametrize("program", SERVERS)
def test_services_and_their_expressions_are_found(
    servers: dict[str, str], environment: Environment, program: str
) -> None:
    found = found_at(servers[program], environment, "shop", "prod")
    assert found.problem is None
    assert found.scrape_interval_s == 0.5
    best = found.suggestions[0]
    assert best.template == "http_request_duration_seconds"
    assert [one.selector for one in best.services] == [
        '{namespace="web", service="shop"}',
        '{namespace="web", service="shop-admin"}',
    ]
    shop, admin = best.services
    assert shop.templates == ("http_request_duration_seconds", "containers")
    assert set(shop.expressions) == {*METRICS, "instances"}
    assert 'status=~"5..|5XX"' in shop.expressions["error_rate"]
    assert 'code=~"5..|5XX"' in admin.expressions["error_rate"]
    values = {
        "http_request_duration_seconds": (40, 150, 0.05, 0.4, 0.6),
        "http_server_requests_seconds": (20, 150, 0, 0.3, 0.75),
        "http_server_request_duration_seconds": (10, 150, 0.1, None, None),
        "nginx_ingress_controller": (10, 150, 0.2, None, None),
        "istio": (30, None, 0, None, None),
        "traefik_service": (5, 150, 0, None, None),
        "envoy_cluster": (4, None, 0.25, None, None),
        "django_http": (12, 150, 0.25, None, None),
        "search_request_latency_ms": (7, 0.15, 0, None, None),
    }
    for template, expected in values.items():
        chosen = of(found, template)
        trial = trial_of(servers[program], environment, chosen)
        assert (trial.problem, trial.told) == (None, []), template
        got = trial.metrics
        assert got.instances == (1 if "instances" in chosen.expressions else None)
        measured = (got.requests_per_sec, got.latency_p95, got.error_rate, got.cpu_usage, got.memory_usage)
        for value, right in zip(measured, expected, strict=True):
            assert value == (None if right is None else pytest.approx(right, rel=0.15, abs=0.01)), (template, measured)


def test_native_histograms_are_found(servers: dict[str, str], environment: Environment) -> None:
    found = of(found_at(servers["prometheus"], environment, "native"), NATIVE)
    assert found.selector == '{job="native"}'
    trial = trial_of(servers["prometheus"], environment, found)
    assert trial.metrics.requests_per_sec == pytest.approx(20, rel=0.15)
    assert trial.metrics.error_rate == 0
    # All of them are in one bucket, from 125 to 250 ms.
    assert trial.metrics.latency_p95 == pytest.approx(243.75)


@pytest.mark.parametrize("program", SERVERS)
def test_expressions_are_tried_with_the_last_hour(
    servers: dict[str, str], environment: Environment, program: str
) -> None:
    expressions = {
        "requests_per_sec": 'sum(rate(http_request_duration_seconds_count{service="shop"}[$__rate_interval]))',
        "cpu_usage": "container_cpu_usage_seconds_total",
        "memory_usage": "up[5m]",
        "error_rate": "sum(rate(",
        "latency_p95": "no_such_metric",
        "quiet": "vector(0) / 0",
    }
    config = PrometheusConfig(url=servers[program], expressions=expressions)
    rate, cpu, memory, errors, latency, quiet = ask_once(environment, lambda asking: tried(config, asking))
    assert rate.problem is None
    assert rate.value is not None
    assert rate.value > 0
    assert rate.points
    assert [one.refused for one in (cpu, memory, errors, latency)] == [True] * 4
    said = [render(one.problem) if one.problem else "" for one in (cpu, memory, errors, latency, quiet)]
    assert "cpu_usage: the expression gives 4 series, for example {" in said[0]
    assert "ranges of samples" in said[1] or "gives 3 series" in said[1]
    assert "error_rate: the server refuses the expression: “" in said[2]
    assert "unclosed left parenthesis" in said[2] or "unexpected token" in said[2]
    assert "gives nothing" in said[3]
    if program == "prometheus":  # the other one leaves out what is no number
        assert not quiet.refused
        assert "gives no number now" in said[4]
