"""A journey from its site to the stored verdict, and back."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.replay import judged, replay
from analysis.tests.factories import judge_now
from deployments.models import Deployment
from deployments.services import Trigger, finish_deployment, start_deployment
from explain.rendering import render
from metrics.collecting import measure_for
from metrics.configuring import add_source, change_source, remove_source
from metrics.jobs import load_endpoints
from metrics.models import MetricSample, Phase
from metrics.sources import journey
from metrics.storing import Collected, store_samples
from metrics.tests.site import Page, Site, serving
from projects.services import create_project
from scheduler.models import ScheduledJob
from scheduler.store import JobStore

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
STEPS = [
    {"url": "/", "expect": {"text": "Welcome"}},
    {"url": "/version", "expect": {"version": {"json": "$.version"}}},
]


@pytest.fixture
def site(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    # No time passes between the samples: none of them spreads what it asks.
    settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS = 60
    monkeypatch.setattr(journey, "LONGEST_SPREAD_S", 0.0)
    with serving() as site:
        yield site


def collect(deployment: Deployment, phase: str) -> None:
    """Collect the samples of a phase, those of POST as if a minute had passed between them."""
    jobs = ScheduledJob.objects.filter(deployment=deployment, phase=phase)
    jobs.update(scheduled_at=timezone.now() - MINUTE, expires_at=None)
    claimed = [job for job in JobStore("a", 30).claim(20)[0] if job.phase == phase]
    assert claimed
    for job in claimed:
        found = asyncio.run(measure_for(job, load_endpoints([job])[job.id]))
        assert isinstance(found, Collected)
        # The time of the test's transaction stands still.
        for sample in found.samples:
            before = deployment.started_at - timedelta(seconds=1)
            after = deployment.started_at + sample.sequence_index * MINUTE
            sample.collected_at = after if phase == Phase.POST else before
        store_samples([(job, found)])


def test_a_page_that_answers_200_without_its_text_is_named_and_judged_again_alike(site: Site) -> None:
    made = create_project("shop", environment="prod")
    source = add_source(made.environment, "check", {"base_url": site.url, "steps": STEPS})
    site.pages = {"/": Page(b"Welcome"), "/version": Page(b'{"version": "v1"}')}
    started = start_deployment(made.project, Trigger(env="prod", facts={"version": "v2"})).deployment
    collect(started, Phase.PRE)
    site.pages["/"] = Page(b"Oops")
    finish_deployment(made.project, started.uuid, result="success")
    started.refresh_from_db()
    collect(started, Phase.POST)
    assert MetricSample.objects.filter(deployment=started, phase=Phase.POST).count() == started.window_samples
    [before] = MetricSample.objects.filter(deployment=started, phase=Phase.PRE)
    assert (before.error_rate, before.requests_per_sec) == (0.0, None)
    deployment = judge_now(started)
    verdict = deployment.verdict
    assert verdict.verdict == "rollback_recommended"
    sentences = [check["sentence"] for check in verdict.checks]
    broken = "GET / answers 200, but “Welcome” is missing since the deployment: 20 of 20, before 0 of 20"
    assert broken in sentences
    assert "GET /version answers 200, but not from the new version: 10 of 10 at the end of the window" in sentences
    # What was expected then is judged again, whatever the journey is now.
    change_source(source, {"base_url": site.url, "steps": [{"url": "/other"}]})
    for _ in range(2):
        [again] = replay(judged(Deployment.objects.filter(pk=deployment.pk)))
        assert again.verdict == "rollback_recommended"
        assert broken in [render(check.fact) for check in again.judgement.verdict.checks]
        if source.pk:
            remove_source(source)
