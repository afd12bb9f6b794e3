"""Verdicts and hints for tests."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from analysis.backfill import Measured, judge_on
from analysis.evidence import load_evidence, observed_until
from analysis.models import DeploymentVerdict, Hint, PastDeployment, Severity, VerdictName
from analysis.services import assess, store_judgement
from deployments.models import Deployment, State
from explain.facts import Fact
from metrics.payload import Metrics
from projects.models import Environment
from projects.policy import policy_from_dict


def make_verdict(deployment: Deployment, **kwargs: Any) -> DeploymentVerdict:
    """A verdict (ok unless said otherwise) with no checks; the deployment becomes analyzed.

    For a verdict that follows from samples, store the samples and call analysis.services instead.
    """
    deployment.state = State.ANALYZED
    deployment.save(update_fields=["state"])
    values: dict[str, Any] = {
        "verdict": VerdictName.OK,
        "confidence": 0.9,
        "conclusive": True,
        "score": 0.1,
        "summary": "Keep it: no metric broke its limit.",
        "quality": {"score": 1.0, "issues": []},
        "policy": policy_from_dict({}).as_dict(),
        "evidence": {},
        **kwargs,
    }
    return DeploymentVerdict.objects.create(deployment=deployment, **values)


def make_hint(deployment: Deployment, **kwargs: Any) -> Hint:
    """A hint after those that the deployment has already."""
    values: dict[str, Any] = {
        "position": Hint.objects.filter(deployment=deployment).count(),
        "code": "high_latency",
        "metric": "latency_p95",
        "severity": Severity.WARNING,
        "confidence": 0.8,
        "observed": 480.0,
        "threshold": 300.0,
        "title": "p95 latency over 300 ms",
        "cause": "The slowest requests wait for something.",
        "impact": "Pages feel slow.",
        "evidence": ["p95 latency above 270 ms in 5 of 5 samples"],
        "actions": ["Look at the slowest statements.", "Compare p95 per endpoint.", "Roll back."],
        **kwargs,
    }
    return Hint.objects.create(deployment=deployment, **values)


def judge_now(deployment: Deployment) -> Deployment:
    """Issue the verdict on what is stored, as at the end of the window; return the deployment with it."""
    at = observed_until(deployment) + timedelta(seconds=1)
    assert store_judgement(deployment.pk, assess(load_evidence([deployment], at)[deployment.pk]))
    return Deployment.objects.get(pk=deployment.pk)


def make_past(environment: Environment, *, days_ago: float = 3, latency: float = 120.0, name: str = "v1.4") -> Any:
    """A past deployment, judged on a half hour of 120 ms and a window of this latency; not judged where it is 0."""
    at = timezone.now().replace(microsecond=0) - timedelta(days=days_ago)
    row = PastDeployment(
        environment=environment, name=name, commit_sha="0123456789abcdef", deployed_at=at, window_samples=5
    )

    def of(minute: int, ms: float) -> tuple[datetime, Metrics]:
        return at + timedelta(minutes=minute), Metrics(50.0 + minute % 3, ms + minute % 5, 0.0, 0.4, 0.5)

    if latency:
        before, after = [of(minute, 120.0) for minute in range(-30, 0)], [of(minute, latency) for minute in range(1, 6)]
        judge_on(row, Measured(before, after), policy_from_dict({}), bad=(), now=timezone.now())
        row.judged_at = timezone.now()
    else:
        row.problem = Fact("backfill_no_data").to_json()
    row.save()
    return row
