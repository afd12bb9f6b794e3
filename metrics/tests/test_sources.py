"""Sources of an environment, from their configuration to stored samples, with a real Prometheus."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from deployments.models import Deployment
from deployments.services import Trigger, start_deployment
from metrics.collecting import measure_for
from metrics.configuring import add_source, change_source, remove_source, try_source
from metrics.jobs import load_endpoints
from metrics.models import MetricLevel, MetricSample, Phase, Source
from metrics.sources.base import InvalidConfig
from metrics.storing import store_samples
from metrics.tests.prometheus import prometheus_with
from projects.models import Environment
from projects.services import NewProject, create_project
from scheduler.models import ScheduledJob
from scheduler.registry import Job, JobError
from scheduler.store import Failure, JobStore

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("local_allowed")]
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with a sample a minute: the last 45 minutes, and those of yesterday."""
    now = timezone.now().timestamp()
    past = [now + 120 - 60 * number for number in range(50)]
    times = [*past, *(at - 86400 for at in past)]
    series = {
        'rate{service="shop"}': {at: 42.0 if at > now - 43200 else 30.0 for at in times},
        'seconds{service="shop"}': dict.fromkeys(times, 0.118),
        'nothing{service="shop"}': dict.fromkeys(times, float("nan")),
    }
    with prometheus_with(tmp_path_factory.mktemp("prometheus"), series) as url:
        yield url


@pytest.fixture
def made() -> NewProject:
    return create_project("shop", environment="prod")


@pytest.fixture
def local_allowed(settings: Any) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"


def config_of(url: str) -> dict[str, object]:
    return {
        "url": url,
        "expressions": {
            "requests_per_sec": 'rate{service="shop"}',
            "latency_p95": '1000 * seconds{service="shop"}',
            "error_rate": 'nothing{service="shop"}',
            "cpu_usage": 'absent_metric{service="shop"}',
            "checkouts_per_minute": '60 * rate{service="shop"}',
        },
    }


def pre_job(deployment: Deployment) -> Job:
    ScheduledJob.objects.filter(deployment=deployment).update(scheduled_at=timezone.now() - MINUTE)
    [job] = [job for job in JobStore("a", 30).claim(10)[0] if job.job_type == "pre_collect"]
    return job


def test_the_minutes_before_trigger_come_at_once(prometheus: str, made: NewProject) -> None:
    environment = made.environment
    environment.policy = {"custom_metrics": [{"name": "checkouts_per_minute"}]}
    environment.save()
    source = add_source(environment, "prometheus", config_of(prometheus))
    deployment = start_deployment(
        made.project, Trigger(env="prod", metrics_endpoint="https://other.example/m")
    ).deployment
    assert Environment.objects.get(pk=environment.pk).metrics_endpoint == ""
    job = pre_job(deployment)
    for _ in range(2):  # a job that runs twice leaves each sample once
        found = asyncio.run(measure_for(job, load_endpoints([job])[job.id]))
        store_samples([(job, found)])
    samples = list(MetricSample.objects.filter(deployment=deployment, phase=Phase.PRE).order_by("collected_at"))
    assert len(samples) == 31
    assert samples[0].collected_at < samples[-1].collected_at - 29 * MINUTE
    for sample in samples:
        assert (sample.requests_per_sec, sample.latency_p95) == (42.0, 118.0)
        assert (sample.error_rate, sample.cpu_usage, sample.memory_usage) == (None, None, None)
        assert sample.custom_metrics == {"checkouts_per_minute": 2520.0}
    levels = list(MetricLevel.objects.filter(environment=environment))
    assert 6 <= len(levels) <= 14
    assert {level.requests_per_sec for level in levels} == {30.0}
    assert [level.custom_metrics for level in levels] == [{"checkouts_per_minute": 1800}] * len(levels)
    source.refresh_from_db()
    assert source.answered_at is not None
    assert source.failure is None


def test_what_one_source_does_not_know_another_gives_and_what_fails_is_told(prometheus: str, made: NewProject) -> None:
    first = add_source(
        made.environment, "prometheus", {"url": prometheus, "expressions": {"cpu_usage": "rate * 0 + 0.5"}}
    )
    broken = add_source(made.environment, "prometheus", {"url": prometheus, "expressions": {"error_rate": "rate("}})
    add_source(
        made.environment,
        "prometheus",
        {"url": prometheus, "expressions": {"cpu_usage": "vector(0.9)", "error_rate": "vector(0.01)"}},
    )
    job = pre_job(start_deployment(made.project, Trigger(env="prod")).deployment)
    store_samples([(job, asyncio.run(measure_for(job, load_endpoints([job])[job.id])))])
    sample = MetricSample.objects.get(sequence_index=0)
    assert (sample.cpu_usage, sample.error_rate) == (0.5, 0.01)
    assert {source.pk: source.failure is None for source in Source.objects.all()}[broken.pk] is False
    assert Source.objects.get(pk=first.pk).failure is None


