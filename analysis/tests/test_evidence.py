"""Evidence: PRE, baseline, history, and left-out samples."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.evidence import Evidence, load_evidence
from analysis.services import give_feedback
from analysis.tests.factories import make_verdict
from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from explain.rendering import render
from metrics.models import MEASURED, MetricLevel, MetricSample
from metrics.tests.factories import HEALTHY
from projects.models import Environment
from scheduler.tests.factories import make_job

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def deployed(
    environment: Environment, number: int, *, minutes_ago: float, verdict: str = "", **columns: Any
) -> Deployment:
    """A finished deployment that began so many minutes ago, took one, and was observed for five."""
    started = NOW - timedelta(minutes=minutes_ago)
    deployment = make_deployment(environment=environment, number=number, state="finished", started_at=started)
    if verdict:
        make_verdict(deployment, verdict=verdict, **columns)
    return deployment


def sample(environment: Environment, *, minutes_ago: float, phase: str = "baseline", **columns: Any) -> MetricSample:
    at = NOW - timedelta(minutes=minutes_ago)
    return MetricSample.objects.create(environment=environment, phase=phase, collected_at=at, **{**HEALTHY, **columns})


def evidence_of(deployment: Deployment) -> Evidence:
    row = Deployment.objects.select_related("environment", "policy_version").get(pk=deployment.pk)
    return load_evidence([row], NOW)[deployment.pk]


def origins(evidence: Evidence) -> list[str]:
    return [one.origin for one in evidence.pre]


def test_pre_is_the_own_sample_and_the_baseline_of_half_an_hour(environment: Environment) -> None:
    deployment = deployed(environment, 1, minutes_ago=10)
    for minutes_ago in (45, 41, 39, 20, 10.5, 9):
        sample(environment, minutes_ago=minutes_ago)
    sample(environment, minutes_ago=10, phase="pre", deployment=deployment)
    assert origins(evidence_of(deployment)) == ["baseline"] * 3 + ["pre"]


def test_a_window_that_did_not_end_ok_feeds_no_baseline(environment: Environment) -> None:
    deployed(environment, 1, minutes_ago=30, verdict="rollback_recommended")
    deployment = deployed(environment, 2, minutes_ago=10)
    inside, outside = sample(environment, minutes_ago=27), sample(environment, minutes_ago=15)
    evidence = evidence_of(deployment)
    assert [one.collected_at for one in evidence.pre] == [outside.collected_at]
    assert [left_out.collected_at for left_out in evidence.excluded] == [inside.collected_at]
    assert "#1 did not end ok" in render(evidence.excluded[0].why)


@pytest.mark.parametrize(
    ("verdict", "conclusive", "marked_wrong", "used"),
    [
        ("ok", True, False, True),
        ("ok", True, True, False),
        ("ok", False, False, False),
        ("warning", True, False, False),
        ("", True, False, False),
    ],
)
def test_only_a_good_earlier_window_feeds_the_baseline(
    environment: Environment, verdict: str, conclusive: bool, marked_wrong: bool, used: bool
) -> None:
    earlier = deployed(environment, 1, minutes_ago=30, verdict=verdict, conclusive=conclusive)
    if marked_wrong:
        give_feedback(earlier.verdict, right=False, by=None)
    sample(environment, minutes_ago=27)
    assert bool(evidence_of(deployed(environment, 2, minutes_ago=10)).pre) is used


def test_a_window_excluded_by_hand_feeds_no_baseline(environment: Environment) -> None:
    sample(environment, minutes_ago=20)
    kept = sample(environment, minutes_ago=12)
    times = {"starts_at": NOW - timedelta(minutes=25), "ends_at": NOW - timedelta(minutes=15)}
    environment.excluded_windows.create(reason="load test", **times)
    evidence = evidence_of(deployed(environment, 1, minutes_ago=10))
    assert [one.collected_at for one in evidence.pre] == [kept.collected_at]
    assert render(evidence.excluded[0].why) == "excluded by hand: load test"


@pytest.mark.parametrize(("minutes_ago", "why"), [(9.5, "late try"), (8.5, "after finish")])
def test_a_pre_sample_that_may_show_the_new_version_is_left_out(
    environment: Environment, minutes_ago: float, why: str
) -> None:
    deployment = deployed(environment, 1, minutes_ago=10)
    sample(environment, minutes_ago=minutes_ago, phase="pre", deployment=deployment)
    evidence = evidence_of(deployment)
    assert evidence.pre == ()
    assert why in render(evidence.excluded[0].why)


def test_where_pre_is_thin_the_last_good_deployments_help(environment: Environment) -> None:
    for number, verdict in enumerate(["ok", "rollback_recommended", "ok", "warning"], start=1):
        earlier = deployed(environment, number, minutes_ago=600 - 60 * number, verdict=verdict)
        for index in range(1, 4):
            at = 590 - 60 * number - index
            sample(environment, minutes_ago=at, phase="post", deployment=earlier, sequence_index=index)
    deployment = deployed(environment, 9, minutes_ago=10)
    sample(environment, minutes_ago=10, phase="pre", deployment=deployment)
    evidence = evidence_of(deployment)
    assert origins(evidence).count("history") == 6
    good = Deployment.objects.filter(number__in=[1, 3]).values_list("pk", flat=True)
    assert set(evidence.history_of) == set(good)
    # A canary had a part of the traffic.
    Deployment.objects.filter(number=3).update(control={"endpoint": "https://old.example/m"})
    assert origins(evidence_of(deployment)).count("history") == 3


def test_samples_of_a_good_deployment_in_an_excluded_window_are_no_history(environment: Environment) -> None:
    earlier = deployed(environment, 1, minutes_ago=500, verdict="ok")
    for index in range(1, 6):
        sample(environment, minutes_ago=499 - index, phase="post", deployment=earlier, sequence_index=index)
    times = {"starts_at": NOW - timedelta(minutes=496.5), "ends_at": NOW - timedelta(minutes=400)}
    environment.excluded_windows.create(**times)
    assert origins(evidence_of(deployed(environment, 2, minutes_ago=10))) == ["history"] * 2


def test_a_rich_baseline_needs_no_history(environment: Environment) -> None:
    earlier = deployed(environment, 1, minutes_ago=500, verdict="ok")
    sample(environment, minutes_ago=495, phase="post", deployment=earlier, sequence_index=1)
    deployment = deployed(environment, 2, minutes_ago=10)
    for minutes_ago in range(11, 17):
        sample(environment, minutes_ago=minutes_ago)
    assert set(origins(evidence_of(deployment))) == {"baseline"}


def test_what_is_no_number_is_no_value(environment: Environment) -> None:
    deployment = deployed(environment, 1, minutes_ago=10)
    odd: dict[str, Any] = {"cpu_usage": float("nan"), "latency_p95": float("inf")}
    sample(
        environment,
        minutes_ago=8,
        phase="post",
        deployment=deployment,
        **odd,
        custom_metrics={"a": None, "b": "x", "c": 2},
    )
    [one] = evidence_of(deployment).post
    assert (one.cpu_usage, one.latency_p95, one.custom) == (None, None, {"c": 2.0})


def test_past_samples_of_a_source_are_left_out_like_those_of_the_baseline(environment: Environment) -> None:
    deployment = deployed(environment, 1, minutes_ago=10)
    for minutes_ago in (10, 15, 20, 25):
        sample(environment, minutes_ago=minutes_ago, phase="pre", deployment=deployment, sequence_index=minutes_ago)
    times = {"starts_at": NOW - timedelta(minutes=22), "ends_at": NOW - timedelta(minutes=14)}
    environment.excluded_windows.create(**times)
    evidence = evidence_of(deployment)
    assert (len(evidence.pre), len(evidence.excluded)) == (2, 2)


def test_samples_without_any_metric_are_left_out(environment: Environment) -> None:
    nothing: dict[str, Any] = dict.fromkeys(MEASURED)
    earlier = deployed(environment, 1, minutes_ago=60, verdict="ok")
    sample(environment, minutes_ago=58, phase="post", deployment=earlier, **nothing)
    deployment = deployed(environment, 2, minutes_ago=10)
    sample(environment, minutes_ago=20, **nothing)
    for phase, minutes_ago in (("pre", 10), ("post", 8)):
        sample(environment, minutes_ago=minutes_ago, phase=phase, deployment=deployment, **nothing)
    evidence = evidence_of(deployment)
    assert (evidence.pre, evidence.post, evidence.history_of) == ((), (), ())


def test_a_sample_with_some_metrics_is_evidence(environment: Environment) -> None:
    deployment = deployed(environment, 1, minutes_ago=10)
    some: dict[str, Any] = {
        **dict.fromkeys(MEASURED),
        "cpu_usage": 0.5,
        "custom_metrics": {"jobs": 3.0},
        "instances": 4,
    }
    for phase, minutes_ago in (("pre", 10), ("post", 8)):
        sample(environment, minutes_ago=minutes_ago, phase=phase, deployment=deployment, **some)
    evidence = evidence_of(deployment)
    for [one] in (evidence.pre, evidence.post):
        assert (one.requests_per_sec, one.cpu_usage, one.custom, one.instances) == (None, 0.5, {"jobs": 3.0}, 4)


def test_samples_without_requests_are_evidence_without_a_latency(environment: Environment) -> None:
    deployment = deployed(environment, 1, minutes_ago=10)
    idle: dict[str, Any] = {"requests_per_sec": 0.0, "latency_p95": None}
    sample(environment, minutes_ago=20, **idle)
    for phase, minutes_ago in (("pre", 10), ("post", 8)):
        sample(environment, minutes_ago=minutes_ago, phase=phase, deployment=deployment, **idle)
    evidence = evidence_of(deployment)
    assert [one.latency_p95 for one in (*evidence.pre, *evidence.post)] == [None, None, None]


def test_a_miss_carries_what_the_endpoint_answered(environment: Environment) -> None:
    deployment = deployed(environment, 1, minutes_ago=10)
    url = "http://metrics.example/m"
    why: dict[str, Any] = {"code": "http_4xx", "params": {"status": 404, "url": url}}
    told = {"code": "http_4xx", "params": {**why["params"], "answered": "page not found"}}
    for index, fact in enumerate((told, why, {"code": 5}), start=1):
        place = {"job_type": "post_collect", "sequence_index": index, "status": "failed"}
        make_job(deployment=deployment, error_fact=fact, **place)
    details = [miss.detail for miss in evidence_of(deployment).window.misses]
    assert [render(one) if one else None for one in details] == [
        f"HTTP 404 from {url}; it answered “page not found”",
        f"HTTP 404 from {url}",
        None,
    ]


GOOD = {"verdict": "ok", "conclusive": True}


# --- a predecessor under observation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "mark", "bad"),
    [
        ({"verdict": "rollback_recommended"}, None, True),
        ({"verdict": "warning"}, None, True),
        ({"verdict": "warning", "conclusive": False}, None, False),
        ({"verdict": "ok"}, None, False),
        # An early verdict was acted on, whatever the end of the window showed.
        ({"verdict": "rollback_recommended", "early": True, "final": GOOD}, None, True),
        ({"verdict": "ok"}, {"right": True}, False),
        ({"verdict": "ok"}, {"right": False}, True),
        ({"verdict": "ok"}, {"right": False, "should_have_been": "warning"}, True),
        ({"verdict": "warning"}, {"right": False, "should_have_been": "ok"}, False),
        ({"verdict": "warning"}, {"right": False}, True),
        ({"verdict": "warning", "conclusive": False}, {"right": True}, True),
        # What began in a bad window was never told apart from it.
        ({"verdict": "ok", "conclusive": False, "evidence": {"bad_predecessor": 7}}, None, True),
        ({"verdict": "ok", "conclusive": False, "evidence": {"bad_predecessor": 7}}, {"right": True}, False),
        ({}, None, False),
    ],
)
def test_a_deployment_that_begins_in_the_window_of_a_bad_one_is_told(
    environment: Environment, verdict: dict[str, Any], mark: dict[str, Any] | None, bad: bool
) -> None:
    before = deployed(environment, 1, minutes_ago=12, **verdict)
    if mark is not None:
        give_feedback(before.verdict, by=None, **mark)
    deployment = deployed(environment, 2, minutes_ago=7)
    assert evidence_of(deployment).window.bad_predecessor == (1 if bad else None)


@pytest.mark.parametrize(("minutes_ago", "found"), [(17, None), (16, 1), (11, 1), (10, 1), (9, None)])
def test_only_a_window_that_contains_the_trigger_has_spoilt_pre(
    environment: Environment, minutes_ago: float, found: int | None
) -> None:
    # It took a minute and was observed for five.
    deployed(environment, 1, minutes_ago=minutes_ago, verdict="warning")
    assert evidence_of(deployed(environment, 2, minutes_ago=10)).window.bad_predecessor == found


def test_the_latest_of_several_bad_predecessors_is_named(environment: Environment) -> None:
    for number, minutes_ago in ((1, 15), (2, 12), (3, 11)):
        deployed(environment, number, minutes_ago=minutes_ago, verdict="warning" if number < 3 else "ok")
    staging = environment.project.environments.create(name="staging")
    deployed(staging, 4, minutes_ago=11, verdict="warning")
    assert evidence_of(deployed(environment, 5, minutes_ago=10)).window.bad_predecessor == 2


# --- an endpoint that never answered -------------------------------------------------------------------------------


def test_an_endpoint_without_any_sample_never_answered(environment: Environment) -> None:
    staging = environment.project.environments.create(name="staging")
    sample(staging, minutes_ago=20)
    deployment = deployed(environment, 1, minutes_ago=10)
    sample(environment, minutes_ago=8, phase="post", deployment=deployment)
    assert evidence_of(deployment).window.endpoint_answered_before is False


@pytest.mark.parametrize("minutes_ago", [40, 600])
@pytest.mark.parametrize("phase", ["baseline", "post"])
def test_an_earlier_sample_of_any_kind_is_an_answer(environment: Environment, phase: str, minutes_ago: float) -> None:
    sample(environment, minutes_ago=minutes_ago, phase=phase, cpu_usage=None)
    assert evidence_of(deployed(environment, 1, minutes_ago=10)).window.endpoint_answered_before


def test_levels_and_verdicts_remember_answers_whose_samples_are_gone(environment: Environment) -> None:
    levels_of, verdict_of = environment, environment.project.environments.create(name="staging")
    MetricLevel.objects.create(environment=levels_of, start=NOW - timedelta(days=20), samples=1)
    earlier = deployed(verdict_of, 1, minutes_ago=50_000)
    make_verdict(earlier, evidence={"post_samples": 3})
    for place in (levels_of, verdict_of):
        assert evidence_of(deployed(place, place.pk + 1, minutes_ago=10)).window.endpoint_answered_before


def test_a_verdict_without_samples_is_no_answer(environment: Environment) -> None:
    earlier = deployed(environment, 1, minutes_ago=500)
    make_verdict(earlier, verdict="warning", conclusive=False, evidence={"post_samples": 0})
    assert not evidence_of(deployed(environment, 2, minutes_ago=10)).window.endpoint_answered_before


def test_another_environments_samples_are_never_used(environment: Environment) -> None:
    staging = environment.project.environments.create(name="staging", metrics_endpoint="http://metrics.example/s")
    sample(staging, minutes_ago=12)
    assert evidence_of(deployed(environment, 1, minutes_ago=10)).pre == ()


def test_a_rollback_is_compared_with_what_preceded_the_deployment_that_replaced_the_last_good_one(
    environment: Environment,
) -> None:
    deployed(environment, 1, minutes_ago=200, verdict="ok")
    bad = deployed(environment, 2, minutes_ago=100, verdict="rollback_recommended")
    deployed(environment, 3, minutes_ago=14, verdict="warning")
    rollback = deployed(environment, 4, minutes_ago=10)
    for minutes_ago in (131, 129, 110, 101, 95, 35, 12):
        sample(environment, minutes_ago=minutes_ago)
    of_bad = sample(environment, minutes_ago=100, phase="pre", deployment=bad)
    own = sample(environment, minutes_ago=10, phase="pre", deployment=rollback)
    Deployment.objects.filter(pk=rollback.pk).update(kind="rollback")
    evidence = evidence_of(rollback)
    assert origins(evidence) == ["baseline"] * 3 + ["pre"]
    assert evidence.pre[-1].collected_at == of_bad.collected_at
    # Its predecessor was bad and under observation when it began.
    assert (evidence.window.bad_predecessor, evidence.compared_before) == (None, 2)
    assert {render(one.why) for one in evidence.excluded} == {"taken since #2, which replaced the last good deployment"}
    assert max(one.collected_at for one in evidence.excluded) == own.collected_at
    assert len(evidence.excluded) == 3
    Deployment.objects.filter(pk=rollback.pk).update(kind="deployment")
    assert (evidence_of(rollback).window.bad_predecessor, evidence_of(rollback).compared_before) == (3, None)


def test_a_rollback_without_a_bad_one_before_it_is_compared_like_any_other(environment: Environment) -> None:
    for number, minutes_ago in ((1, 200), (2, 100)):
        deployed(environment, number, minutes_ago=minutes_ago, verdict="ok")
    rollback = deployed(environment, 3, minutes_ago=10)
    Deployment.objects.filter(pk=rollback.pk).update(kind="rollback")
    own = sample(environment, minutes_ago=10, phase="pre", deployment=rollback)
    evidence = evidence_of(rollback)
    assert [one.collected_at for one in evidence.pre if one.origin == "pre"] == [own.collected_at]
    assert (evidence.excluded, evidence.compared_before) == ((), None)
