"""From stored samples to a stored verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import transaction

from analysis.hints import hints
from analysis.judge import judge
from analysis.models import DeploymentVerdict
from analysis.models import Hint as StoredHint
from analysis.policy import Policy, policy_from_dict
from analysis.types import METRICS, Hint, Miss, Quality, QualityIssue, Sample, Verdict, Window
from deployments.models import Deployment, State
from metrics.models import MetricSample
from scheduler.models import JobStatus, ScheduledJob

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the judge is given about one deployment."""

    pre: tuple[Sample, ...]
    post: tuple[Sample, ...]
    window: Window
    policy: Policy


@dataclass(frozen=True, slots=True)
class Judgement:
    """What analysis made of the evidence."""

    evidence: Evidence
    verdict: Verdict
    hints: tuple[Hint, ...]


def load_evidence(deployments: Sequence[Deployment], now: datetime) -> dict[int, Evidence]:
    """The evidence of each deployment by its id, in three queries. now: the time of the verdict."""
    ids = [deployment.pk for deployment in deployments]
    samples: dict[int, list[MetricSample]] = {}
    for sample in MetricSample.objects.filter(deployment_id__in=ids).order_by("collected_at", "id"):
        samples.setdefault(sample.deployment_id, []).append(sample)  # type: ignore[arg-type]
    lost: dict[int, list[ScheduledJob]] = {}
    missed = (JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELLED)
    collections = ("pre_collect", "post_collect")
    for job in ScheduledJob.objects.filter(deployment_id__in=ids, job_type__in=collections, status__in=missed):
        lost.setdefault(job.deployment_id, []).append(job)  # type: ignore[arg-type]
    return {
        deployment.pk: evidence_of(deployment, samples.get(deployment.pk, []), lost.get(deployment.pk, []), now)
        for deployment in deployments
    }


def evidence_of(
    deployment: Deployment, samples: Sequence[MetricSample], lost: Sequence[ScheduledJob], now: datetime
) -> Evidence:
    """One deployment's samples, misses and policy as the judge takes them."""
    window = Window(
        expected=deployment.window_samples,
        interval_s=deployment.interval_s,
        evaluated_at=now,
        started_at=deployment.started_at,
        finished_at=deployment.finished_at,
        misses=tuple(
            Miss(job.scheduled_at, reason_of(job), phase_of(job), job.sequence_index)
            for job in sorted(lost, key=lambda job: (job.phase, job.sequence_index))
        ),
    )
    return Evidence(
        pre=tuple(as_value(sample) for sample in samples if sample.phase == "pre"),
        post=tuple(as_value(sample) for sample in samples if sample.phase == "post"),
        window=window,
        policy=policy_of(deployment),
    )


def reason_of(job: ScheduledJob) -> str:
    """Why a collection brought nothing: its last failure if it had one, else its status."""
    return job.error_code or str(job.status)


def phase_of(job: ScheduledJob) -> Any:
    return "pre" if job.job_type == "pre_collect" else "post"


def as_value(sample: MetricSample) -> Sample:
    """A stored sample as the pure value."""
    values = {name: getattr(sample, name) for name in METRICS}
    return Sample(collected_at=sample.collected_at, origin=sample.phase, **values)  # type: ignore[arg-type]


def policy_of(deployment: Deployment) -> Policy:
    """The environment's policy; one that cannot be read any more gives way to the default, loudly."""
    try:
        return policy_from_dict(deployment.environment.policy)
    except ValueError as error:
        logger.error("policy_unreadable", environment=str(deployment.environment), error=str(error))
        return policy_from_dict({})


def assess(evidence: Evidence) -> Judgement:
    """Judges and explains. Pure."""
    verdict = judge(evidence.pre, evidence.post, evidence.policy, evidence.window)
    found = hints(verdict, evidence.pre, evidence.post, evidence.window)
    return Judgement(evidence, verdict, tuple(found))


def store_judgement(deployment_id: int, judgement: Judgement) -> bool:
    """Writes verdict, hints and the state in one transaction; False where a verdict stands already."""
    verdict = judgement.verdict
    with transaction.atomic():
        DeploymentVerdict.objects.bulk_create([verdict_row(deployment_id, judgement)], ignore_conflicts=True)
        first = Deployment.objects.filter(pk=deployment_id, state=State.FINISHED).update(state=State.ANALYZED) == 1
        if first:
            StoredHint.objects.bulk_create(hint_rows(deployment_id, judgement.hints))
    if first:
        logger.info(
            "verdict_issued",
            deployment_id=deployment_id,
            verdict=verdict.verdict,
            confidence=verdict.confidence,
            conclusive=verdict.conclusive,
            hints=[hint.code for hint in judgement.hints],
        )
    return first


def verdict_row(deployment_id: int, judgement: Judgement) -> DeploymentVerdict:
    verdict, window = judgement.verdict, judgement.evidence.window
    failed = [asdict(check) for check in verdict.checks if check.outcome in ("warning", "critical")]
    return DeploymentVerdict(
        deployment_id=deployment_id,
        verdict=verdict.verdict,
        confidence=verdict.confidence,
        conclusive=verdict.conclusive,
        score=verdict.score,
        summary=verdict.summary,
        failed_metrics=[
            {
                "metric": check["metric"],
                "value": check["observed"],
                "limit": check["limit"],
                "share": check["share"],
                "tolerance": check["tolerance"],
            }
            for check in failed
        ],
        checks=[asdict(check) for check in verdict.checks],
        quality=asdict(verdict.quality),
        policy=verdict.policy,
        evidence={
            "pre_samples": len(judgement.evidence.pre),
            "post_samples": len(judgement.evidence.post),
            "expected_samples": window.expected,
            "interval_s": window.interval_s,
            "evaluated_at": window.evaluated_at.isoformat() if window.evaluated_at else None,
            "misses": [
                {"phase": miss.phase, "sequence_index": miss.sequence_index, "reason": miss.reason}
                for miss in window.misses
            ],
        },
    )


def hint_rows(deployment_id: int, found: Sequence[Hint]) -> list[StoredHint]:
    return [
        StoredHint(
            deployment_id=deployment_id,
            position=position,
            code=hint.code,
            metric=hint.metric or "",
            severity=hint.severity,
            confidence=hint.confidence,
            observed=hint.observed,
            threshold=hint.threshold,
            title=hint.title,
            cause=hint.cause,
            impact=hint.impact,
            evidence=list(hint.evidence),
            actions=list(hint.actions),
            details={"text_key": hint.text_key, "values": hint.values, "numbers": hint.numbers},
        )
        for position, hint in enumerate(found)
    ]


def store_unjudged(deployment_id: int, why: str) -> bool:
    """A verdict for a deployment that could not be judged: a warning that is not conclusive, never an ok."""
    missing = QualityIssue("not_analyzed", why, 1.0)
    verdict = Verdict(
        verdict="warning",
        confidence=0.0,
        conclusive=False,
        score=0.5,
        summary=f"This deployment could not be judged: {why}. Look at the service yourself.",
        checks=(),
        quality=Quality(0.0, (missing,)),
        policy={},
    )
    evidence = Evidence(pre=(), post=(), window=Window(expected=0), policy=policy_from_dict({}))
    return store_judgement(deployment_id, Judgement(evidence, verdict, ()))
