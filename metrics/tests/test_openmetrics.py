"""Metrics of what a service shows to a Prometheus: from its text to stored samples, with real servers."""

import asyncio
import itertools
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from deployments.services import Trigger, start_deployment
from explain.rendering import render
from metrics.collecting import measure_for
from metrics.configuring import add_source
from metrics.jobs import load_endpoints
from metrics.models import MetricSample, SourceState
from metrics.payload import METRICS, Metrics
from metrics.sources.base import Asking, InvalidConfig, State
from metrics.sources.exposition import read
from metrics.sources.http_endpoint import Endpoint
from metrics.sources.instances import Target
from metrics.sources.openmetrics import Counters, Memory, OpenMetricsKind, Scrape, instance_of, plan_of
from metrics.sources.prometheus_templates import LATENCY, TEMPLATES, Template
from metrics.sources.promql import NotPromQL, parsed
from metrics.storing import store_samples
from metrics.tests.site import Page, Site, serving
from outbound.addresses import AllowList
from outbound.fetcher import Fetcher
from projects.services import create_project
from scheduler.models import ScheduledJob
from scheduler.registry import JobError
from scheduler.store import JobStore

KIND = OpenMetricsKind()
TEXT = "text/plain; version=0.0.4"
INF = float("inf")
ENDPOINT = Endpoint("", "project")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def local_allowed(settings: Any) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"


def shop(n: float, *, failed: float = 0, name: str = "http_request_duration_seconds", more: str = "") -> str:
    """A service that has had n requests: nine of ten within 0.1 s, the others between that and 0.2 s."""
    text = f"# HELP {name} Of requests.\n# TYPE {name} histogram\n"
    for status, count in (("200", n - failed), ("503", failed)):
        labels = f'handler="/cart/{{id}}",method="GET",status="{status}"'
        for bound, share in (("0.1", 0.9), ("0.2", 1.0), ("+Inf", 1.0)):
            text += f'{name}_bucket{{{labels},le="{bound}"}} {share * count}\n'
        text += f"{name}_sum{{{labels}}} {0.08 * count}\n{name}_count{{{labels}}} {count}\n"
    return text + f"# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {n / 1000}\n{more}"


def page(text: str, content_type: str = TEXT) -> Page:
    return Page(text.encode(), headers=(("Content-Type", content_type),))


class Scraper:
    """Scrapes at times of its own choosing, and keeps the state between. before: by target, what it scraped last."""

    def __init__(self, config: Mapping[str, object], before: Mapping[str, str] | None = None) -> None:
        self.config = KIND.parse({"pause_s": 0.5, **config})
        self.now = timezone.now()
        self.told: list[str] = []
        self.state = State()
        if before is not None:
            scrapes = {url: Scrape(self.now.timestamp(), read(text.encode())) for url, text in before.items()}
            plan = plan_of(self.config, list(scrapes.values()))
            found = {url: instance_of(Target(url), one, plan) for url, one in scrapes.items()}
            kept = {
                Target(url).key: Counters(self.now.timestamp(), one.counters, one.start) for url, one in found.items()
            }
            self.state.before = Memory(plan.mark, kept).stored()

    def after(self, seconds: float, *, since: datetime | None = None) -> Metrics:
        """Scrape this long after the last time."""
        self.now += timedelta(seconds=seconds)
        self.state = State(self.state.after or self.state.before)

        async def scenario() -> Metrics:
            fetcher = Fetcher(AllowList.parse("127.0.0.0/8"))
            asking = Asking(fetcher, self.now, self.now, ENDPOINT, since=since, state=self.state)
            try:
                return await KIND.read(self.config, asking)
            finally:
                self.told = [render(fact) for fact in asking.told]
                await fetcher.aclose()

        return asyncio.run(scenario())


def approx(metrics: Metrics, within: float = 0.02, **expected: float | None) -> None:
    for name, value in expected.items():
        found = getattr(metrics, name) if hasattr(metrics, name) else metrics.custom.get(name)
        assert found == (None if value is None else pytest.approx(value, rel=within)), name


