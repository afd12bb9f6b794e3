"""How errors and jobs look in logs and job rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from scheduler.registry import Job


def describe(error: Exception) -> str:
    """The error's type and words."""
    return f"{type(error).__name__}: {str(error).strip()}" if str(error) else type(error).__name__


def lag_ms(job: Job) -> float:
    """How late the job was claimed."""
    return round((job.claimed_at - job.scheduled_at).total_seconds() * 1000, 1)


def duration_ms(job: Job) -> float:
    """How long ago the job was claimed."""
    return round((time.monotonic() - job.claimed_monotonic) * 1000, 1)


def facts(job: Job) -> dict[str, Any]:
    """What a log line about one job says of it."""
    return {
        "job_id": job.id,
        "job_type": job.job_type,
        **job.names,
        "phase": job.phase,
        "sequence_index": job.sequence_index,
        "lag_ms": lag_ms(job),
        "duration_ms": duration_ms(job),
    }


def facts_of_many(jobs: Sequence[Job]) -> dict[str, Any]:
    """What a log line about jobs of one batch says of them. One line a job would cost as much as the work itself."""
    return {
        "count": len(jobs),
        "job_ids": [job.id for job in jobs],
        "deployment_ids": sorted({job.names["deployment_id"] for job in jobs if "deployment_id" in job.names}),
        "lag_ms_max": max(map(lag_ms, jobs)),
        "duration_ms_max": max(map(duration_ms, jobs)),
    }
