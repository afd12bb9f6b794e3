"""Letting an analysis run again: what it says now, and what becomes of what stood."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.tests.factories import make_user
from analysis.evidence import load_evidence, observed_until
from analysis.models import DeploymentVerdict, Feedback, Hint
from analysis.replay import judged_at
from analysis.rerun import MOST_REVISIONS, CannotRerun, Refusal, RerunResult, judge_as, preview_rerun, store_rerun
from analysis.services import (
    VerdictRevised,
    assess,
    give_feedback,
    store_early,
    store_judgement,
    store_unjudged,
)
from analysis.services import assess_early as early
from analysis.tests.factories import judge_now
from deployments.models import Deployment, State
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import Pipeline
from explain.facts import Fact
from metrics.models import MetricSample
from metrics.tests.factories import HEALTHY, make_sample, make_samples
from projects.baselines import exclude_window
from projects.models import Environment
from projects.policy import policy_from_dict
from projects.services import set_policy
from projects.tests.factories import make_api_key
from scheduler.models import JobStatus, ScheduledJob
from tests.concurrency import in_background, results_or_refusals

pytestmark = pytest.mark.django_db
SLOW: dict[str, Any] = {"latency_p95": [240.0, 310.0, 355.0, 402.0, 398.0]}


@pytest.fixture
def person() -> User:
    return make_user(username="ada")


def fresh(deployment: Deployment) -> Deployment:
    rows = Deployment.objects.select_related("environment", "policy_version", "verdict__feedback", "project")
    return rows.get(pk=deployment.pk)


def observed(environment: Environment, **metrics: Any) -> Deployment:
    """Finished, with its samples; no verdict yet."""
    started = timezone.now() - timedelta(minutes=20)
    deployment = make_deployment(environment=environment, state=State.FINISHED, started_at=started)
    make_samples(deployment, **metrics)
    return deployment


def judged(environment: Environment, **metrics: Any) -> Deployment:
    return fresh(judge_now(observed(environment, **metrics)))


def rerun(deployment: Deployment, by: User | None = None) -> RerunResult:
    return store_rerun(deployment.pk, token=preview_rerun(fresh(deployment)).token, by=by)


def lenient(environment: Environment) -> None:
    """From now on the latency of SLOW is fine."""
    set_policy(environment, {"limits": {"latency_p95": 5000}}, source="dashboard")


def refusal_of(work: Callable[[], Any]) -> Refusal:
    with pytest.raises(CannotRerun) as caught:
        work()
    return caught.value.refusal


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metrics", [{}, SLOW, {"error_rate": 0.2}])
def test_the_same_samples_under_the_same_policy_say_the_same(environment, metrics):
    again = preview_rerun(judged(environment, **metrics))
    assert not again.is_news
    assert refusal_of(lambda: rerun(again.deployment)) == Refusal.NOTHING_NEW


def test_looking_writes_nothing(environment, django_assert_num_queries):
    deployment = judged(environment, **SLOW)
    lenient(environment)
    before = DeploymentVerdict.objects.values().get(), list(Hint.objects.values())
    deployment = fresh(deployment)
    # Open jobs, samples, lost jobs, baseline, other deployments, excluded windows, alerts, history.
    with django_assert_num_queries(9):
        again = preview_rerun(deployment)
    assert (again.is_news, again.judgement.verdict.verdict) == (True, "ok")
    assert (DeploymentVerdict.objects.values().get(), list(Hint.objects.values())) == before


def test_another_policy_is_tried_without_a_trace(environment):
    deployment = judged(environment, **SLOW)
    judgement = judge_as(deployment, policy_from_dict({"limits": {"latency_p95": 5000}}))
    assert (judgement.verdict.verdict, fresh(deployment).verdict.verdict) == ("ok", "rollback_recommended")


def test_misses_whose_jobs_are_gone_are_those_of_the_record(environment):
    deployment = observed(environment, post=1)
    for index, code in ((2, "refused"), (3, "refused"), (4, "refused"), (5, "timeout")):
        ScheduledJob.objects.create(
            deployment=deployment,
            job_type="post_collect",
            phase="post",
            sequence_index=index,
            scheduled_at=deployment.started_at + timedelta(minutes=1 + index),
            status=JobStatus.FAILED,
            error_code=code,
        )
    assert judge_now(deployment).verdict.verdict == "rollback_recommended"
    deployment.jobs.all().delete()
    again = preview_rerun(fresh(deployment))
    assert not again.is_news
    assert [miss.reason for miss in again.judgement.evidence.window.misses] == ["refused"] * 3 + ["timeout"]


# --- storing it ------------------------------------------------------------------------------------------------------


def test_a_revision_replaces_the_verdict_and_keeps_what_stood(environment, person):
    deployment = judged(environment, **SLOW)
    before, issued = deployment.verdict, deployment.verdict.created_at
    assert Hint.objects.filter(deployment=deployment).exists()
    lenient(environment)
    rerun(deployment, person)
    verdict = fresh(deployment).verdict
    assert (verdict.pk, verdict.verdict, verdict.created_at) == (before.pk, "ok", issued)
    assert verdict.policy["limits"]["latency_p95"] == 5000
    codes = set(Hint.objects.filter(deployment=deployment).values_list("code", flat=True))
    assert verdict.revisions is not None
    [revision] = verdict.revisions
    assert codes.isdisjoint(revision["hints"])
    assert revision["by"] == "ada"
    for name in ("verdict", "confidence", "conclusive", "summary", "checks", "quality", "evidence", "policy"):
        assert revision[name] == getattr(before, name)
    assert refusal_of(lambda: rerun(deployment)) == Refusal.NOTHING_NEW


def test_new_hints_have_the_time_of_the_verdict(environment):
    deployment = judged(environment, **SLOW)
    weeks_ago = timezone.now() - timedelta(days=20)
    DeploymentVerdict.objects.filter(deployment=deployment).update(created_at=weeks_ago)
    set_policy(environment, {"limits": {"latency_p95": 50}}, source="dashboard")
    rerun(deployment)
    hints = Hint.objects.filter(deployment=deployment)
    assert hints.exists()
    assert set(hints.values_list("created_at", flat=True)) == {weeks_ago}


def test_the_gate_answers_the_revised_verdict_in_the_same_shape(environment):
    deployment = judged(environment, **SLOW)
    pipeline = Pipeline(make_api_key(project=environment.project)[1])
    before = pipeline.verdict(deployment.uuid)
    lenient(environment)
    rerun(deployment)
    after = pipeline.verdict(deployment.uuid)
    assert before.status_code == after.status_code == 200
    before, after = before.json(), after.json()
    assert (before["gate"], after["gate"]) == ("fail", "pass")
    assert before.keys() == after.keys()
    assert before["created_at"] == after["created_at"]


def test_what_was_taken_out_of_the_baseline_since_counts(environment):
    """Of the service's everyday level nothing is known any more, once the load test is taken out."""
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    for minute in range(2, 22):
        at = deployment.started_at - timedelta(minutes=minute)
        values = {**HEALTHY, "latency_p95": 390.0}
        MetricSample.objects.create(environment=environment, phase="baseline", collected_at=at, **values)
    make_samples(deployment, latency_p95=390.0)
    assert judge_now(deployment).verdict.verdict == "ok"
    exclude_window(environment, deployment.started_at - timedelta(minutes=30), deployment.started_at, reason="load")
    rerun(deployment)
    verdict = fresh(deployment).verdict
    assert verdict.verdict != "ok"
    assert len(verdict.evidence["excluded"]) == 20


