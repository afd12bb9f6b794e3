"""OTLP metrics: by the official SDK, by hand in both encodings, and hostile ones."""

import gzip
import json
import time
from typing import Any

import pytest
from django.test import Client
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from metrics.models import OtlpState, PushedSample
from metrics.otlp import Export, State, quantile
from projects.services import NewProject, create_project

pytestmark = pytest.mark.django_db
NS = 1_000_000_000
# Of the semantic conventions, in s.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


@pytest.fixture
def made() -> NewProject:
    made = create_project("shop", environment="prod")
    made.environment.policy = {"custom_metrics": [{"name": "queue_backlog", "kind": "gauge"}]}
    made.environment.save()
    return made


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("exponential", [False, True])
def test_the_exporter_of_the_sdk(made: NewProject, live_server: Any, delta: bool, exponential: bool) -> None:
    temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
    exporter = OTLPMetricExporter(
        f"{live_server.url}/v1/metrics",
        headers={"Authorization": f"Bearer {made.api_key}"},
        compression=Compression.Gzip,
        preferred_temporality={Histogram: temporality},
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    named = {"deployment.environment.name": "prod", "service.instance.id": "web-1"}
    buckets = View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], Resource(named), views=[buckets] if exponential else [])
    meter = provider.get_meter("test")
    duration = meter.create_histogram("http.server.request.duration", "s", explicit_bucket_boundaries_advisory=BOUNDS)
    backlog = meter.create_gauge("queue.backlog")
    meter.create_gauge("process.cpu.utilization").set(0.4)
    backlog.set(7)
    for round_ in range(2):
        for number in range(100):
            duration.record(0.001 * (number + 1), {"http.response.status_code": 500 if number < 5 * round_ else 200})
        assert reader.force_flush()
        time.sleep(0.01)
    provider.shutdown()
    samples = list(PushedSample.objects.order_by("at"))[:2]
    assert [sample.instance for sample in samples] == ["web-1"] * 2
    first, second = samples
    assert (first.error_rate, second.error_rate) == (0.0, 0.05)
    assert (first.cpu_usage, first.custom) == (0.4, {"queue_backlog": 7.0})
    for sample in samples:
        assert sample.latency_p95 == pytest.approx(95, rel=0.05)
        assert sample.requests_per_sec is not None
        assert sample.requests_per_sec > 10


def number(value: float, **attributes: Any) -> dict[str, Any]:
    given = [{"key": key.replace("_", "."), "value": {"stringValue": one}} for key, one in attributes.items()]
    return {"timeUnixNano": str(time.time_ns()), "asDouble": value, "attributes": given}


def export(*metrics: dict[str, Any], env: str = "prod") -> dict[str, Any]:
    attributes = [{"key": "deployment.environment", "value": {"stringValue": env}}] if env else []
    return {"resourceMetrics": [{"resource": {"attributes": attributes}, "scopeMetrics": [{"metrics": list(metrics)}]}]}


def histogram(counts: list[int], *, at: float, start: float, unit: str = "s", temporality: int = 2) -> dict[str, Any]:
    point = {
        "startTimeUnixNano": str(int(start * NS)),
        "timeUnixNano": str(int(at * NS)),
        "count": str(sum(counts)),
        "bucketCounts": [str(one) for one in counts],
        "explicitBounds": [0.1, 0.2],
    }
    name = "http.server.request.duration" if unit == "s" else "http.server.duration"
    data = {"aggregationTemporality": temporality, "dataPoints": [point]}
    return {"name": name, "unit": unit, "histogram": data}


def send(made: NewProject, body: Any, *, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"X-API-Key": made.api_key, **headers}
    response = Client().post("/v1/metrics", content, content_type=kind, headers=headers)
    assert response.status_code == status, response.content
    assert response["Content-Type"] == (kind if kind == "application/x-protobuf" else "application/json")
    return response.content


def test_json_by_hand_and_what_is_not_taken(made: NewProject) -> None:
    cpu = {"name": "system.cpu.utilization", "gauge": {"dataPoints": [
        number(0.9, cpu="0", cpu_mode="idle"), number(0.1, cpu="0", cpu_mode="user"),
        number(0.5, cpu="1", cpu_mode="idle"), number(0.5, cpu="1", cpu_mode="user")]}}  # fmt: skip
    memory = {"name": "container.memory.usage", "sum": {"dataPoints": [number(300)]}}
    limit = {"name": "container.memory.limit", "gauge": {"dataPoints": [number(400)]}}
    assert json.loads(send(made, export(cpu, memory, limit))) == {}
    sample = PushedSample.objects.get()
    assert sample.cpu_usage == pytest.approx(0.3)
    assert sample.memory_usage == 0.75
    for env, header, said in (("staging", "", "prod"), ("", "", "deployment.environment.name")):
        partial = json.loads(send(made, export(memory, env=env), **{"X-SeqPulse-Env": header}))["partialSuccess"]
        assert partial["rejectedDataPoints"] == "1"
        assert said in partial["errorMessage"]
    assert json.loads(send(made, export(memory, env=""), **{"X-SeqPulse-Env": "prod"})) == {}
    late = {**memory, "sum": {"dataPoints": [{**number(1), "timeUnixNano": "18446744073709551615"}]}}
    assert "compare the clocks" in json.loads(send(made, export(late)))["partialSuccess"]["errorMessage"]
    assert OtlpState.objects.get().at < time.time() + 1


