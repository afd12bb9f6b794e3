"""A control group is measured at the same instants as the deployment, and never costs it a sample."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from django.utils import timezone

import metrics.texts  # noqa: F401  (registers the sentences)
from deployments.models import Deployment
from deployments.services import finish_deployment
from deployments.tests.pipeline import Pipeline
from explain.facts import Fact
from explain.rendering import render
from metrics.collecting import collect_for
from metrics.configuring import add_source
from metrics.filling import begin_filling, fill_samples, load_places, store_found
from metrics.jobs import load_endpoints
from metrics.models import Group, MetricSample, Phase, SamplePlace
from metrics.storing import Collected, Sample, store_samples
from metrics.tests.prometheus import prometheus_with
from projects.models import Environment
from projects.services import NewProject, create_project
from scheduler.models import ScheduledJob
from scheduler.registry import Job, JobError
from scheduler.store import JobStore

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("local_allowed")]
MINUTE = timedelta(minutes=1)
METRICS = {"requests_per_sec": 50.0, "latency_p95": 120.0, "error_rate": 0.0, "cpu_usage": 0.3, "memory_usage": 0.4}
# By path: the p95 that is answered.
LATENCIES = {"/new": 120.0, "/old": 240.0, "/green": 360.0}


class Service(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.signed: dict[str, bool] = {}
        self.headers: dict[str, list[str]] = {}

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.server.signed[self.path] = "X-SeqPulse-Signature" in self.headers
        self.server.headers.setdefault(self.path, []).append(str(self.headers))
        latency = LATENCIES.get(self.path)
        body = json.dumps({"metrics": {**METRICS, "latency_p95": latency}}).encode()
        self.send_response(500 if latency is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[Service, Service]]:
    """Two services, at two origins."""
    with ExitStack() as stack:
        both = Service(), Service()
        for service in both:
            stack.callback(service.server_close)
            stack.callback(service.shutdown)
            Thread(target=service.serve_forever, args=(0.02,), daemon=True).start()
        yield both


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with two versions of a service, whose latencies differ, for half an hour."""
    now = timezone.now().timestamp()
    times = [now + 60 - 30 * number for number in range(70)]
    series = {
        'seconds{service="shop",version="1.2"}': dict.fromkeys(times, 0.2),
        'seconds{service="shop",version="1.3"}': dict.fromkeys(times, 0.4),
        "machines": dict.fromkeys(times, 0.5),
    }
    with prometheus_with(tmp_path_factory.mktemp("prometheus"), series) as url:
        yield url


@pytest.fixture
def local_allowed(settings: Any) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"


def shop(endpoint: str = "", *, signed: bool = False) -> NewProject:
    return create_project("shop", environment="prod", endpoint=endpoint, signed=signed)


def begun(made: NewProject, control: Any) -> Deployment:
    return Deployment.objects.get(uuid=Pipeline(made.api_key).start(control=control))


def jobs_of(job_type: str) -> list[Job]:
    ScheduledJob.objects.update(scheduled_at=timezone.now() - MINUTE, expires_at=timezone.now() + MINUTE)
    jobs = [job for job in JobStore("a", 30).claim(20)[0] if job.job_type == job_type]
    return sorted(jobs, key=lambda job: job.sequence_index)


def collect(jobs: list[Job]) -> list[Collected | Sample | Exception]:
    """Run the jobs and store what they collected; return how each ended."""
    endpoints = load_endpoints(jobs)

    async def main() -> list[Any]:
        ended: list[asyncio.Future[Any]] = []
        for job in jobs:
            future = asyncio.get_running_loop().create_future()
            ended.append(future)
            collect_for(job, endpoints[job.id], future.set_result)
        return await asyncio.gather(*ended)

    results = asyncio.run(main())
    store_samples([(job, one) for job, one in zip(jobs, results, strict=True) if not isinstance(one, Exception)])
    return results


def latencies(phase: str, group: str) -> list[float | None]:
    rows = MetricSample.objects.filter(phase=phase, group=group).order_by("sequence_index")
    return list(rows.values_list("latency_p95", flat=True))


