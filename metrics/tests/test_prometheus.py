"""Ask real servers with the query API of Prometheus, and servers that are none."""

import json
import ssl
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import trustme
from django.utils import timezone

from explain.errors import ExplainedError
from explain.facts import Fact
from explain.rendering import render
from metrics.configuring import Trial, ask_once, try_source
from metrics.sources.base import Asking, InvalidConfig
from metrics.sources.prometheus import PrometheusConfig, PrometheusKind, PrometheusServer
from metrics.sources.prometheus_discovery import discover
from metrics.tests.front import front_of
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
        "minute": {at: at // 60 for at in times},
        'seconds{service="shop"}': dict.fromkeys(times, 0.118),
        'nothing{service="shop"}': dict.fromkeys(times, float("nan")),
        'endless{service="shop"}': dict.fromkeys(times, float("inf")),
        **{f'pod_cpu{{pod="shop-{number}"}}': dict.fromkeys(times, 0.25) for number in range(14)},
    }
    with prometheus_with(tmp_path_factory.mktemp("prometheus"), series) as url:
        yield url


@pytest.fixture(scope="module")
def front(prometheus: str) -> Iterator[tuple[str, list[str]]]:
    with front_of(prometheus) as found:
        yield found


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


def test_all_expressions_are_one_request(front: tuple[str, list[str]], environment: Environment) -> None:
    url, asked = front
    asked.clear()
    many = {f"metric_{number}": f"rate * {number}" for number in range(34)}
    found = tried(environment, f"{url}/plain", {"requests_per_sec": "rate", **many})
    assert asked == ["POST /plain/api/v1/query"]
    assert found.metrics.custom == {f"metric_{number}": 42.0 * number for number in range(34)}
    asked.clear()
    assert tried(environment, f"{url}/plain/api/v1/query", {"a": "rate", "b": "rate"}).metrics.custom == {
        "a": 42,
        "b": 42,
    }
    assert asked == ["GET /plain/api/v1/query"]


def test_a_server_that_takes_no_post_is_asked_for_each_expression(
    front: tuple[str, list[str]], environment: Environment
) -> None:
    url, asked = front
    asked.clear()
    many = {f"metric_{number}": f"rate * {number}" for number in range(30)}
    assert tried(environment, f"{url}/no-post", many).metrics.custom == {f"metric_{n}": 42.0 * n for n in range(30)}
    assert len(asked) == 31


def test_what_is_wrong_with_some_expressions_is_learned(front: tuple[str, list[str]], environment: Environment) -> None:
    url, asked = front
    config = PrometheusConfig(url=f"{url}/plain", expressions={"a": "rate", "b": "1", "c": "rate(", "d": "rate"})

    async def read_twice(asking: Asking) -> list[int]:
        counts = []
        for _ in range(2):
            asked.clear()
            assert (await PrometheusKind().read(config, asking)).custom == {"a": 42.0, "b": 1.0, "d": 42.0}
            counts.append(len(asked))
        return counts

    # All together, then each; the second time the wrong one alone.
    assert ask_once(environment, read_twice) == [5, 2]


@pytest.mark.parametrize(
    ("path", "code", "retry", "said"),
    [
        ("login", "source_no_api", False, "probably a login page"),
        ("html", "source_no_api", False, "this is an HTML page"),
        ("text", "source_no_api", False, "this is Prometheus text"),
        ("deep", "source_no_api", False, "the answer has another form"),
        ("cut", "source_no_api", False, "the answer has another form"),
        ("empty", "source_no_api", False, "it is empty"),
        ("number", "source_no_form", False, "does not answer as the query API"),
        ("form", "source_no_form", False, "does not answer as the query API"),
        ("values", "source_no_form", False, "does not answer as the query API"),
        ("many", "expression.too_many", False, "more series than"),
        ("missing", "source_not_found", False, "HTTP 404"),
        ("forbidden", "source_unauthorized", False, "HTTP 403"),
        ("protected", "source_unauthorized", False, "Check its token"),
        ("tenant", "source_unauthorized", False, "the header that names the tenant"),
        ("broken", "http_5xx", True, "HTTP 500"),
        ("busy", "source_refuses", True, "query timed out in expression evaluation"),
        ("throttled", "http_4xx", True, "HTTP 429"),
        ("moved", "redirect", False, "redirects are not followed"),
        ("unknown", "source_no_api", False, "does not answer as the query API"),
        ("hang", "timeout", True, "no complete answer"),
    ],
)
def test_why_a_server_gives_nothing_is_told(
    front: tuple[str, list[str]], environment: Environment, path: str, code: str, retry: bool, said: str
) -> None:
    config = PrometheusConfig(url=f"{front[0]}/{path}", expressions={"error_rate": "rate", "b": "rate"}, timeout_s=0.5)

    async def failure(asking: Asking) -> ExplainedError:
        with pytest.raises(ExplainedError) as raised:
            await PrometheusKind().read(config, asking)
        return raised.value

    error = ask_once(environment, failure)
    assert (error.code, getattr(error, "retry", True)) == (code, retry)
    assert said in str(error)
    assert "marked" not in json.dumps(error.fact.to_json())


