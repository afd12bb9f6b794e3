"""Ask real servers with the query API of Prometheus, and servers that are none."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from explain.facts import Fact
from explain.rendering import render
from metrics.configuring import Trial, ask_once, try_source
from metrics.sources.prometheus import PrometheusServer
from metrics.sources.prometheus_discovery import discover
from metrics.tests.prometheus import prometheus_with
from projects.models import Environment
from projects.services import create_project

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("local_allowed")]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with a sample a minute of the last half hour."""
    now = timezone.now().timestamp()
    times = [now + 60 - 60 * number for number in range(30)]
    series = {
        'rate{service="shop"}': dict.fromkeys(times, 42.0),
        'seconds{service="shop"}': dict.fromkeys(times, 0.118),
        'nothing{service="shop"}': dict.fromkeys(times, float("nan")),
        'endless{service="shop"}': dict.fromkeys(times, float("inf")),
        **{f'pod_cpu{{pod="shop-{number}"}}': dict.fromkeys(times, 0.25) for number in range(14)},
    }
    with prometheus_with(tmp_path_factory.mktemp("prometheus"), series) as url:
        yield url


@pytest.fixture
def local_allowed(settings: Any) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"


@pytest.fixture
def environment() -> Environment:
    return create_project("shop", environment="prod").environment


def tried(environment: Environment, url: str, expressions: dict[str, str], **more: Any) -> Trial:
    return try_source(environment, "prometheus", {"url": url, "expressions": expressions, **more})


def words(trial: Trial) -> list[str]:
    return [render(fact) for fact in trial.told]


def test_one_wrong_expression_costs_only_its_own_metric(prometheus: str, environment: Environment) -> None:
    found = tried(
        environment,
        prometheus,
        {
            "requests_per_sec": "rate # per second",
            "latency_p95": "1000 * seconds",
            "error_rate": "sum(rate(",
            "cpu_usage": "pod_cpu",
            "memory_usage": "rate",
            "one": "1",
            "not_a_number": "nothing",
            "infinite": "endless",
            "absent": "no_such_metric",
            "text": '"text"',
            "matrix": "rate[5m]",
        },
    )
    assert found.problem is None
    assert (found.metrics.requests_per_sec, found.metrics.latency_p95) == (42.0, 118.0)
    assert (found.metrics.error_rate, found.metrics.cpu_usage, found.metrics.memory_usage) == (None, None, None)
    assert found.metrics.custom == {"one": 1.0}
    errors, cpu, memory, text, matrix = words(found)
    assert errors == (
        'error_rate: the server refuses the expression: “invalid parameter "query": 1:10: parse error: '
        "unclosed left parenthesis”"
    )
    assert "gives 14 series, for example" in cpu
    assert 'pod="shop-0"' in cpu
    assert "memory_usage is 42, allowed 0..1" in memory
    assert "text: the expression gives a text" in text
    assert "matrix: the expression gives ranges of samples" in matrix


def test_a_server_without_anything_known_says_so(prometheus: str, environment: Environment) -> None:
    server = PrometheusServer(url=prometheus)
    found = ask_once(environment, lambda asking: discover(server, asking))
    assert not found.suggestions
    assert found.problem == Fact("nothing_known_there")