def test_both_are_measured_at_the_same_instants(services: tuple[Service, Service]) -> None:
    service, other = services
    made = shop(service.at("/new"), signed=True)
    deployment = begun(made, other.at("/old"))
    collect(jobs_of("pre_collect"))
    assert latencies(Phase.PRE, Group.TREATMENT) == [120.0] * 3
    assert latencies(Phase.PRE, Group.CONTROL) == [240.0] * 3
    finish_deployment(made.project, deployment.uuid, result="success")
    collect(jobs_of("post_collect"))
    assert latencies(Phase.POST, Group.TREATMENT) == [120.0] * 5
    pairs = MetricSample.objects.filter(phase=Phase.POST).values_list("sequence_index", "collected_at")
    assert len(pairs) == 2 * len(set(pairs)) == 10
    given = Pipeline(made.api_key).get(f"/deployments/{deployment.uuid}/metrics").json()
    assert [len(given[name]) for name in ("samples", "control")] == [8, 8]
    assert {one["latency_p95"] for one in given["control"]} == {240.0}
    # The service has a secret; the other one is named by the call alone.
    assert (service.signed["/new"], other.signed["/old"]) == (True, False)


def test_a_control_group_at_the_same_origin_or_one_that_a_person_configured_gets_signed_requests(
    services: tuple[Service, Service],
) -> None:
    service, other = services
    made = shop(service.at("/new"), signed=True)
    Environment.objects.update(origins=[other.at("/")])
    begun(made, other.at("/old"))
    collect(jobs_of("pre_collect"))
    assert other.signed["/old"]
    Environment.objects.update(origins=[])
    Deployment.objects.update(control={"endpoint": service.at("/old")})
    ScheduledJob.objects.filter(job_type="pre_collect").update(status="pending", locked_by="")
    collect(jobs_of("pre_collect"))
    assert service.signed["/old"]


@pytest.mark.parametrize("kind", ["endpoint", "openmetrics"])
def test_credentials_of_a_source_go_to_no_origin_that_a_call_names(
    kind: str, services: tuple[Service, Service], settings: Any
) -> None:
    settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS = 1.0
    service, other = services
    made = shop(service.at("/new"), signed=True)
    headers = {"Authorization": "Bearer marked-token", "X-Tenant": "marked-tenant"}
    add_source(made.environment, kind, {"url": service.at("/new"), "headers": headers})
    pipeline = Pipeline(made.api_key)
    for one in services:
        one.headers.clear()
    answer = pipeline.trigger(control=other.at("/old")).json()
    assert "without signature" in answer["message"]
    collect(jobs_of("pre_collect"))
    pipeline.finish(answer["deployment_id"], green=other.at("/green"))
    collect(jobs_of("post_collect"))
    assert "marked-token" in "".join(service.headers["/new"])
    assert {*other.headers} == {"/old", "/green"}
    sent = "".join(text for texts in other.headers.values() for text in texts)
    assert not re.search("marked|signature|authorization|nonce", sent, re.IGNORECASE)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_green_endpoint_is_asked_for_the_window_and_signed_only_where_a_person_configured_it(
    trusted: bool, services: tuple[Service, Service]
) -> None:
    service, other = services
    made = shop(service.at("/new"), signed=True)
    Environment.objects.update(origins=[other.at("")] if trusted else [])
    pipeline = Pipeline(made.api_key)
    uuid = pipeline.start()
    collect(jobs_of("pre_collect"))
    if trusted:
        answer = pipeline.finish(uuid, metrics_endpoint=other.at("/green"))
    else:
        assert pipeline.finish(uuid, metrics_endpoint=other.at("/green")).status_code == 409
        answer = pipeline.finish(uuid, green=other.at("/green"))
    assert answer.json()["status"] == "accepted"
    assert ("without signature" in answer.json()["message"]) == (not trusted)
    collect(jobs_of("post_collect"))
    assert (latencies(Phase.PRE, Group.TREATMENT), latencies(Phase.POST, Group.TREATMENT)) == ([120.0], [360.0] * 5)
    assert other.signed["/green"] == trusted
    assert Environment.objects.get().metrics_endpoint == service.at("/new")


def test_only_the_finish_that_closes_names_the_green_endpoint(services: tuple[Service, Service]) -> None:
    service, other = services
    pipeline = Pipeline(shop(service.at("/new")).api_key)
    uuid = pipeline.start()
    assert pipeline.finish(uuid, green="green.example").json()["error"]["fields"].keys() == {"green"}
    assert pipeline.finish(uuid, green=other.at("/green")).json()["status"] == "accepted"
    for repeated in ({"green": other.at("/green")}, {"green": other.at("/old")}, {}):
        assert pipeline.finish(uuid, **repeated).json()["status"] == "ignored"
    assert Deployment.objects.get().green == other.at("/green")


def test_the_guard_is_between_us_and_a_green_endpoint(services: tuple[Service, Service]) -> None:
    service, _ = services
    pipeline = Pipeline(shop(service.at("/new")).api_key)
    answer = pipeline.finish(pipeline.start(), green="http://169.254.169.254/latest").json()
    assert "169.254.169.254" in answer["message"]
    assert {getattr(one, "code", "") for one in collect(jobs_of("post_collect"))} == {"blocked"}


