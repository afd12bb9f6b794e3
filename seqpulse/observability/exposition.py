"""GET /metrics: SeqPulse's own metrics for Prometheus.

Three sources: totals of all processes and hosts, kept in the database (common/totals.py); current gauges, queried from
the database; and requests and statements of this web server's workers. The first two are the same on every web server,
so use the maximum over instances, not the sum.
"""

import os
from collections.abc import Iterator, Mapping

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse
from django.views import View
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from analysis.jobs import ANALYSIS, VERDICT_WITHIN_S
from common import totals
from common.cached import Cached
from common.totals import Measure, Parts
from notifications.counting import Waiting, read_waiting
from scheduler.registry import kind_names
from scheduler.state import HOSTS_FOR_S, Gauges, PollerState, read_gauges, write_refused
from security.limits import UNLIMITED, limited
from seqpulse.api import error_response
from seqpulse.observability.access import may_scrape

logger = structlog.get_logger(__name__)
CACHE_S = 5.0
JOBS_ENDED = "seqpulse_scheduler_jobs_ended_total"
JOBS_FAILED = "seqpulse_scheduler_jobs_failed_total"


def from_database() -> list[Metric]:
    """Return the metrics from the database; if it is unavailable, only that."""
    try:
        counted, gauges = totals.read(), read_gauges(ANALYSIS, VERDICT_WITHIN_S)
        waiting = read_waiting()
        writable = int(write_refused() is None)
    except (DatabaseError, InterfaceError) as error:
        logger.error("metrics_without_database", error=str(error).strip())
        connection.close()
        return [database_up(0)]
    words = "1 where the database can be written, 0 where it can only be read."
    can_write = GaugeMetricFamily("seqpulse_database_writable", words, value=writable)
    return [database_up(1), can_write, *counters(counted), *now(gauges), *deliveries(waiting)]


def database_up(value: int) -> Metric:
    return GaugeMetricFamily("seqpulse_database_up", "1 where the database answers, else 0.", value=value)


database = Cached(from_database, CACHE_S, overdue=lambda: [database_up(0)])


def counters(counted: dict[str, Parts]) -> Iterator[Metric]:
    """Yield the totals in Prometheus' format."""
    for measure in totals.measures():
        parts = dict(counted.get(measure.name, {}))
        yield histogram(measure, parts) if measure.buckets else counter(measure, parts)
    failed = CounterMetricFamily(JOBS_FAILED, "Jobs that failed for good.", labels=["job_type"])
    ended = counted.get(JOBS_ENDED, {})
    for name in kind_names():
        failed.add_metric([name], ended.get(((name, "failed"), ""), 0.0))
    yield failed


def known_labels(measure: Measure) -> list[tuple[str, ...]]:
    """Return the label values exposed from the start: Prometheus needs a first value to see an increase."""
    if measure.labels == ("job_type",):
        return [(name,) for name in kind_names()]
    return list(measure.known)


def counter(measure: Measure, parts: Parts) -> Metric:
    family = CounterMetricFamily(measure.name, measure.help, labels=list(measure.labels))
    values = {**{(labels, ""): 0.0 for labels in known_labels(measure)}, **parts}
    for (labels, _), value in sorted(values.items()):
        family.add_metric(list(labels), value)
    return family


def histogram(measure: Measure, parts: Parts) -> Metric:
    family = HistogramMetricFamily(measure.name, measure.help, labels=list(measure.labels))
    for labels in sorted({*known_labels(measure), *(labels for labels, _ in parts)}):
        # Keep the bounds of earlier versions.
        found = {part for key, part in parts if key == labels and part != totals.SUM}
        bounds = sorted(found | {f"{bound:g}" for bound in measure.buckets} | {"+Inf"}, key=float)
        below, buckets = 0.0, []
        for bound in bounds:
            below += parts.get((labels, bound), 0.0)
            buckets.append((bound, below))
        family.add_metric(list(labels), buckets=buckets, sum_value=parts.get((labels, totals.SUM), 0.0))
    return family


def now(gauges: Gauges) -> Iterator[Metric]:
    """Yield the gauges in Prometheus' format."""
    pending = dict.fromkeys(kind_names(), 0) | gauges.pending
    yield gauge("seqpulse_scheduler_jobs_pending", "Jobs that wait, due or not.", job_type=pending)
    states = {"active": 0, "idle": 0} | gauges.connections
    yield gauge("seqpulse_database_connections", "Connections to the database server, of all programs.", state=states)
    ages = heartbeat_ages(gauges.pollers)
    yield gauge("seqpulse_scheduler_poller_heartbeat_age_seconds", "Since a host's last heartbeat.", host=ages)
    queue = gauges.queue
    plain = {
        "seqpulse_scheduler_pollers_alive": ("Pollers with a fresh heartbeat.", sum(p.fresh for p in gauges.pollers)),
        "seqpulse_scheduler_jobs_running": ("Jobs that run.", gauges.running),
        "seqpulse_scheduler_jobs_late": ("Jobs that nobody has begun 2 s after they were due.", queue.late),
        "seqpulse_scheduler_jobs_stuck": ("Running jobs whose lease ran out a minute ago and more.", queue.stuck),
        "seqpulse_scheduler_queue_lag_seconds": ("How long the oldest due job has waited.", queue.lag_s),
        "seqpulse_analysis_verdicts_overdue": ("Analyses not done 2 s after the last sample.", gauges.overdue),
        "seqpulse_database_connections_max": ("Connections that the server allows.", gauges.max_connections),
    }
    for name, (words, value) in plain.items():
        yield GaugeMetricFamily(name, words, value=value)


def deliveries(waiting: Waiting) -> Iterator[Metric]:
    """Yield the gauges of deliveries."""
    words = "Deliveries of events that wait, due or not."
    yield gauge("seqpulse_notifications_pending", words, channel_kind=waiting.number)
    words = "How long the oldest due delivery has waited."
    yield gauge("seqpulse_notifications_lag_seconds", words, channel_kind=waiting.oldest_s)


def gauge(name: str, words: str, **by: Mapping[str, float]) -> Metric:
    """Return a gauge with one label; by: the values by that label, LABEL={…}."""
    [(label, values)] = by.items()
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def heartbeat_ages(pollers: list[PollerState]) -> dict[str, float]:
    """Return seconds since each host's latest heartbeat, without hosts long gone; the last host is always included."""
    ages: dict[str, float] = {}
    for poller in sorted(pollers, key=lambda poller: poller.age_s):
        if poller.host not in ages and (not ages or poller.age_s < HOSTS_FOR_S):
            ages[poller.host] = poller.age_s
    return ages


class DatabaseCollector:
    """Collector of the metrics from the database, for prometheus_client."""

    def collect(self) -> list[Metric]:
        return database.get()


def exposition() -> bytes:
    """Return all metrics as text."""
    shared = CollectorRegistry()
    shared.register(DatabaseCollector())
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)
    return generate_latest(shared) + generate_latest(REGISTRY)


@limited(UNLIMITED)
class MetricsView(View):
    """The metrics, with the token; if none is set, for this machine and the configured networks."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not may_scrape(request):
            refused = error_response(401, "not_authenticated", "Send SEQPULSE_METRICS_TOKEN as a bearer token.")
            refused["WWW-Authenticate"] = "Bearer"
            return refused
        return HttpResponse(exposition(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
