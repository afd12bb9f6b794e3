"""Deployments as a team meets them, judged by the real judge."""

from datetime import timedelta
from math import sin
from typing import Any

from django.utils import timezone

from accounts.models import Role, User
from analysis.evidence import load_evidence
from analysis.services import assess_early, store_early
from analysis.tests.factories import judge_now
from deployments.models import Deployment, State
from explain.facts import Fact
from explain.rendering import render
from metrics.configuring import add_source, kind_named, reveal
from metrics.levels import SLOT, slot_of
from metrics.models import Alert, Group, MetricLevel, MetricSample, Phase
from metrics.payload import ERROR_ASKS
from projects.baselines import exclude_window
from projects.models import Environment
from scheduler.models import JobStatus, ScheduledJob
from tests.factories import (
    HEALTHY,
    make_deployment,
    make_environment,
    make_membership,
    make_project,
    make_sample,
    make_samples,
    make_team,
)

SLOW: dict[str, Any] = {"latency_p95": [240.0, 310.0, 355.0, 402.0, 398.0], "cpu_usage": [0.52, 0.61, 0.6, 0.63, 0.58]}
SLOWER: dict[str, Any] = {"latency_p95": [150.0, 182.0, 196.0, 188.0, 191.0]}
BROKEN: dict[str, Any] = {
    "error_rate": [0.04, 0.12, 0.11, 0.16, 0.14],
    "latency_p95": [320.0, 610.0, 720.0, 690.0, 805.0],
    "requests_per_sec": [38.0, 25.0, 22.0, 19.0, 20.0],
}
BROKE = Fact("http_5xx", {"status": 503, "url": "https://shop.example.com/m"})
SILENT = Fact("timeout", {"host": "shop.example.com:443", "seconds": 5.0, "phase": "answer"})
REFUSED = Fact("refused", {"host": "shop.example.com:443", "problem": Fact("connection_refused")})
FACTS = {
    "branch": "feature/checkout-retries",
    "commit_sha": "4f2a9c1e7b3d5a6088f1c2d3e4f5a6b7c8d9e0f1",
    "commit_message": "Retry the payment twice before the checkout gives up, and log every attempt\n\nSee #512.",
    "version": "2.14.0",
    "author": "Ada Lovelace",
    "url": "https://ci.example.com/shop/runs/4711",
}


def environment_of(
    user: User, *, project: str = "shop", name: str = "prod", role: str = Role.MEMBER, **columns: Any
) -> Environment:
    """Create an environment in a project of a team of the user."""
    team = make_team()
    make_membership(team=team, user=user, role=role)
    return make_environment(project=make_project(team=team, name=project), name=name, **columns)


def collection(deployment: Deployment, index: int, why: Fact | None = None, **kwargs: Any) -> ScheduledJob:
    """Create a POST collection job of the deployment, pending unless `status` says otherwise; why: its error."""
    start = deployment.finished_at or deployment.started_at
    values: dict[str, Any] = {
        "job_type": "post_collect",
        "phase": "post",
        "sequence_index": index,
        "scheduled_at": start + timedelta(seconds=index * deployment.interval_s),
        **({"error_code": why.code, "last_error": render(why), "error_fact": why.to_json()} if why else {}),
        **kwargs,
    }
    return ScheduledJob.objects.create(deployment=deployment, **values)


def judged(environment: Environment, *, post: int | None = None, minutes_ago: float = 6, **metrics: Any) -> Deployment:
    """A deployment with its samples (`metrics`: POST values) and the verdict that follows from them."""
    started = timezone.now() - timedelta(minutes=minutes_ago)
    deployment = make_deployment(environment=environment, state=State.FINISHED, started_at=started, **FACTS)
    make_samples(deployment, post=post, **metrics)
    return judge_now(deployment)


def with_history(environment: Environment, **metrics: Any) -> Deployment:
    """A deployment after three good ones, on the days before, whose samples helped out."""
    for day in (3, 2, 1):
        judged(environment, minutes_ago=day * 1440, latency_p95=[112.0, 121.0, 117.0, 119.0, 115.0])
    return judged(environment, **metrics)


def sample_baseline(environment: Environment, *, minutes_ago: float = 6, count: int = 25, **metrics: Any) -> None:
    """Baseline samples, one a minute, up to so many minutes ago; it wavers a little, as services do."""
    end = timezone.now() - timedelta(minutes=minutes_ago, seconds=30)
    for place in range(count):
        values = {name: value * (1 + 0.06 * sin(place * 1.7)) for name, value in {**HEALTHY, **metrics}.items()}
        at = end - timedelta(minutes=place)
        MetricSample.objects.create(environment=environment, phase=Phase.BASELINE, collected_at=at, **values)


def with_baseline(environment: Environment, **metrics: Any) -> Deployment:
    """A deployment compared with a baseline, out of which an operator has taken five minutes."""
    sample_baseline(environment)
    now = timezone.now()
    exclude_window(environment, now - timedelta(minutes=20), now - timedelta(minutes=15), reason="load test")
    return judged(environment, **metrics)


def with_earlier_days(environment: Environment, **metrics: Any) -> Deployment:
    """A deployment compared with the same minutes of the two days before as well."""
    start = slot_of(timezone.now()) - timedelta(minutes=30)
    MetricLevel.objects.bulk_create(
        MetricLevel(environment=environment, start=start + slot * SLOT - timedelta(days=days), samples=5, **HEALTHY)
        for days in (1, 2)
        for slot in range(8)
    )
    return with_baseline(environment, **metrics)