def scraped(site: Site, before: str, text: str, seconds: float = 60, **config: object) -> Metrics:
    """Return the metrics of two scrapes, and check that the instance was not asked more often."""
    site.clear()
    site.pages["/metrics"] = page(text)
    scraper = Scraper({"url": f"{site.url}/metrics", **config}, {f"{site.url}/metrics": before})
    found = scraper.after(seconds)
    assert len(site.asked) == 1
    assert scraper.told == []
    return found


def test_rates_errors_and_p95_come_from_two_scrapes(site: Site) -> None:
    found = scraped(site, shop(1000), shop(7000, failed=60))
    approx(found, requests_per_sec=100, error_rate=0.01, latency_p95=150, cpu_usage=0.1, memory_usage=None)
    assert found.instances is None


def test_the_first_scrape_is_followed_by_a_second_one_within_the_job(site: Site) -> None:
    site.clear()
    counts = itertools.count(1000, 40)
    site.pages["/metrics"] = lambda _: page(shop(next(counts)))
    scraper = Scraper({"url": f"{site.url}/metrics"})
    approx(scraper.after(0), 0.3, requests_per_sec=80, error_rate=0)
    approx(scraper.after(10), 0.1, requests_per_sec=40 / 9.5)  # since the second scrape, which came half a second later
    assert len(site.asked) == 3


def test_templates_read_what_services_of_others_show(site: Site) -> None:
    spring = {"name": "http_server_requests_seconds"}
    approx(scraped(site, shop(0, **spring), shop(600, **spring)), requests_per_sec=10, latency_p95=150)
    summary = '{name}_count {n}\n{name}_sum 1\n{name}{{quantile="0.95"}} 0.25\nother{{a="b"}} 1\n'
    own = {"name": "shop_http_request_duration_seconds"}
    approx(scraped(site, shop(0, **own), shop(60, **own)), requests_per_sec=1, latency_p95=150)
    before, after = (summary.format(name="http_request_duration_seconds", n=n) for n in (60, 120))
    approx(scraped(site, before, after), requests_per_sec=1, latency_p95=250, error_rate=None)
    counter = 'http_requests_total{{code="200"}} {n}\nhttp_requests_total{{code="502"}} {failed}\n'
    before, after = counter.format(n=0, failed=0), counter.format(n=594, failed=6)
    approx(scraped(site, before, after), requests_per_sec=10, error_rate=0.01, latency_p95=None)
    jvm = (
        'jvm_memory_used_bytes{area="heap",id="G1"} 30\njvm_memory_used_bytes{area="nonheap"} 9\n'
        'jvm_memory_max_bytes{area="heap",id="G1"} 120\n'
    )
    approx(scraped(site, shop(0), shop(60, more=jvm)), memory_usage=0.25)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda one: one.name)
def test_all_templates_can_be_computed_but_for_native_histograms(template: Template) -> None:
    computed = set()
    formulas = [one for one in template.formulas if one.metric in METRICS]
    for formula in formulas:
        query = formula.query.replace("$failed", 'status=~"5.."').replace("$selector", 'service="shop"')
        native = formula.metric == LATENCY and "le" not in query and "quantile=" not in query
        if native or "histogram_count" in query or ("sum(rate" in query and "histogram_quantile" in query):
            with pytest.raises(NotPromQL):
                parsed(query)
        else:
            assert {one.name for one in parsed(query).selections}
            computed.add(formula.metric)
    assert computed == {formula.metric for formula in formulas}


def test_a_service_without_a_request_yet_has_none(site: Site) -> None:
    empty = "# TYPE http_request_duration_seconds histogram\n"
    approx(scraped(site, empty, empty), requests_per_sec=0, error_rate=None, latency_p95=None)
    approx(scraped(site, shop(600), shop(600)), requests_per_sec=0, error_rate=None, latency_p95=None)