@pytest.mark.parametrize(
    ("mark", "then"),
    [
        # It deserved the rollback that stood: the ok that stands now is wrong.
        ({"right": True}, (False, "rollback_recommended")),
        # It deserved the ok that stands now.
        ({"right": False, "should_have_been": "ok"}, (True, "")),
        ({"right": False, "should_have_been": "warning"}, (False, "warning")),
        # Only that the rollback was wrong: of the ok that says nothing.
        ({"right": False}, None),
    ],
)
def test_what_a_person_said_it_deserved_stays_true(environment, person, mark, then):
    deployment = judged(environment, **SLOW)
    give_feedback(deployment.verdict, by=person, reason="I looked.", **mark)
    given_at = Feedback.objects.get().given_at
    lenient(environment)
    rerun(deployment)
    found = Feedback.objects.first()
    if then is None:
        assert found is None
    else:
        assert found is not None
        assert ((found.right, found.should_have_been), found.given_at, found.reason) == (then, given_at, "I looked.")
    assert fresh(deployment).verdict.revisions[0]["feedback"]["right"] is mark["right"]


def test_a_mark_of_a_verdict_that_was_revised_meanwhile_is_refused(environment, person):
    deployment = judged(environment, **SLOW)
    lenient(environment)
    rerun(deployment)
    with pytest.raises(VerdictRevised):
        give_feedback(deployment.verdict, right=True, by=person)
    assert not Feedback.objects.exists()


