"""Queries of health and /metrics: correct, and without reading all old jobs."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from scheduler.models import ScheduledJob
from scheduler.state import GAUGES, OLDEST_DUE, PARAMETERS, PENDING, POLLERS, QUEUE, read_gauges

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        (QUEUE, {"jobs_due", "jobs_running", "jobs_failed"}),
        (GAUGES, {"jobs_due", "jobs_running"}),
        (PENDING, {"jobs_due"}),
        (POLLERS, {"jobs_running"}),
        (OLDEST_DUE, {"jobs_due"}),
    ],
)
def test_partial_indexes_serve_every_look_at_the_jobs(query: str, indexes: set[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO scheduled_jobs (job_type, phase, sequence_index, scheduled_at, status, retry_count,"
            " last_error, error_code, job_metadata, locked_by) SELECT 'judging', '', 0, now() - n * interval '1 s',"
            " CASE n % 400 WHEN 0 THEN 'pending' WHEN 1 THEN 'running' ELSE 'completed' END, 0, '', '', '{}', ''"
            " FROM generate_series(1, 8000) AS n"
        )
        cursor.execute("ANALYZE scheduled_jobs")
        cursor.execute("EXPLAIN " + query, {**PARAMETERS, "kind": "judging", "within": 2, "external": ["collecting"]})
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan on scheduled_jobs" not in plan
    assert {name for name in indexes if name in plan} == indexes


def test_late_and_retried_jobs_of_a_kind_are_overdue_whether_they_wait_or_run() -> None:
    now = timezone.now()
    late, soon = now - timedelta(seconds=30), now + timedelta(seconds=30)
    for job_type, status, scheduled_at, retry_count in [
        ("judging", "pending", late, 0),
        ("judging", "pending", soon, 1),
        ("judging", "running", late, 0),
        ("judging", "running", soon, 1),
        ("judging", "pending", soon, 0),
        ("judging", "running", soon, 0),
        ("judging", "completed", late, 1),
        ("collecting", "pending", late, 1),
    ]:
        ScheduledJob.objects.create(
            job_type=job_type, status=status, scheduled_at=scheduled_at, retry_count=retry_count
        )
    gauges = read_gauges("judging", within_s=2)
    assert (gauges.overdue, gauges.running) == (4, 3)