def test_counters_that_begin_again_and_series_that_come_and_go(site: Site) -> None:
    # It began again, with all its counters.
    approx(scraped(site, shop(9000), shop(600, failed=6)), requests_per_sec=10, error_rate=0.01)
    # Its first failures: a series that was not there before.
    healthy = re.sub('.*status="503".*\n', "", shop(600))
    approx(scraped(site, healthy, shop(1200, failed=6)), requests_per_sec=10, error_rate=0.01)
    # A series that is gone for one scrape is no new one.
    url = f"{site.url}/metrics"
    gone = Scraper({"url": url}, {url: shop(6000, failed=3000)})
    site.pages["/metrics"] = page(re.sub('.*status="503".*\n', "", shop(6600, failed=3000)))
    approx(gone.after(60), requests_per_sec=10, error_rate=0)
    site.pages["/metrics"] = page(shop(7260, failed=3060))
    approx(gone.after(60), requests_per_sec=11, error_rate=60 / 660)


def test_the_start_of_the_process_says_what_its_counters_are_of(site: Site) -> None:
    def began(n: float, at: float) -> str:
        return shop(n, more=f"process_start_time_seconds {at}\n")

    url, now = f"{site.url}/metrics", timezone.now().timestamp()
    scraper = Scraper({"url": url}, {url: began(500, now - 1000)})
    site.pages["/metrics"] = page(began(600, now + 30))
    # Twice as much as before, but all of it in the last half minute.
    approx(scraper.after(60), requests_per_sec=20)
    site.pages["/metrics"] = page(began(9000, now - 1000))
    approx(scraper.after(60), requests_per_sec=0)
    assert scraper.told == [
        f"{url}: several processes answer there, each with counters of its own. Let them share their counters, or name "
        "each as a target"
    ]


def test_an_instance_that_ends_between_two_scrapes_is_left_out(site: Site) -> None:
    site.clear()
    urls = [f"{site.url}/old", f"{site.url}/ending"]
    scraper = Scraper({"targets": urls}, {urls[0]: shop(0)})
    site.pages["/old"] = page(shop(600))
    answers = iter([page(shop(5)), Page(b"", 503)])
    site.pages["/ending"] = lambda _: next(answers)
    found = scraper.after(60)
    approx(found, requests_per_sec=10)
    assert found.instances == 1
    assert len(scraper.told) == 1
    lost = Scraper({"targets": urls[1:]})
    answers = iter([page(shop(5)), Page(b"", 503)])
    with pytest.raises(JobError):
        lost.after(0)


def test_what_is_old_or_from_before_the_deployment_is_not_compared_with(site: Site) -> None:
    url = f"{site.url}/metrics"
    for seconds, since_s, times in ((60, None, 1), (901, None, 2), (60, -1, 1), (60, 1, 2)):
        site.clear()
        site.pages["/metrics"] = page(shop(1600))
        scraper = Scraper({"url": url}, {url: shop(1000)})
        since = None if since_s is None else scraper.now + timedelta(seconds=since_s)
        found = scraper.after(seconds, since=since)
        assert len(site.asked) == times, (seconds, since_s)
        approx(found, requests_per_sec=10 if times == 1 else 0)


OWN = {
    "requests_per_sec": {"family": "replies_total", "kind": "rate"},
    "error_rate": {"family": "replies_total", "kind": "ratio", "labels": {"code": "5*|timeout"}},
    "latency_p95": {"family": "reply_milliseconds", "kind": "quantile"},
    "memory_usage": {"family": "memory_bytes", "kind": "ratio", "over": "memory_limit_bytes"},
    "checkouts_per_minute": {"family": "checkouts_total", "kind": "rate", "scale": 60, "labels": {"state": "!test"}},
    "backlog": {"family": "queue_messages", "kind": "gauge", "labels": {"queue": "[a]?"}},
    "oldest": {"family": "queue_messages", "kind": "gauge", "aggregate": "max"},
    "absent": {"family": "nothing_total", "kind": "rate"},
}