def test_credentials_and_tenants_are_sent(front: tuple[str, list[str]], environment: Environment) -> None:
    url, expressions = front[0], {"requests_per_sec": "rate"}
    given = {"username": "reader", "password": "s3cret"}
    assert tried(environment, f"{url}/protected", expressions, **given).metrics.requests_per_sec == 42
    tenant = {"headers": {"X-Scope-OrgID": "shop"}}
    assert tried(environment, f"{url}/tenant", expressions, **tenant).metrics.requests_per_sec == 42


def test_a_clock_ahead_is_allowed_for_and_told(front: tuple[str, list[str]], environment: Environment) -> None:
    config = PrometheusConfig(url=f"{front[0]}/ahead", expressions={"minute": "minute", "b": "rate"})

    async def both(asking: Asking) -> None:
        now = await PrometheusKind().read(config, asking)
        assert now.custom["minute"] == pytest.approx(asking.now.timestamp() // 60, abs=1)
        assert config.ahead_s == pytest.approx(90, abs=1)
        since = asking.now - timedelta(minutes=20)
        past = await PrometheusKind().history(config, asking, since=since, until=asking.now, step_s=60)
        assert [at for at, _ in past] == [since + number * timedelta(minutes=1) for number in range(21)]
        for at, metrics in past:
            assert at.timestamp() // 60 - metrics.custom["minute"] in {0, 1}
        [note] = asking.told
        assert render(note) == (
            "its clock differs from ours by 90 s. That is allowed for; setting the clock (NTP) is better"
        )

    ask_once(environment, both)


def test_an_own_authority_is_trusted_for_its_source_only(prometheus: str, environment: Environment) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    expressions = {"requests_per_sec": "rate"}
    with front_of(prometheus, context) as (url, _):
        pem = authority.cert_pem.bytes().decode()
        assert tried(environment, f"{url}/plain", expressions, ca_pem=pem).metrics.requests_per_sec == 42
        without = tried(environment, f"{url}/plain", expressions)
        assert without.problem is not None
        assert without.problem.code == "tls"


@pytest.mark.parametrize(
    ("config", "field", "said"),
    [
        ({"url": "prometheus:9090"}, "url", "not absolute"),
        ({"url": "http://user:marked@p"}, "url", "user name or password"),
        ({"url": "http://p/graph?g0.expr=up"}, "url", "Leave out what begins with ?"),
        ({"url": "http://p", "headers": {"Host": "x"}}, "headers.Host", "Host"),
        ({"url": "http://p", "headers": {"X": "a\nmarked"}}, "headers.X", "X"),
        ({"url": "http://p", "username": "a:b"}, "username", "colon"),
        ({"url": "http://p", "username": "a", "headers": {"authorization": "Bearer marked"}}, "username", "headers"),
        ({"url": "http://p", "ca_pem": "marked"}, "ca_pem", "BEGIN CERTIFICATE"),
        ({"url": "http://p", "expressions": {"a-b": "up"}}, "expressions.a-b.[key]", "form"),
        ({"url": "http://p", "expressions": {f"a{n}": "up" for n in range(37)}}, "expressions", "At most 36"),
        ({"url": "http://p", "scrape_interval_s": 0}, "scrape_interval_s", "at least 0.1"),
    ],
)
def test_wrong_settings_are_named(config: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        PrometheusKind().parse({"expressions": {"error_rate": "up"}, **config})
    [(path, fact)] = refused.value.errors.items()
    assert path == field
    assert said in render(fact)
    assert "marked" not in json.dumps(fact.to_json())


def test_what_people_copy_from_their_browser_is_an_address() -> None:
    for page in ("", "/", "/graph", "/api/v1", "/api/v1/query", "/api/v1/label/job/values"):
        assert PrometheusServer(url=f"https://p.example/prometheus{page}").url == "https://p.example/prometheus"


@pytest.mark.parametrize(("sampling", "scraping", "seconds"), [(60, 15, 60), (60, 30, 75), (60, 60, 150), (5, 1, 5)])
def test_the_range_fits_sampling_and_scraping(settings: Any, sampling: float, scraping: float, seconds: int) -> None:
    settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS = sampling
    expressions = {"a": "rate(x[$__rate_interval])", "b": "rate(x[${__rate_interval}]) + rate(x[$__interval])"}
    filled = PrometheusConfig(url="http://p", expressions=expressions, scrape_interval_s=scraping).filled
    assert filled == {"a": f"rate(x[{seconds}s])", "b": f"rate(x[{seconds}s]) + rate(x[{seconds}s])"}
