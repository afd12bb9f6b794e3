"""What a window lacks is asked for once more before its verdict, with a real Prometheus."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.evidence import load_evidence
from analysis.jobs import load
from deployments.models import Deployment
from deployments.services import Trigger, finish_deployment, start_deployment
from explain.facts import Fact
from metrics.collecting import measure_for
from metrics.configuring import add_source
from metrics.filling import fill_samples, load_places
from metrics.jobs import load_endpoints
from metrics.models import MetricSample, Phase
from metrics.sources import SOURCE_KINDS
from metrics.tests.prometheus import prometheus_with
from projects.models import RANGED_KINDS
from projects.services import create_project
from scheduler.models import ScheduledJob
from scheduler.registry import Job, JobError
from scheduler.store import Failure, JobStore

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with two samples a minute of half an hour; its traffic is the number of the minute of the hour."""
    now = timezone.now().timestamp()
    times = [now + 60 - 30 * number for number in range(60)]
    with prometheus_with(
        tmp_path_factory.mktemp("prometheus"),
        {"rate": {at: at // 60 % 60 for at in times}, "cpu": dict.fromkeys(times, 0.5)},
    ) as url:
        yield url


@pytest.fixture
def deployment(prometheus: str, settings: Any) -> Deployment:
    """One whose window of five minutes has just ended, and of which nothing was collected."""
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    made = create_project("shop", environment="prod")
    expressions = {"requests_per_sec": "rate", "cpu_usage": "cpu", "checkouts": "2 * rate"}
    add_source(made.environment, "prometheus", {"url": prometheus, "expressions": expressions})
    started = start_deployment(made.project, Trigger(env="prod")).deployment
    finish_deployment(made.project, started.uuid, result="success")
    ended = timezone.now() - 5 * MINUTE - timedelta(seconds=5)
    Deployment.objects.filter(pk=started.pk).update(started_at=ended - MINUTE, finished_at=ended)
    started.refresh_from_db()
    for job in ScheduledJob.objects.filter(deployment=started, job_type="post_collect"):
        due = ended + job.sequence_index * MINUTE
        ScheduledJob.objects.filter(pk=job.pk).update(scheduled_at=due, expires_at=timezone.now() + 10 * MINUTE)
    return started


def claimed(store: JobStore, kind: str) -> list[Job]:
    return sorted((one for one in store.claim(100)[0] if one.job_type == kind), key=lambda one: one.sequence_index)


def judged(store: JobStore) -> object:
    """Return what the claimed analysis is given."""
    analyses = ScheduledJob.objects.filter(job_type="analysis", status="pending")
    assert analyses.update(scheduled_at=timezone.now() - MINUTE) == 1  # the database's time is that of the beginning
    [analysis] = claimed(store, "analysis")
    found = load([analysis])[analysis.id]
    if isinstance(found, JobError):
        store.fail([Failure(analysis, found.fact, 1.0)])
    return found


def run_filling(store: JobStore) -> Job:
    ScheduledJob.objects.filter(job_type="fill_samples").update(scheduled_at=timezone.now() - MINUTE)
    [job] = claimed(store, "fill_samples")
    store.complete([(job, asyncio.run(fill_samples(job, load_places([job])[job.id])))])
    return job


def minutes(deployment: Deployment) -> list[tuple[int, float | None, float | None]]:
    rows = MetricSample.objects.filter(deployment=deployment, phase=Phase.POST).order_by("sequence_index")
    return [(row.sequence_index, row.requests_per_sec, (row.custom_metrics or {}).get("checkouts")) for row in rows]


def test_a_window_without_a_sample_is_filled_before_it_is_judged(deployment: Deployment) -> None:
    store = JobStore("a", 30)
    ScheduledJob.objects.filter(deployment=deployment, job_type="post_collect").update(
        expires_at=timezone.now() - MINUTE
    )
    assert not claimed(store, "post_collect")
    assert not MetricSample.objects.exists()
    waiting = judged(store)
    assert isinstance(waiting, JobError)
    assert waiting.code == "collecting"
    run_filling(store)
    analysis = ScheduledJob.objects.get(deployment=deployment, job_type="analysis")
    assert analysis.status == "pending"
    assert analysis.scheduled_at <= timezone.now()
    found = load_evidence([deployment], timezone.now())[deployment.pk]
    assert len(found.post) == 5
    assert not [miss for miss in found.window.misses if miss.phase == "post"]
    assert deployment.finished_at is not None
    for number, (place, rate, checkouts) in enumerate(minutes(deployment), 1):
        at = (deployment.finished_at + place * MINUTE).timestamp()
        assert place == number
        assert rate in {at // 60 % 60, (at - 30) // 60 % 60}  # the latest scrape is up to 30 s old
        assert rate is not None
        assert checkouts == 2 * rate
    # No second question, whatever is missing.
    MetricSample.objects.all().delete()
    assert not isinstance(judged(store), JobError)
    assert ScheduledJob.objects.filter(job_type="fill_samples").count() == 1


def test_metrics_that_single_samples_lack_are_added_and_the_others_kept(deployment: Deployment) -> None:
    store = JobStore("a", 30)
    jobs = claimed(store, "post_collect")
    endpoints = load_endpoints(jobs)
    done = [(job, asyncio.run(measure_for(job, endpoints[job.id]))) for job in jobs[:4]]
    store.complete(done)
    store.fail([Failure(jobs[4], Fact("timeout"), None)])
    MetricSample.objects.filter(sequence_index=2).update(requests_per_sec=None, cpu_usage=0.25, custom_metrics=None)
    assert isinstance(judged(store), JobError)
    run_filling(store)
    samples = {row.sequence_index: row for row in MetricSample.objects.filter(phase=Phase.POST)}
    assert sorted(samples) == [1, 2, 3, 4, 5]
    assert (samples[2].cpu_usage, samples[5].cpu_usage) == (0.25, 0.5)
    assert samples[2].requests_per_sec is not None
    assert samples[2].custom_metrics == {"checkouts": 2 * samples[2].requests_per_sec}


def test_a_filling_that_takes_too_long_is_ended_and_stores_nothing(deployment: Deployment) -> None:
    store = JobStore("a", 30)
    jobs = claimed(store, "post_collect")
    store.fail([Failure(job, Fact("timeout"), None) for job in jobs])
    assert isinstance(judged(store), JobError)
    ScheduledJob.objects.filter(job_type="fill_samples").update(scheduled_at=timezone.now() - MINUTE)
    [job] = claimed(store, "fill_samples")
    found = asyncio.run(fill_samples(job, load_places([job])[job.id]))
    assert len(found) == 5
    ScheduledJob.objects.filter(pk=job.id).update(expires_at=timezone.now() - MINUTE)
    assert not isinstance(judged(store), JobError)
    store.complete([(job, found)])
    assert not MetricSample.objects.exists()
    assert ScheduledJob.objects.get(pk=job.id).status == "expired"


def test_a_window_with_all_samples_is_judged_at_once(deployment: Deployment) -> None:
    store = JobStore("a", 30)
    jobs = claimed(store, "post_collect")
    endpoints = load_endpoints(jobs)
    store.complete([(job, asyncio.run(measure_for(job, endpoints[job.id]))) for job in jobs])
    assert not isinstance(judged(store), JobError)
    assert not ScheduledJob.objects.filter(job_type="fill_samples").exists()


def test_environments_know_which_kinds_answer_for_the_past(deployment: Deployment) -> None:
    assert {kind.name for kind in SOURCE_KINDS if kind.ranged} <= set(RANGED_KINDS)
    assert not {kind.name for kind in SOURCE_KINDS if not kind.ranged} & set(RANGED_KINDS)
    environment = deployment.environment
    assert environment.past_known
    assert environment.effective_baseline_interval_s == 0
    environment.baseline_interval_s = 300
    assert environment.effective_baseline_interval_s == 300
    environment.source_kinds = ["prometheus", "endpoint"]
    environment.metrics_endpoint = "https://shop.example/m"
    environment.baseline_interval_s = None
    assert environment.effective_baseline_interval_s > 0