def test_counts_since_a_start_and_resets(made: NewProject) -> None:
    now = time.time()
    for counts, at, start in (
        ([1000, 0, 0], now - 120, now - 90_000),  # of a process that runs for long: no rate yet
        ([1100, 100, 0], now - 60, now - 90_000),
        ([1100, 100, 0], now - 60, now - 90_000),  # sent again
        ([30, 0, 0], now, now - 30),  # began anew
    ):
        send(made, export(histogram(counts, at=at, start=start)))
    second, third = PushedSample.objects.order_by("at")
    assert second.requests_per_sec == pytest.approx(200 / 60)
    assert second.latency_p95 == pytest.approx(190)
    assert third.requests_per_sec == pytest.approx(0.5)
    ended = histogram([0, 0, 0], at=now + 0.5, start=now - 30)
    ended["histogram"]["dataPoints"][0]["flags"] = 1  # no recorded value: nothing begins anew by it
    send(made, export(ended))
    # A point that ends before it begins has no rate; requests under both names count once.
    backwards = histogram([50, 0, 0], at=now, start=now + 1, temporality=1)
    assert b"ends before it begins" in send(made, export(backwards))
    assert PushedSample.objects.count() == 2
    both = [histogram([100, 0, 0], at=now + 0.9, start=now - 0.1, unit=unit, temporality=1) for unit in ("s", "ms")]
    send(made, export(*both))
    assert PushedSample.objects.latest("at").requests_per_sec == pytest.approx(100)
    send(made, export(histogram([10, 0, 0], at=now + 1, start=now, unit="ms", temporality=1)))
    assert PushedSample.objects.latest("at").latency_p95 == pytest.approx(0.095)


@pytest.mark.parametrize("kind", ["application/x-protobuf", "application/json"])
@pytest.mark.parametrize("body", [b"\x0a\xff\xff\xff\xff\x0f", b"{", b"\x00" * 99, b"[" * 9999, b"\x0a\x7f", b"7"])
def test_hostile_bodies_are_refused(made: NewProject, kind: str, body: bytes) -> None:
    answer = send(made, body, status=400, kind=kind)
    assert b"ExportMetricsServiceRequest" in answer
    if kind == "application/json":
        assert json.loads(answer)["code"] == 3
    else:
        assert answer[:3] == b"\x08\x03\x12"
    send(made, body, status=400, kind=kind, **{"Content-Encoding": "gzip"})


def test_bounds(made: NewProject) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    send(made, bomb, status=413, **{"Content-Encoding": "gzip"})
    send(made, b"", status=415, kind="text/plain")
    send(made, b"", status=415, **{"Content-Encoding": "br"})
    send(made, b"{}", status=401, **{"X-API-Key": "sp_unknown"})
    # An export of nothing is one.
    empty = ExportMetricsServiceRequest()
    empty.resource_metrics.add()
    answer = send(made, empty.SerializeToString(), kind="application/x-protobuf")
    assert ExportMetricsServiceResponse.FromString(answer).partial_success.rejected_data_points == 0


def test_odd_histograms_are_left_out() -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="http.server.request.duration")
    metric.histogram.aggregation_temporality = 1
    for bounds, counts in (([2.0, 1.0], [1, 1, 1]), ([1.0], [1]), ([float("nan")], [1, 1]), ([1.0], [2**63, 2**63])):
        metric.histogram.data_points.add(
            explicit_bounds=bounds, bucket_counts=counts, count=2**64 - 1, time_unix_nano=NS, start_time_unix_nano=1
        )
    export_ = Export(State(), {})
    export_.add(metric)
    found = export_.finish()
    assert found.rejected == 3
    assert found.metrics.requests_per_sec is not None
    exponential = request.resource_metrics[0].scope_metrics[0].metrics.add(name="http.server.request.duration")
    exponential.exponential_histogram.aggregation_temporality = 1
    for scale, offset in ((20, 2**31 - 1), (-20, -(2**31)), (2**31 - 1, 0), (0, 100)):
        point = exponential.exponential_histogram.data_points.add(scale=scale, time_unix_nano=NS, count=1)
        point.positive.offset = offset
        point.positive.bucket_counts.append(1)
    export_ = Export(State(), {})
    export_.add(exponential)
    assert export_.finish().rejected == 3


def test_quantiles_of_overlapping_buckets() -> None:
    assert quantile({}, 0.95) is None
    assert quantile({(0.0, 100.0): 100.0}, 0.95) == pytest.approx(95)
    assert quantile({(0.0, 100.0): 50.0, (0.0, 200.0): 50.0}, 0.5) == pytest.approx(66.67, abs=0.01)
    assert quantile({(1.0, 1.0): 3.0}, 0.95) == 1.0
