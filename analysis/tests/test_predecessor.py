"""A deployment that begins while a bad one is under observation proves nothing, and feeds nothing."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.evidence import load_evidence, observed_until
from analysis.jobs import analyse, load
from analysis.rerun import preview_rerun, store_rerun
from analysis.services import give_feedback
from analysis.tests.factories import judge_now
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from metrics.levels import LEVELS_KEPT, aggregate
from metrics.models import MetricLevel
from metrics.tests.factories import HEALTHY, make_sample, make_samples
from projects.models import Environment
from scheduler.queue import NewJob, enqueue
from scheduler.registry import JobError
from scheduler.store import Failure, JobStore

pytestmark = pytest.mark.django_db
NOW = timezone.now()
GOOD: dict[str, Any] = {**HEALTHY, "latency_p95": 150.0}
SLOW: dict[str, Any] = {**HEALTHY, "latency_p95": 700.0}


def deployed(
    environment: Environment, *, minutes_ago: float, pre: dict[str, Any], post: dict[str, Any], window: int = 5
) -> Deployment:
    """A deployment that took a minute, with a PRE sample and a window of samples; without a verdict."""
    deployment = make_deployment(
        environment=environment,
        state=State.FINISHED,
        started_at=NOW - timedelta(minutes=minutes_ago),
        window_samples=window,
    )
    make_sample(deployment, phase="pre", **pre)
    for index in range(1, window + 1):
        make_sample(deployment, phase="post", sequence_index=index, **post)
    return deployment


def bad(environment: Environment, *, minutes_ago: float, window: int = 5) -> Deployment:
    return deployed(environment, minutes_ago=minutes_ago, pre=GOOD, post=SLOW, window=window)


def unchanged(environment: Environment, *, minutes_ago: float) -> Deployment:
    """It finds the service slow and leaves it slow."""
    return deployed(environment, minutes_ago=minutes_ago, pre=SLOW, post=SLOW)


def judged(deployment: Deployment) -> tuple[str, bool]:
    verdict = judge_now(deployment).verdict
    return verdict.verdict, verdict.conclusive


def fresh(deployment: Deployment) -> Deployment:
    rows = Deployment.objects.select_related("environment", "policy_version", "verdict__feedback", "project")
    return rows.get(pk=deployment.pk)


@pytest.fixture
def usual(environment: Environment) -> Environment:
    """An environment whose last deployment was good, hours ago."""
    assert judged(deployed(environment, minutes_ago=300, pre=GOOD, post=GOOD)) == ("ok", True)
    return environment


def test_b_in_the_window_of_bad_a_is_not_conclusive_and_its_samples_are_no_history(usual: Environment) -> None:
    a, b = bad(usual, minutes_ago=60), unchanged(usual, minutes_ago=57)
    assert judged(a)[0] != "ok"
    assert judged(b)[1] is False
    # Hours later the same regression again: its own PRE is thin, so that history would help it.
    c = deployed(usual, minutes_ago=10, pre=GOOD, post=SLOW)
    assert judged(c)[0] != "ok"
    evidence = load_evidence([fresh(c)], NOW)[c.pk]
    assert {a.pk, b.pk}.isdisjoint(evidence.history_of)
    assert evidence.window.bad_predecessor is None


def test_a_verdict_on_a_that_comes_after_the_trigger_of_b_counts(usual: Environment) -> None:
    a, b = bad(usual, minutes_ago=60), unchanged(usual, minutes_ago=57)
    # The trigger of B, and its first samples.
    assert load_evidence([b], b.started_at + timedelta(minutes=2))[b.pk].window.bad_predecessor is None
    assert judged(a)[0] != "ok"
    assert load_evidence([b], observed_until(b))[b.pk].window.bad_predecessor == a.number
    assert judged(b)[1] is False


def test_what_began_within_the_window_of_b_is_not_conclusive_either(usual: Environment) -> None:
    for deployment in (bad(usual, minutes_ago=60), unchanged(usual, minutes_ago=57)):
        judged(deployment)
    assert judged(unchanged(usual, minutes_ago=52))[1] is False


def test_a_rerun_of_b_finds_what_became_known_of_a(environment: Environment) -> None:
    # The longer window of A ends after that of B.
    a, b = bad(environment, minutes_ago=60, window=20), unchanged(environment, minutes_ago=57)
    assert judged(b) == ("ok", True)
    assert judged(a)[0] != "ok"
    result = store_rerun(b.pk, token=preview_rerun(fresh(b)).token, by=None)
    assert result.judgement.evidence.window.bad_predecessor == a.number
    assert fresh(b).verdict.conclusive is False
    assert fresh(b).verdict.standing.judged_on.bad_predecessor == a.number
    assert not preview_rerun(fresh(b)).is_news


def test_a_rerun_of_b_takes_it_back_where_a_was_good_after_all(usual: Environment) -> None:
    a, b = bad(usual, minutes_ago=60), unchanged(usual, minutes_ago=57)
    judged(a)
    assert judged(b)[1] is False
    give_feedback(fresh(a).verdict, right=False, should_have_been="ok", by=None)
    store_rerun(b.pk, token=preview_rerun(fresh(b)).token, by=None)
    assert fresh(b).verdict.conclusive
    assert fresh(b).verdict.standing.judged_on.bad_predecessor is None


def test_neither_a_nor_b_feed_the_baseline_and_the_levels_of_later_days(usual: Environment) -> None:
    yesterday = 24 * 60
    a, b = bad(usual, minutes_ago=yesterday + 3), unchanged(usual, minutes_ago=yesterday)
    judged(a)
    judged(b)
    aggregate(NOW + timedelta(hours=1))
    assert days_of(usual, NOW) == ()
    for one in (a, b):
        give_feedback(fresh(one).verdict, right=False, should_have_been="ok", by=None)
    # A mark does not make a verdict conclusive.
    assert days_of(usual, NOW) == ()


def days_of(environment: Environment, at: datetime) -> tuple[Any, ...]:
    """What a deployment at this time would be told of earlier days."""
    deployment = make_deployment(environment=environment, state=State.FINISHED, started_at=at, finished_at=at)
    evidence = load_evidence([fresh(deployment)], at + timedelta(minutes=6))[deployment.pk]
    deployment.delete()
    return evidence.window.earlier_days


def test_a_rerun_takes_days_that_have_expired_from_the_record_and_no_others(usual: Environment) -> None:
    began = NOW - timedelta(days=28, minutes=20)
    days = {}
    for days_ago in (1, 2):
        at = began - timedelta(days=days_ago)
        days[days_ago] = make_deployment(environment=usual, state=State.FINISHED, started_at=at)
        make_samples(days[days_ago])
        assert judged(days[days_ago]) == ("ok", True)
    aggregate(began)
    deployment = make_deployment(environment=usual, state=State.FINISHED, started_at=began)
    make_samples(deployment)
    judged(deployment)
    recorded = fresh(deployment).verdict.standing.judged_on.earlier_days
    assert [day.days_ago for day in recorded] == [1, 2]
    # The day two days before is 30 days ago by now.
    MetricLevel.objects.filter(start__lt=NOW - LEVELS_KEPT).delete()

    def again() -> tuple[Any, ...]:
        return preview_rerun(fresh(deployment)).judgement.evidence.window.earlier_days

    assert again() == recorded
    give_feedback(fresh(days[1]).verdict, right=False, by=None)
    assert again() == recorded[1:]


def test_of_two_that_are_judged_at_once_the_predecessor_is_first(environment: Environment) -> None:
    """As after an outage of the pollers, when both windows are over."""
    a, b = bad(environment, minutes_ago=60), unchanged(environment, minutes_ago=57)
    c = deployed(environment.project.environments.create(name="staging"), minutes_ago=57, pre=GOOD, post=GOOD)
    enqueue([NewJob("analysis", NOW, one.pk, fair_key=environment.project_id) for one in (a, b, c)])
    poller = JobStore("a", 30)

    def judge_due() -> list[int]:
        jobs = [job for job in poller.claim(10)[0] if job.job_type == "analysis"]
        found = load(jobs)
        ready = [job for job in jobs if not isinstance(found[job.id], JobError)]
        poller.complete([(job, analyse(job, found[job.id])) for job in ready])
        # The retry is due at once.
        poller.fail([Failure(job, found[job.id].fact, 0.0) for job in jobs if job not in ready])
        return [job.deployment_id or 0 for job in ready]

    assert set(judge_due()) == {a.pk, c.pk}
    assert judge_due() == [b.pk]
    assert fresh(b).verdict.conclusive is False
    assert fresh(b).verdict.standing.judged_on.bad_predecessor == a.number