def test_other_sources_take_no_endpoint_of_a_finish_and_refuse_none(services: tuple[Service, Service]) -> None:
    service, other = services
    made = shop()
    add_source(made.environment, "prometheus", {"url": service.at("/"), "expressions": {"cpu_usage": "up{}"}})
    pipeline = Pipeline(made.api_key)
    for name in ("metrics_endpoint", "green"):
        uuid = pipeline.start(metrics_endpoint=service.at("/new"))
        answer = pipeline.finish(uuid, **{name: other.at("/green")}).json()
        assert answer["status"] == "accepted"
        assert ("of no use" in answer["message"]) == (name == "green")
    assert set(Deployment.objects.values_list("green", flat=True)) == {""}
    assert Environment.objects.get().metrics_endpoint == ""


def test_a_control_group_that_fails_costs_no_sample_and_is_told(services: tuple[Service, Service]) -> None:
    service, _ = services
    deployment = begun(shop(service.at("/new")), service.at("/broken"))
    collect(jobs_of("pre_collect"))
    assert (latencies(Phase.PRE, Group.TREATMENT), latencies(Phase.PRE, Group.CONTROL)) == ([120.0] * 3, [])
    deployment.refresh_from_db()
    assert "HTTP 500" in render(Fact.from_json(deployment.control_problem))


def test_an_endpoint_that_fails_is_retried_with_its_control_group(services: tuple[Service, Service]) -> None:
    service, _ = services
    begun(shop(service.at("/broken")), service.at("/old"))
    assert {type(one) for one in collect(jobs_of("pre_collect"))} == {JobError}
    assert not MetricSample.objects.exists()


@pytest.mark.parametrize("control", ['version="1.2"', "http://old.example/m"])
def test_what_cannot_be_asked_for_the_control_group_is_told(control: str, services: tuple[Service, Service]) -> None:
    service, _ = services
    made = shop(service.at("/new"))
    if "://" in control:
        made.environment.metrics_endpoint = ""
        made.environment.save()
        add_source(made.environment, "prometheus", {"url": service.at("/"), "expressions": {"cpu_usage": "up{}"}})
    answer = Pipeline(made.api_key).trigger(control=control).json()
    assert "not measured" in answer["message"]


def test_a_prometheus_is_asked_by_labels_which_take_the_place_of_those_of_the_expression(prometheus: str) -> None:
    made = shop()
    expressions = {
        "latency_p95": '1000 * max(seconds{service="shop"})',
        "pinned": '1000 * max(seconds{version="1.3"})',
        "machines": "max(machines)",
    }
    add_source(made.environment, "prometheus", {"url": prometheus, "expressions": expressions})
    deployment = begun(made, "version='1.2'")
    collect(jobs_of("pre_collect"))
    assert set(latencies(Phase.PRE, Group.TREATMENT)) == {400.0}
    assert set(latencies(Phase.PRE, Group.CONTROL)) == {200.0}
    assert MetricSample.objects.filter(group=Group.CONTROL).count() > 20
    [first, *_] = MetricSample.objects.filter(group=Group.CONTROL)
    assert first.custom_metrics == {"pinned": 200.0}
    deployment.refresh_from_db()
    assert "machines" in render(Fact.from_json(deployment.control_problem))
    Deployment.objects.update(control={"selector": 'version="1.3"'})
    finish_deployment(made.project, deployment.uuid, result="success")
    collect(jobs_of("post_collect"))
    # With one label, the new version is what has another value there.
    assert set(latencies(Phase.POST, Group.TREATMENT)) == {200.0}
    assert set(latencies(Phase.POST, Group.CONTROL)) == {400.0}
    # What is filled in before the verdict is of the same groups.
    MetricSample.objects.filter(phase=Phase.POST, sequence_index__gt=2).delete()
    SamplePlace.objects.filter(phase=Phase.POST, sequence_index__gt=2).delete()
    Deployment.objects.update(finished_at=timezone.now() - 10 * MINUTE, interval_s=60.0)
    begin_filling([deployment.pk])
    ScheduledJob.objects.filter(job_type="fill_samples").update(scheduled_at=timezone.now() - MINUTE)
    [job] = [job for job in JobStore("a", 30).claim(20)[0] if job.job_type == "fill_samples"]
    store_found([(job, asyncio.run(fill_samples(job, load_places([job])[job.id])))])
    assert latencies(Phase.POST, Group.TREATMENT) == [200.0] * 5
    assert latencies(Phase.POST, Group.CONTROL) == [400.0] * 5