def with_control(environment: Environment, **metrics: Any) -> Deployment:
    """A deployment whose control group has the same trouble; both lose what a custom metric counts."""
    environment.policy = {"custom_metrics": [{"name": "checkouts", "kind": "count", "direction": "down_is_bad"}]}
    environment.save()
    started = timezone.now() - timedelta(minutes=6)
    facts = {"started_at": started, "control": {"endpoint": "https://old.example/m"}, **FACTS}
    deployment = make_deployment(environment=environment, state=State.FINISHED, **facts)
    for group in Group.values:
        for place in range(3):
            at = started + timedelta(seconds=place)
            own = {"sequence_index": place, "collected_at": at, "custom_metrics": {"checkouts": 90}}
            make_sample(deployment, phase=Phase.PRE, group=group, **own)
        for place in range(5):
            values = {name: value[place] for name, value in metrics.items()}
            make_sample(deployment, group=group, sequence_index=place + 1, custom_metrics={"checkouts": 9}, **values)
    return judge_now(deployment)


def with_alert(environment: Environment, **metrics: Any) -> Deployment:
    """A deployment with an alert of another tool in its window."""
    now = timezone.now()
    Alert.objects.create(
        environment=environment,
        fingerprint="1",
        name="Checkout",
        severity="page",
        level="critical",
        starts_at=now - timedelta(minutes=4),
        seen_at=now,
    )
    return judged(environment, **metrics)


def with_journeys(environment: Environment, **metrics: Any) -> Deployment:
    """A deployment since which a page has lost its text."""
    config = {"base_url": "https://shop.example", "steps": [{"url": "/", "expect": {"text": "Welcome"}}]}
    kind, source = kind_named("check"), add_source(environment, "check", config)
    [missed] = [one for one in kind.expectations(kind.config(**reveal(source))) if one.fact.code == "expected.text"]
    started = timezone.now() - timedelta(minutes=6)
    deployment = make_deployment(environment=environment, state=State.FINISHED, started_at=started, **FACTS)
    counts = {ERROR_ASKS: 5, missed.asked: 5, missed.answered: 200, missed.name: 0}
    for place in range(8):
        at = started + timedelta(seconds=place)
        own = {"sequence_index": place, "collected_at": at, "custom_metrics": counts}
        make_sample(deployment, phase=Phase.PRE, **own)
    for place in range(5):
        values = {name: value[place] for name, value in metrics.items()}
        lost = {**counts, missed.name: 5}
        make_sample(deployment, sequence_index=place + 1, custom_metrics=lost, **values)
    return judge_now(deployment)


def after_a_bad_one(environment: Environment, **metrics: Any) -> Deployment:
    """A deployment that began while a bad one was under observation."""
    judged(environment, minutes_ago=10, error_rate=0.3)
    return judged(environment, minutes_ago=6, **metrics)


def called_out_early(environment: Environment) -> Deployment:
    """Create a deployment that answers only errors: early verdict after four samples, window still open."""
    sample_baseline(environment, minutes_ago=6)
    started = timezone.now() - timedelta(minutes=6)
    deployment = make_deployment(environment=environment, state=State.FINISHED, started_at=started, **FACTS)
    make_samples(deployment, post=4, error_rate=[0.97, 1.0, 1.0, 0.98])
    for index in range(1, 6):
        collection(deployment, index, status=JobStatus.COMPLETED if index < 5 else JobStatus.PENDING)
    at = deployment.started_at + timedelta(minutes=5, seconds=1)
    judgement = assess_early(load_evidence([deployment], at)[deployment.pk])
    assert judgement is not None
    assert store_early(deployment.pk, judgement)
    return Deployment.objects.get(pk=deployment.pk)


def end_window(deployment: Deployment, *, error_rate: float = 1.0) -> Deployment:
    """The rest of an early verdict's window: the service answers only errors to the end of it, or has recovered."""
    make_sample(deployment, sequence_index=5, error_rate=error_rate)
    deployment.jobs.update(status=JobStatus.COMPLETED)
    return judge_now(deployment)


def unreachable(environment: Environment) -> Deployment:
    """Create a deployment whose endpoint stopped answering."""
    sample_baseline(environment)
    started = timezone.now() - timedelta(minutes=6)
    deployment = make_deployment(environment=environment, state=State.FINISHED, started_at=started, **FACTS)
    for index in range(1, 6):
        collection(deployment, index, REFUSED, status=JobStatus.FAILED)
    return judge_now(deployment)


def half_observed(environment: Environment) -> Deployment:
    """Two samples in, one missed, one being retried, one to come; no verdict."""
    deployment = make_deployment(
        environment=environment, state=State.FINISHED, started_at=timezone.now() - timedelta(minutes=4), **FACTS
    )
    make_samples(deployment, post=2)
    for index in (1, 2):
        collection(deployment, index, status=JobStatus.COMPLETED)
    collection(deployment, 3, BROKE, status=JobStatus.FAILED)
    collection(deployment, 4, SILENT, retry_count=1)
    collection(deployment, 5)
    return deployment


def poorly_observed(environment: Environment) -> Deployment:
    """One of five samples, the others lost: a verdict that is not conclusive."""
    deployment = make_deployment(environment=environment, state=State.FINISHED, **FACTS)
    make_samples(deployment, post=1)
    lost = (JobStatus.EXPIRED, JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.EXPIRED)
    for index, status in enumerate(lost, start=2):
        collection(deployment, index, REFUSED if status == JobStatus.FAILED else None, status=status)
    return judge_now(deployment)