def replies(n: float, failed: float, checkouts: float) -> str:
    return f"""replies_total{{code="200"}} {n - failed}
replies_total{{code="timeout"}} {failed}
reply_milliseconds_bucket{{le="50"}} {0.9 * n}
reply_milliseconds_bucket{{le="100"}} {n}
reply_milliseconds_bucket{{le="+Inf"}} {n}
memory_bytes 256
memory_limit_bytes 1024
checkouts_total{{state="paid"}} {checkouts}
checkouts_total{{state="test"}} {9 * checkouts}
queue_messages{{queue="[a]1"}} 3
queue_messages{{queue="[a]2"}} 4
queue_messages{{queue="a1"}} 70
"""


def test_other_names_are_computed_as_configured(site: Site) -> None:
    found = scraped(site, replies(0, 0, 0), replies(600, 6, 42), metrics=OWN)
    approx(found, requests_per_sec=10, error_rate=0.01, latency_p95=75, memory_usage=0.25, cpu_usage=None)
    approx(found, checkouts_per_minute=42, backlog=7, oldest=70, absent=None)
    # Of a page of several services.
    both = [
        shop(900 + n).replace("handler=", 'service="other",handler=')
        + shop(n).replace("handler=", 'service="shop",handler=')
        for n in (0, 60)
    ]
    approx(scraped(site, *both, labels={"service": "shop"}), requests_per_sec=1, latency_p95=150)