def test_an_early_verdict_stays_on_record_and_its_final_word_is_revised(environment):
    deployment = observed(environment, post=4, error_rate=[0.97, 1.0, 1.0, 0.98])
    at = observed_until(deployment) - timedelta(seconds=59)
    judgement = early(load_evidence([deployment], at)[deployment.pk])
    assert judgement is not None
    assert store_early(deployment.pk, judgement)
    make_sample(deployment, sequence_index=5, error_rate=1.0)
    before = judge_now(deployment).verdict
    assert (before.early, before.verdict, before.final["verdict"]) == (True, *["rollback_recommended"] * 2)
    set_policy(environment, {"critical_metrics": [], "limits": {"error_rate": 1}}, source="dashboard")
    rerun(deployment)
    after = fresh(deployment).verdict
    for name in ("early", "verdict", "summary", "checks"):
        assert getattr(after, name) == getattr(before, name)
    assert after.final["verdict"] != "rollback_recommended"
    assert after.revisions[0]["summary"] == before.final["summary"]
    assert refusal_of(lambda: rerun(deployment)) == Refusal.NOTHING_NEW


def test_what_could_not_be_judged_is_judged_after_all(environment):
    deployment = observed(environment, **SLOW)
    assert store_unjudged(deployment.pk, Fact("analysis_ended", {"status": "failed"}))
    rerun(deployment)
    verdict = fresh(deployment).verdict
    assert (verdict.verdict, verdict.conclusive) == ("rollback_recommended", True)
    assert verdict.revisions[0]["verdict"] == "warning"


def test_a_verdict_that_was_deleted_is_issued_again(environment):
    deployment = judged(environment, **SLOW)
    DeploymentVerdict.objects.all().delete()
    Hint.objects.all().delete()
    rerun(deployment)
    deployment = fresh(deployment)
    assert (deployment.state, deployment.verdict.verdict) == (State.ANALYZED, "rollback_recommended")
    assert deployment.verdict.revisions is None
    assert Hint.objects.exists()


# --- when it cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (State.RUNNING, Refusal.NOT_FINISHED),
        (State.PENDING, Refusal.NOT_FINISHED),
        (State.ABANDONED, Refusal.NEVER_JUDGED),
        (State.SUPERSEDED, Refusal.NEVER_JUDGED),
    ],
)
def test_what_was_not_observed_is_not_judged(environment, state, refusal):
    deployment = make_deployment(environment=environment, state=state)
    assert refusal_of(lambda: preview_rerun(fresh(deployment))) == refusal


def test_nothing_is_judged_again_while_the_window_is_open(environment):
    started = timezone.now() - timedelta(minutes=5)
    deployment = make_deployment(environment=environment, state=State.FINISHED, started_at=started)
    make_samples(deployment, post=4, error_rate=[0.97, 1.0, 1.0, 0.98])
    judgement = early(load_evidence([deployment], timezone.now())[deployment.pk])
    assert judgement is not None
    assert refusal_of(lambda: preview_rerun(fresh(deployment))) == Refusal.WINDOW_OPEN
    store_early(deployment.pk, judgement)
    assert refusal_of(lambda: preview_rerun(fresh(deployment))) == Refusal.WINDOW_OPEN


@pytest.mark.parametrize(
    ("kind", "status", "refusal"),
    [
        ("analysis", JobStatus.PENDING, Refusal.UNDER_WAY),
        ("analysis", JobStatus.RUNNING, Refusal.UNDER_WAY),
        ("post_collect", JobStatus.RUNNING, Refusal.WINDOW_OPEN),
    ],
)
def test_nothing_is_judged_again_while_a_job_does_it(environment, kind, status, refusal):
    deployment = observed(environment)
    ScheduledJob.objects.create(deployment=deployment, job_type=kind, scheduled_at=timezone.now(), status=status)
    assert refusal_of(lambda: preview_rerun(fresh(deployment))) == refusal


