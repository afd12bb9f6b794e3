"""From the rows of one deployment to what its page shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from analysis.types import METRICS
from dashboard import words
from dashboard.charts import Chart, Span, draw
from dashboard.queries import MISSED, Detail
from deployments.models import Deployment, State
from metrics.models import MetricSample, Phase
from scheduler.models import JobStatus, ScheduledJob

RANK = {"critical": 0, "warning": 1, "ok": 2, "skipped": 3}


@dataclass(frozen=True, slots=True)
class Slot:
    """One place of the window: collected, missed, retrying or waiting."""

    index: int
    state: str


@dataclass(frozen=True, slots=True)
class Miss:
    """A collection without a sample. due_at is None where only the verdict still tells of it."""

    phase: str
    index: int
    due_at: datetime | None
    reason: Any
    retrying: bool = False


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One line of the table of samples: either a sample or a miss."""

    phase: str
    index: int
    sample: MetricSample | None
    miss: Miss | None


def page_context(detail: Detail) -> dict[str, Any]:
    """Everything that templates/dashboard/deployment.html and its fragment need."""
    deployment, verdict = detail.deployment, detail.verdict
    checks = verdict.checks if verdict is not None else []
    misses = misses_of(detail)
    post = detail.samples_of(Phase.POST)
    return {
        "detail": detail,
        "deployment": deployment,
        "verdict": verdict,
        "status": detail.status,
        "confidence_width": f"{verdict.confidence * 100:.0f}" if verdict is not None else "0",
        "in_progress": detail.in_progress,
        "running": deployment.state in (State.PENDING, State.RUNNING),
        "hints": detail.hints,
        "charts": charts_of(detail, checks),
        "checks": sorted(checks, key=lambda check: RANK.get(check.get("outcome"), len(RANK))),
        "issues": verdict.quality.get("issues", []) if verdict is not None else [],
        "slots": slots_of(detail),
        "collected": len(post),
        "misses": [miss for miss in misses if not miss.retrying],
        "retrying": [miss for miss in misses if miss.retrying],
        "sample_rows": sample_rows(detail, misses),
        "verdict_due_in": verdict_due_in(deployment),
        "link": safe_link(deployment.url),
        "metrics": METRICS,
    }


def charts_of(detail: Detail, checks: list[dict[str, Any]]) -> list[Chart]:
    """All five metrics, none where there is nothing to draw."""
    deployment = detail.deployment
    samples = [sample for sample in detail.samples if sample.phase in (Phase.PRE, Phase.POST)]
    if not samples:
        return []
    start = deployment.finished_at or deployment.started_at
    lost = [job for job in detail.missed if job.phase == Phase.POST]
    span = Span(
        started_at=deployment.started_at,
        finished_at=deployment.finished_at,
        samples=deployment.window_samples,
        interval_s=deployment.interval_s,
        missed=tuple((job.scheduled_at - start).total_seconds() for job in lost if job.scheduled_at >= start),
    )
    by_metric = gravest(checks)
    return [draw(metric, samples, span, by_metric.get(metric)) for metric in METRICS]


def gravest(checks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The gravest check of each metric, whose limit is drawn."""
    ordered = sorted(checks, key=lambda check: RANK.get(str(check.get("outcome")), len(RANK)), reverse=True)
    return {str(check.get("metric")): check for check in ordered}


def misses_of(detail: Detail) -> list[Miss]:
    """Collections that brought no sample (yet), from their jobs; from the verdict once the jobs are gone."""
    if not detail.collections and detail.verdict is not None:
        told = detail.verdict.evidence.get("misses", [])
        return [
            Miss(miss.get("phase", ""), miss.get("sequence_index", 0), None, in_words(miss.get("reason", "")))
            for miss in told
        ]
    return [
        Miss(
            phase=phase_of(job),
            index=job.sequence_index,
            due_at=job.scheduled_at,
            reason=job.last_error or in_words(job.error_code or str(job.status)),
            retrying=job.status == JobStatus.PENDING,
        )
        for job in detail.collections
        if job.status in MISSED or is_retrying(job)
    ]


def in_words(code: str) -> Any:
    """The reason of a miss for people; an unknown code as it is."""
    return words.REASONS.get(code, code)


def phase_of(job: ScheduledJob) -> str:
    return Phase.PRE if job.job_type == "pre_collect" else Phase.POST


def is_retrying(job: ScheduledJob) -> bool:
    return job.status == JobStatus.PENDING and job.retry_count > 0


def slots_of(detail: Detail) -> list[Slot]:
    """The places of the window in their order; before finish, those that are planned."""
    collected = {sample.sequence_index for sample in detail.samples_of(Phase.POST)}
    jobs = {job.sequence_index: job for job in detail.collections if phase_of(job) == Phase.POST}
    planned = range(1, detail.deployment.window_samples + 1)
    return [
        Slot(index, slot_state(jobs.get(index), collected=index in collected))
        for index in sorted(collected | set(jobs)) or planned
    ]


def slot_state(job: ScheduledJob | None, *, collected: bool) -> str:
    if collected:
        return "collected"
    if job is None:
        return "waiting"
    if job.status in MISSED:
        return "missed"
    return "retrying" if is_retrying(job) else "waiting"


def sample_rows(detail: Detail, misses: list[Miss]) -> list[SampleRow]:
    """Samples and misses, before first, each phase in its order."""
    rows = [SampleRow(sample.phase, sample.sequence_index, sample, None) for sample in detail.samples]
    rows += [SampleRow(miss.phase, miss.index, None, miss) for miss in misses if not miss.retrying]
    return sorted(rows, key=lambda row: (row.phase == Phase.POST, row.index))


def verdict_due_in(deployment: Deployment) -> float | None:
    """Seconds until the last planned sample is due; None before finish and once that time has passed."""
    if deployment.finished_at is None:
        return None
    end = deployment.finished_at + timedelta(seconds=deployment.window_samples * deployment.interval_s)
    left = (end - timezone.now()).total_seconds()
    return left if left > 0 else None


def safe_link(url: str) -> str:
    """The URL if it leads to a web page, else nothing: `javascript:` is a link as well."""
    return url if url.lower().startswith(("https://", "http://")) else ""