@pytest.mark.parametrize(
    ("config", "field", "code"),
    [
        ({}, "url", "config.url_or_targets"),
        ({"metrics": {"a": {"family": "x", "kind": "rates"}}}, "metrics.a.kind", "config.literal_error"),
        ({"metrics": {"a": {"family": "x y", "kind": "rate"}}}, "metrics.a.family", "config.string_pattern_mismatch"),
        ({"metrics": {"a": {"family": "x", "kind": "ratio"}}}, "metrics.a.over", "config.ratio_of_all"),
        ({"metrics": {"a": {"family": "x", "kind": "rate", "over": "y"}}}, "metrics.a.over", "config.over_of_no_ratio"),
        ({"metrics": {"A": {"family": "x", "kind": "rate"}}}, "metrics.A.[key]", "config.metric_name"),
        ({"metrics": {"a": {"family": "x", "kind": "gauge", "scale": 0}}}, "metrics.a.scale", "config.greater_than"),
        ({"labels": {"a": "*" * 20}}, "labels.a", "config.many_stars"),
    ],
)
def test_a_wrong_setting_is_named(config: dict[str, object], field: str, code: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        KIND.parse({"url": "http://shop.example/metrics", **config} if config else config)
    assert {path: fact.code for path, fact in refused.value.errors.items()} == {field: code}


def test_instances_are_added_up_and_histograms_merged(site: Site) -> None:
    site.clear()
    urls = [f"{site.url}/{number}" for number in range(4)]
    memory = 'jvm_memory_used_bytes{{area="heap"}} {}\njvm_memory_max_bytes{{area="heap"}} 100\n'
    before = dict(zip(urls, (shop(1000, more=memory.format(10)),) * 3, strict=False))
    scraper = Scraper({"targets": urls}, before)
    site.pages["/0"] = page(shop(1600, failed=60, more=memory.format(20)))
    site.pages["/1"] = page(shop(7000, more=memory.format(80)))
    news = itertools.count(0, 20)
    site.pages["/3"] = lambda _: page(shop(next(news), more=memory.format(5)))  # it has just begun
    found = scraper.after(60)
    approx(found, 0.1, requests_per_sec=10 + 100 + 40, error_rate=1 / 150, latency_p95=150, memory_usage=0.8)
    assert found.instances == 3
    assert scraper.told == [f"1 of 4 instances did not answer: {urls[2]}: HTTP 404 from {urls[2]}"]
    assert [one.path for one in site.asked].count("/3") == 2


def test_many_counters_are_kept_as_sums(site: Site) -> None:
    def routes(n: float) -> str:
        name, route = "http_request_duration_seconds", 'route="/{}",status="200"'
        lines = [f"{name}_count{{{route.format(one)}}} {n}" for one in range(1500)]
        for bound in ("0.1", "0.2", "+Inf"):
            lines += [f'{name}_bucket{{{route.format(one)},le="{bound}"}} {n}' for one in range(1500)]
        return "\n".join(lines)

    found = scraped(site, routes(0), routes(1))
    approx(found, requests_per_sec=25, error_rate=0, latency_p95=95)
    url = f"{site.url}/metrics"
    scraper = Scraper({"url": url}, {url: routes(5)})
    assert len(scraper.state.before) < 1000
    # Nobody can say what of it began again: it is scraped twice.
    site.clear()
    site.pages["/metrics"] = page(routes(4))
    approx(scraper.after(60), requests_per_sec=0)
    assert len(site.asked) == 2


def test_a_series_that_comes_twice_is_told_and_counts_once(site: Site) -> None:
    url = f"{site.url}/metrics"
    site.pages["/metrics"] = page(shop(600) + shop(660).partition("# TYPE process")[0])
    scraper = Scraper({"url": url}, {url: shop(0)})
    approx(scraper.after(60), requests_per_sec=10)
    assert "http_request_duration_seconds_count" in scraper.told[0]


def test_a_metric_out_of_its_bounds_is_told_and_left_out(site: Site) -> None:
    url = f"{site.url}/metrics"
    site.pages["/metrics"] = page(shop(600, more="used 7\n"))
    own = {"memory_usage": {"family": "used", "kind": "gauge"}}
    scraper = Scraper({"url": url, "metrics": own}, {url: shop(0, more="used 7\n")})
    approx(scraper.after(60), requests_per_sec=10, memory_usage=None)
    assert scraper.told == ["memory_usage is 7, allowed 0..1: convert it in the expression, for example by / 100"]


@pytest.mark.django_db
def test_whichever_poller_scrapes_next_compares_with_what_is_stored(site: Site) -> None:
    made = create_project("shop", environment="prod")
    scrapes: list[float] = []
    later_s = 0.0

    def answer(_: object) -> Page:
        scrapes.append(timezone.now().timestamp() % 1e6 + later_s)
        return page(shop(40 * scrapes[-1], failed=scrapes[-1]))

    site.pages["/live"] = answer
    add_source(made.environment, "openmetrics", {"url": f"{site.url}/live", "pause_s": 0.5})
    deployment = start_deployment(made.project, Trigger(env="prod")).deployment
    ScheduledJob.objects.filter(deployment=deployment).update(scheduled_at=timezone.now() - timedelta(minutes=1))
    [job] = [job for job in JobStore("a", 30).claim(10)[0] if job.job_type == "pre_collect"]
    store_samples([(job, asyncio.run(measure_for(job, load_endpoints([job])[job.id])))])
    assert len(scrapes) == 2  # within the first job
    sample = MetricSample.objects.get(deployment=deployment)
    assert sample.requests_per_sec == pytest.approx(40, rel=0.05)
    assert sample.error_rate == pytest.approx(1 / 40, rel=0.05)
    assert sample.latency_p95 == pytest.approx(150, rel=0.05)
    state = SourceState.objects.get()
    assert len(bytes(state.state)) < 1000
    later_s = 60
    job.claimed_monotonic -= later_s
    found = asyncio.run(measure_for(job, load_endpoints([job])[job.id]))
    assert len(scrapes) == 3
    assert found.samples[0].metrics.requests_per_sec == pytest.approx(40, rel=0.05)
    store_samples([(job, found)])
    # What was counted before the deployment was finished says nothing about it.
    endpoint = load_endpoints([job])[job.id]
    endpoint.since = timezone.now() + timedelta(seconds=later_s)
    later_s += 60
    job.claimed_monotonic -= 60
    asyncio.run(measure_for(job, endpoint))
    assert len(scrapes) == 5
