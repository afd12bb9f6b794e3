"""A control group by labels, from a real Prometheus to the stored verdict."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.tests.factories import judge_now
from deployments.models import Deployment
from deployments.services import finish_deployment
from deployments.tests.pipeline import Pipeline
from metrics.collecting import collect_for
from metrics.configuring import add_source
from metrics.filling import fill_samples, load_places, store_found
from metrics.jobs import load_endpoints
from metrics.sources.http_endpoint import Endpoint
from metrics.storing import store_samples
from metrics.tests.prometheus import prometheus_with
from projects.services import create_project
from scheduler.models import ScheduledJob
from scheduler.queue import NewJob, enqueue
from scheduler.registry import Job
from scheduler.store import JobStore

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
# Of the past that the Prometheus knows: the deployment, and since when everything is slow.
DEPLOYED = 12
EXPRESSIONS = {
    "requests_per_sec": 'sum(rate{service="shop"})',
    "latency_p95": '1000 * max(seconds{service="shop"})',
    "error_rate": 'max(errors{service="shop"})',
    "checkouts": 'sum(checkouts{service="shop"})',
}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Three versions of a service: 1.2 is the old one, 1.3 gets a tenth of its traffic since the deployment, and so
    does 1.4, which fails. What all share is slow since then."""
    now = timezone.now().timestamp()
    times = [now + 60 - 30 * number for number in range(90)]
    series: dict[str, dict[float, float]] = {}
    for number, at in enumerate(times):
        since = at > now - DEPLOYED * 60
        waver = 1.0 + 0.02 * (number % 5 - 2)
        for version, share in {"1.2": 1.0, "1.3": 0.1, "1.4": 0.1}.items():
            if version != "1.2" and not since:
                continue
            values = {
                "rate": 50.0 * share * waver,
                "seconds": (0.9 if since else 0.12) * waver,
                "errors": 0.3 * waver if version == "1.4" else 0.001,
                "checkouts": 40.0 * share * waver,
            }
            for name, value in values.items():
                series.setdefault(f'{name}{{service="shop",version="{version}"}}', {})[at] = value
    with prometheus_with(tmp_path_factory.mktemp("prometheus"), series) as url:
        yield url


def claimed(job_type: str) -> list[Job]:
    past, later = timezone.now() - MINUTE, timezone.now() + MINUTE
    ScheduledJob.objects.filter(job_type=job_type).update(scheduled_at=past, expires_at=later)
    return [job for job in JobStore("a", 30).claim(30)[0] if job.job_type == job_type]


@pytest.mark.parametrize(
    ("control", "verdict", "found"),
    [
        ({"selector": 'version="1.2"', "treatment": 'version="1.3"'}, "ok", set()),
        ({"selector": 'version="1.2"', "treatment": 'version="1.4"'}, "rollback_recommended", {"error_rate"}),
        (None, "rollback_recommended", {"latency_p95", "error_rate"}),
    ],
)
def test_versions_beside_each_other_are_judged_by_their_labels(
    control: Any, verdict: str, found: set[str], prometheus: str, settings: Any
) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    made = create_project("shop", environment="prod")
    made.environment.policy = {
        "custom_metrics": [{"name": "checkouts", "kind": "rate", "unit": "/min", "critical": True}]
    }
    made.environment.save()
    add_source(made.environment, "prometheus", {"url": prometheus, "expressions": EXPRESSIONS})
    uuid = Pipeline(made.api_key).start(control=control)
    [job] = [job for job in claimed("pre_collect") if job.sequence_index == 0]
    store_samples([(job, asyncio.run(collected(job, load_endpoints([job])[job.id])))])
    finish_deployment(made.project, uuid, result="success")
    # As if it had been then: what the Prometheus knows is the same.
    begun = timezone.now() - DEPLOYED * MINUTE
    Deployment.objects.update(started_at=begun, finished_at=begun + MINUTE, window_samples=8, interval_s=60.0)
    deployment = Deployment.objects.get()
    enqueue([NewJob("fill_samples", timezone.now(), deployment.pk, expires_at=timezone.now() + MINUTE)])
    [job] = claimed("fill_samples")
    store_found([(job, asyncio.run(fill_samples(job, load_places([job])[job.id])))])
    judged = judge_now(deployment).verdict
    assert (judged.verdict, {one["metric"] for one in judged.failed_metrics}) == (verdict, found), judged.summary
    assert judged.conclusive


async def collected(job: Job, endpoint: Endpoint) -> Any:
    future = asyncio.get_running_loop().create_future()
    collect_for(job, endpoint, future.set_result)
    return await future
