"""Metrics of what a service shows to a Prometheus: from its text to stored samples, with real servers."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from deployments.services import Trigger, start_deployment
from metrics.collecting import measure_for
from metrics.configuring import add_source
from metrics.jobs import load_endpoints
from metrics.models import MetricSample, SourceState
from metrics.payload import Metrics
from metrics.sources.base import Asking, State
from metrics.sources.http_endpoint import Endpoint
from metrics.sources.openmetrics import OpenMetricsKind
from metrics.storing import store_samples
from metrics.tests.site import Page, Site, serving
from outbound.addresses import AllowList
from outbound.fetcher import Fetcher
from projects.services import create_project
from scheduler.models import ScheduledJob
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
    """Scrapes at times of its own choosing, and keeps the state between."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self.config = KIND.parse({"pause_s": 1, **config})
        self.state = State()
        self.told: list[str] = []
        self.now = timezone.now()

    def after(self, seconds: float, *, since: datetime | None = None) -> Metrics:
        """Scrape this long after the last time."""
        self.now += timedelta(seconds=seconds)
        self.state = State(self.state.after or self.state.before)

        async def read() -> Metrics:
            fetcher = Fetcher(AllowList.parse("127.0.0.0/8"))
            asking = Asking(fetcher, self.now, self.now, ENDPOINT, since=since, state=self.state)
            try:
                return await KIND.read(self.config, asking)
            finally:
                self.told = [fact.code for fact in asking.told]
                await fetcher.aclose()

        return asyncio.run(read())


def approx(metrics: Metrics, **expected: float | None) -> None:
    for name, value in expected.items():
        found = getattr(metrics, name) if hasattr(metrics, name) else metrics.custom.get(name)
        assert found == (None if value is None else pytest.approx(value, rel=0.02)), name


def test_rates_errors_and_p95_come_from_two_scrapes(site: Site) -> None:
    site.pages["/metrics"] = page(shop(1000))
    scraper = Scraper({"url": f"{site.url}/metrics"})
    scraper.after(0)
    site.pages["/metrics"] = page(shop(7000, failed=60))
    found = scraper.after(60)
    approx(found, requests_per_sec=100, error_rate=0.01, latency_p95=150, cpu_usage=0.1, memory_usage=None)


@pytest.mark.django_db
def test_whichever_poller_scrapes_next_compares_with_what_is_stored(site: Site) -> None:
    made = create_project("shop", environment="prod")
    scrapes: list[float] = []
    later_s = 0.0

    def answer(_: object) -> Page:
        scrapes.append(timezone.now().timestamp() % 1e6 + later_s)
        return page(shop(40 * scrapes[-1], failed=scrapes[-1]))

    site.pages["/live"] = answer
    add_source(made.environment, "openmetrics", {"url": f"{site.url}/live", "pause_s": 1})
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
