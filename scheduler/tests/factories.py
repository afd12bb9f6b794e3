"""Pollers and jobs for tests."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from scheduler.models import Poller, ScheduledJob


def make_poller(name: str, *, age_s: float = 0.0) -> Poller:
    now = timezone.now()
    beat = now - timedelta(seconds=age_s)
    return Poller.objects.create(name=name, host=f"host-of-{name}", pid=4711, started_at=now, heartbeat_at=beat)


def make_job(late_s: float, **columns: object) -> ScheduledJob:
    return ScheduledJob.objects.create(
        job_type="baseline_sweep", scheduled_at=timezone.now() - timedelta(seconds=late_s), **columns
    )
