"""Verdicts, hints and lost samples are counted once, whatever runs twice."""

from datetime import timedelta

import pytest
from django.utils import timezone

from analysis.jobs import analyse, load, store
from analysis.models import Hint
from common import totals
from deployments.services import Trigger, finish_deployment, start_deployment
from projects.services import create_project
from scheduler.models import ScheduledJob
from scheduler.store import JobStore

pytestmark = pytest.mark.django_db


def counted(name: str) -> dict[tuple[tuple[str, ...], str], float]:
    return totals.read().get(name, {})


def test_a_verdict_its_hints_and_its_lost_samples_are_counted_once() -> None:
    made = create_project("shop", environment="prod", endpoint="http://metrics.example/m")
    started = start_deployment(made.project, Trigger(env="prod")).deployment
    finish_deployment(made.project, started.uuid, result="success")
    # Every collection comes too late.
    past = timezone.now() - timedelta(seconds=9)
    ScheduledJob.objects.exclude(job_type="analysis").update(scheduled_at=past, expires_at=past)
    poller = JobStore("a", 30)
    poller.claim(100)
    ScheduledJob.objects.filter(job_type="analysis").update(scheduled_at=past)
    [job] = poller.claim(100)[0]
    assert job.job_type == "analysis"
    judgement = analyse(job, load([job])[job.id])
    poller.complete([(job, judgement)])
    store([(job, judgement)])

    assert counted("seqpulse_analysis_verdict_total") == {(("warning",), ""): 1}
    hints = counted("seqpulse_analysis_hint_total")
    assert sum(hints.values()) == Hint.objects.count() > 0
    assert counted("seqpulse_collection_failures_total") == {(("expired",), ""): 6}
    assert counted("seqpulse_analysis_duration_seconds")[(), "sum"] > 0
    times = counted("seqpulse_time_to_verdict_seconds")
    assert sum(value for (_, part), value in times.items() if part != "sum") == 1
    assert times[(), "sum"] < 5