@pytest.mark.parametrize("phase", ["pre", "post"])
def test_nothing_is_judged_on_less_than_the_record_was(environment, phase):
    deployment = judged(environment)
    MetricSample.objects.filter(phase=phase).delete()
    assert refusal_of(lambda: preview_rerun(fresh(deployment))) == Refusal.SAMPLES_GONE


def test_a_verdict_is_not_revised_for_ever(environment):
    deployment = judged(environment)
    DeploymentVerdict.objects.update(revisions=[{"verdict": "ok"}] * MOST_REVISIONS)
    assert refusal_of(lambda: preview_rerun(fresh(deployment))) == Refusal.TOO_OFTEN


def test_only_what_was_looked_at_is_stored(environment):
    deployment = judged(environment, **SLOW)
    lenient(environment)
    token = preview_rerun(fresh(deployment)).token
    set_policy(environment, {"limits": {"latency_p95": 250}}, source="dashboard")
    assert refusal_of(lambda: store_rerun(deployment.pk, token=token, by=None)) == Refusal.CHANGED_MEANWHILE
    assert fresh(deployment).verdict.revisions is None


# --- at once ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_many_reruns_at_once_one_is_stored(environment):
    deployment = judged(environment, **SLOW)
    lenient(environment)
    token = preview_rerun(fresh(deployment)).token
    brought = results_or_refusals([partial(store_rerun, deployment.pk, token=token, by=None)] * 8, CannotRerun)
    refusals = [one.refusal for one in brought if isinstance(one, CannotRerun)]
    assert refusals == [Refusal.CHANGED_MEANWHILE] * 7
    verdict = fresh(deployment).verdict
    assert (verdict.verdict, len(verdict.revisions)) == ("ok", 1)
    positions = list(Hint.objects.filter(deployment=deployment).values_list("position", flat=True))
    assert sorted(positions) == list(range(len(positions)))


@pytest.mark.django_db(transaction=True)
def test_a_rerun_and_the_analysis_itself_at_once_leave_one_verdict(environment):
    for _ in range(5):
        deployment = observed(environment, **SLOW)
        judgement = assess(load_evidence([deployment], timezone.now())[deployment.pk])
        token = preview_rerun(fresh(deployment)).token
        calls = (
            partial(store_judgement, deployment.pk, judgement),
            partial(store_rerun, deployment.pk, token=token, by=None),
        )
        stored, rerun_brought = results_or_refusals(calls, CannotRerun)
        assert stored != isinstance(rerun_brought, RerunResult)
        verdict = fresh(deployment).verdict
        assert (verdict.verdict, verdict.revisions) == ("rollback_recommended", None)


@pytest.mark.django_db(transaction=True)
def test_a_rerun_waits_for_another_that_judges_the_deployment(environment):
    """Its row is the lock: what the analysis has written by then is what the rerun goes by."""
    deployment = observed(environment, **SLOW)
    token = preview_rerun(fresh(deployment)).token
    judgement = assess(load_evidence([deployment], timezone.now())[deployment.pk])
    with transaction.atomic():
        assert store_judgement(deployment.pk, judgement)
        waiting = in_background(partial(store_rerun, deployment.pk, token=token, by=None))
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
    assert refusal_of(waiting.result) == Refusal.CHANGED_MEANWHILE
    assert fresh(deployment).verdict.revisions is None


def test_an_early_verdict_whose_end_was_never_judged_is_judged_as_of_its_end() -> None:
    issued, ended = timezone.now() - timedelta(minutes=5), timezone.now()
    final = {"verdict": "warning", "at": ended.isoformat(), "evidence": {"evaluated_at": None}}
    verdict = DeploymentVerdict(
        early=True, created_at=issued, evidence={"evaluated_at": issued.isoformat()}, final=final
    )
    deployment = Deployment()
    deployment.verdict = verdict
    assert judged_at(deployment) == ended
