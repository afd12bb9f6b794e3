"""Pollers and jobs for tests."""

from datetime import timedelta

from django.utils import timezone

from scheduler.models import Poller, ScheduledJob


def make_poller(name: str = "a", *, age_s: float = 0.0, **columns: object) -> Poller:
    now = timezone.now()
    heartbeat_at = now - timedelta(seconds=age_s)
    values = {"host": f"host-of-{name}", "pid": 4711, "started_at": now, "heartbeat_at": heartbeat_at, **columns}
    return Poller.objects.create(name=name, **values)


def make_job(late_s: float = 0.0, **columns: object) -> ScheduledJob:
    values = {"job_type": "baseline_sweep", "scheduled_at": timezone.now() - timedelta(seconds=late_s), **columns}
    return ScheduledJob.objects.create(**values)