def test_secrets_of_a_source_are_encrypted_and_kept_where_they_are_left_out(prometheus: str, made: NewProject) -> None:
    source = add_source(
        made.environment, "prometheus", {**config_of(prometheus), "headers": {"Authorization": "Bearer marked"}}
    )
    assert "marked" not in str(Source.objects.values())
    change_source(source, config_of(prometheus))
    assert "Bearer marked" in Source.objects.get().config.open()
    change_source(source, {**config_of(prometheus), "headers": {}})
    assert "marked" not in Source.objects.get().config.open()


def test_an_endpoint_stays_a_source_beside_another_until_it_is_removed(prometheus: str) -> None:
    made = create_project("shop", environment="prod", endpoint="https://shop.example/m")
    add_source(made.environment, "prometheus", config_of(prometheus))
    assert Environment.objects.get().source_kinds == ["endpoint", "prometheus"]
    remove_source(Source.objects.get(kind="endpoint"))
    assert Environment.objects.get().source_kinds == ["prometheus"]
    remove_source(Source.objects.get())
    assert Environment.objects.get().source_kinds == []


@pytest.mark.parametrize(
    ("kind", "config", "field", "code"),
    [
        ("nagios", {}, "kind", "config.literal_error"),
        ("prometheus", [], "config", "config.dict_type"),
        ("prometheus", {"expressions": {"error_rate": "up"}}, "url", "config.missing"),
        ("prometheus", {"url": "http://p", "expressions": {}}, "expressions", "config.too_short"),
        (
            "prometheus",
            {"url": "http://p", "expressions": {"error_rate": ""}},
            "expressions.error_rate",
            "config.string_too_short",
        ),
        ("prometheus", {"url": "http://p", "expressions": {"a": "up"}, "tokn": 1}, "tokn", "config.extra_forbidden"),
        ("endpoint", {"timeout_s": 900}, "timeout_s", "config.less_than_equal"),
        ("endpoint", {"timeout_s": "soon"}, "timeout_s", "config.float_parsing"),
    ],
)
def test_a_wrong_setting_is_named(made: NewProject, kind: str, config: object, field: str, code: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        add_source(made.environment, kind, config)
    assert {path: fact.code for path, fact in refused.value.errors.items()} == {field: code}
    assert not Source.objects.exists()


def test_a_source_is_tried_without_writing_anything(prometheus: str, made: NewProject) -> None:
    trial = try_source(made.environment, "prometheus", config_of(prometheus))
    assert trial.problem is None
    assert trial.metrics.requests_per_sec == 42.0
    lost = try_source(
        made.environment, "prometheus", {"url": "http://127.0.0.1:9", "expressions": {"error_rate": "up"}}
    )
    assert lost.problem is not None
    assert json.dumps(lost.problem.to_json())
    assert not Source.objects.exists()
    assert not MetricSample.objects.exists()


def test_a_prometheus_that_does_not_answer_is_noted_and_no_sign_of_an_outage(made: NewProject) -> None:
    source = add_source(
        made.environment, "prometheus", {"url": "http://127.0.0.1:9", "expressions": {"error_rate": "up"}}
    )
    job = pre_job(start_deployment(made.project, Trigger(env="prod")).deployment)
    endpoint = load_endpoints([job])[job.id]
    with pytest.raises(JobError) as failed:
        asyncio.run(measure_for(job, endpoint))
    assert (failed.value.code, failed.value.retry) == ("source_failed", True)
    assert failed.value.fact.params["problem"].code == "refused"  # type: ignore[union-attr]
    JobStore(job_owner(job), 30).fail([Failure(job, failed.value.fact, None)])
    source.refresh_from_db()
    assert source.failed_at is not None
    assert source.failure["code"] == "refused"
    # An endpoint is the service itself.
    Environment.objects.update(metrics_endpoint="http://127.0.0.1:9/m")
    Source.objects.create(environment=made.environment, kind="endpoint", position=9, config="{}")
    with pytest.raises(JobError) as failed:
        asyncio.run(measure_for(job, load_endpoints([job])[job.id]))
    assert failed.value.code == "refused"


def job_owner(job: Job) -> str:
    return ScheduledJob.objects.get(pk=job.id).locked_by


def test_secrets_are_not_kept_for_another_address(made: NewProject) -> None:
    config = {"url": "https://p.example", "expressions": {"error_rate": "up"}}
    secret = {"headers": {"Authorization": "Bearer marked"}}
    source = add_source(made.environment, "prometheus", {**config, **secret})
    change_source(source, {**config, "url": "https://p.example/prometheus"})
    source.refresh_from_db()
    assert "marked" in source.config.open()
    with pytest.raises(InvalidConfig) as refused:
        change_source(source, {**config, "url": "https://other.example"})
    assert {path: fact.code for path, fact in refused.value.errors.items()} == {"headers": "config.secret_again"}
    change_source(source, {**config, **secret, "url": "https://other.example"})
    source.refresh_from_db()
    change_source(source, {**config, "url": "https://third.example", "headers": {}})
    source.refresh_from_db()
    assert "marked" not in source.config.open()
