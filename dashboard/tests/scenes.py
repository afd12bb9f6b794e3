"""Deployments as a team meets them, judged by the real judge."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from analysis.evidence import load_evidence
from analysis.services import assess, store_judgement
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from metrics.tests.factories import make_samples
from projects.models import Environment, User
from projects.tests.factories import make_environment, make_membership, make_project, make_team
from scheduler.models import JobStatus, ScheduledJob

SLOW: dict[str, Any] = {"latency_p95": [240.0, 310.0, 355.0, 402.0, 398.0], "cpu_usage": [0.52, 0.61, 0.6, 0.63, 0.58]}
BROKEN: dict[str, Any] = {
    "error_rate": [0.04, 0.12, 0.11, 0.16, 0.14],
    "latency_p95": [320.0, 610.0, 720.0, 690.0, 805.0],
    "requests_per_sec": [38.0, 25.0, 22.0, 19.0, 20.0],
}
FACTS = {
    "branch": "feature/checkout-retries",
    "commit_sha": "4f2a9c1e7b3d5a6088f1c2d3e4f5a6b7c8d9e0f1",
    "version": "2.14.0",
    "author": "Ada Lovelace",
    "url": "https://ci.example.com/shop/runs/4711",
}


def environment_of(user: User, *, project: str = "shop", name: str = "prod") -> Environment:
    """An environment in a project of a team that the person is a member of."""
    team = make_team()
    make_membership(team=team, user=user)
    return make_environment(project=make_project(team=team, name=project), name=name)


def collection(deployment: Deployment, index: int, **kwargs: Any) -> ScheduledJob:
    """A POST collection job of the deployment, pending unless `status` says otherwise."""
    start = deployment.finished_at or deployment.started_at
    values: dict[str, Any] = {
        "job_type": "post_collect",
        "phase": "post",
        "sequence_index": index,
        "scheduled_at": start + timedelta(seconds=index * deployment.interval_s),
        **kwargs,
    }
    return ScheduledJob.objects.create(deployment=deployment, **values)


def judge_now(deployment: Deployment) -> Deployment:
    """Issues the verdict on what is stored."""
    evidence = load_evidence([deployment], timezone.now())[deployment.pk]
    assert store_judgement(deployment.pk, assess(evidence))
    return Deployment.objects.get(pk=deployment.pk)


def judged(environment: Environment, *, post: int | None = None, **metrics: Any) -> Deployment:
    """A deployment with its samples (`metrics`: POST values) and the verdict that follows from them."""
    deployment = make_deployment(environment=environment, state=State.FINISHED, **FACTS)
    make_samples(deployment, post=post, **metrics)
    return judge_now(deployment)


def half_observed(environment: Environment) -> Deployment:
    """Two samples in, one missed, one being retried, one to come; no verdict."""
    deployment = make_deployment(
        environment=environment, state=State.FINISHED, started_at=timezone.now() - timedelta(minutes=4), **FACTS
    )
    make_samples(deployment, post=2)
    for index in (1, 2):
        collection(deployment, index, status=JobStatus.COMPLETED)
    collection(deployment, 3, status=JobStatus.FAILED, last_error="HTTP 503 from the endpoint", error_code="http_5xx")
    collection(deployment, 4, retry_count=1, last_error="no answer within 5 s", error_code="timeout")
    collection(deployment, 5)
    return deployment


def poorly_observed(environment: Environment) -> Deployment:
    """Two of five samples, the others lost: a verdict that is not conclusive."""
    deployment = make_deployment(environment=environment, state=State.FINISHED, **FACTS)
    make_samples(deployment, post=2)
    for index, status in ((3, JobStatus.FAILED), (4, JobStatus.EXPIRED), (5, JobStatus.EXPIRED)):
        reason = "connection refused by the endpoint" if status == JobStatus.FAILED else ""
        code = "refused" if status == JobStatus.FAILED else ""
        collection(deployment, index, status=status, last_error=reason, error_code=code)
    return judge_now(deployment)
