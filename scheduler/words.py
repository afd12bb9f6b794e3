"""Format errors and jobs for logs, job rows and pages."""

import json
import math
import time
from collections.abc import Sequence
from typing import Any

from common.validation import localized
from explain.facts import Fact, NotAFact, Param
from explain.rendering import render
from scheduler.registry import Job

MAX_ERROR_CHARS = 2000


def stored(fact: Fact) -> tuple[str, str]:
    """Return a fact as a job row keeps it: its English text, and its code and parameters as JSON."""
    kept = Fact(fact.code, {name: _storable(value) for name, value in fact.params.items()})
    return render(kept)[:MAX_ERROR_CHARS], json.dumps(kept.to_json())


def _storable(value: Param) -> Param:
    if isinstance(value, Fact):
        return Fact(value.code, {name: _storable(item) for name, item in value.params.items()})
    if isinstance(value, str):
        # PostgreSQL text cannot contain NUL or lone surrogates.
        return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()[:MAX_ERROR_CHARS]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(error: Any, english: str) -> str:
    """Return a stored error in the language of the page; `english`, the text beside it, where it is no known fact."""
    try:
        fact = Fact.from_json(error)
    except NotAFact:
        return english
    text = localized(fact)
    return english or text if text == fact.code else text


def describe(error: Exception) -> str:
    """Return the error's type and text."""
    return f"{type(error).__name__}: {str(error).strip()}" if str(error) else type(error).__name__


def lag_ms(job: Job) -> float:
    """Return how late the job was claimed, in ms."""
    return round((job.claimed_at - job.scheduled_at).total_seconds() * 1000, 1)


def duration_ms(job: Job) -> float:
    """Return the time since the claim, in ms."""
    return round((time.monotonic() - job.claimed_monotonic) * 1000, 1)


def facts(job: Job) -> dict[str, Any]:
    """Return the fields of a log line about one job."""
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
    """Return the fields of a log line about a batch of jobs. One line per job would cost as much as the work itself."""
    return {
        "count": len(jobs),
        "job_ids": [job.id for job in jobs],
        "deployment_ids": sorted({job.names["deployment_id"] for job in jobs if "deployment_id" in job.names}),
        "lag_ms_max": max(map(lag_ms, jobs)),
        "duration_ms_max": max(map(duration_ms, jobs)),
    }
