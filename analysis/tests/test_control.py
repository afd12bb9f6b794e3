"""A control group removes what would have happened anyway: the time of day, a dependency that fails for both."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis.texts  # noqa: F401  (registers the sentences)
from analysis.evidence import load_evidence
from analysis.judge import judge, judge_early
from analysis.judge.types import METRICS, OK, ROLLBACK, VERDICTS, WARNING, Sample, Verdict
from analysis.services import evidence_json
from analysis.tests.adaptive_samples import check_of, make_pre, make_series, make_window
from deployments.tests.factories import make_deployment
from explain.facts import Fact
from explain.rendering import render
from metrics.models import Group, Phase
from metrics.tests.factories import make_sample, make_samples
from projects.policy import policy_from_dict

Level = float | Callable[[int], float]


def judged(
    pre: list[Sample], post: list[Sample], control: tuple[list[Sample], list[Sample]], policy: Any = None
) -> Verdict:
    window = make_window(len(post), control_before=tuple(control[0]), control_after=tuple(control[1]))
    return judge(pre, post, policy_from_dict(policy or {}), window)


def control(after: dict[str, Any], *, count: int = 10) -> tuple[list[Sample], list[Sample]]:
    """A control group of more instances: nine times the traffic."""
    usual: dict[str, Any] = {"requests_per_sec": 450.0, "seed": 7}
    return make_pre(20, **usual), make_series(count, **{**usual, **after})


# What happens to both groups after the deployment, and what a judge without a control group would say of it.
SHARED: list[dict[str, Any]] = [
    {"error_rate": 0.2},
    {"latency_p95": 600.0},
    {"cpu_usage": 0.9},
    {"memory_usage": 0.9},
    {"latency_p95": lambda i: 120.0 + 40.0 * i},
]


@pytest.mark.parametrize("shared", SHARED)
def test_what_the_control_does_as_well_is_not_blamed_on_the_deployment(shared: dict[str, Any]) -> None:
    pre, post = make_pre(20), make_series(10, **shared)
    alone = judge(pre, post, policy_from_dict({}), make_window(10))
    beside = judged(pre, post, control(shared))
    assert alone.verdict != OK
    assert (beside.verdict, beside.conclusive) == (OK, True)
    assert "control group" in render(beside.summary)


@pytest.mark.parametrize("shared", [{}, {"latency_p95": 300.0}, {"error_rate": 0.05}])
@pytest.mark.parametrize(
    ("own", "verdict"),
    [({"error_rate": 0.3}, ROLLBACK), ({"latency_p95": 1500.0}, ROLLBACK), ({"cpu_usage": 0.9}, WARNING)],
)
def test_what_the_treatment_does_alone_is_found(shared: dict[str, Any], own: dict[str, Any], verdict: str) -> None:
    found = judged(make_pre(20), make_series(10, **{**shared, **own}), control(shared))
    assert found.verdict == verdict
    assert found.failed_metrics == tuple(own)
    assert ("That is without what the control group did" in render(found.summary)) == (own.keys() == shared.keys())


def test_a_canary_without_samples_from_before_is_compared_with_the_control_at_the_same_instants() -> None:
    busy = {"latency_p95": 400.0, "error_rate": 0.03}
    few: dict[str, Any] = {"requests_per_sec": 5.0}
    _, after = control(busy)
    good, bad = (
        judged([], make_series(10, **few, **level), ([], after)) for level in (busy, {**busy, "error_rate": 0.4})
    )
    assert (good.verdict, good.conclusive) == (OK, True)
    assert "10 samples of the control group at the same time" in render(good.summary)
    assert (bad.verdict, bad.failed_metrics) == (ROLLBACK, ("error_rate",))
    assert check_of(bad, "error_rate").baseline == pytest.approx(0.03, rel=0.3)


@pytest.mark.parametrize("share", [0.02, 0.5, 3.0])
def test_traffic_that_the_rollout_moves_between_the_groups_is_no_loss(share: float) -> None:
    after = {"requests_per_sec": 450.0 * (2.0 - share)}
    found = judged(make_pre(20), make_series(10, requests_per_sec=50.0 * share), control(after))
    assert (found.verdict, found.failed_metrics) == (OK, ())
    assert "rollout" in render(check_of(found, "requests_per_sec").fact)


@pytest.mark.parametrize("given", [0, 2])
def test_a_canary_whose_control_group_fails_has_lost_no_traffic_either(given: int) -> None:
    def ordered(samples: list[Sample]) -> list[Sample]:
        return [replace(one, custom={"orders": (one.requests_per_sec or 0.0) * 2.0}) for one in samples]

    policy = policy_from_dict({"custom_metrics": [{"name": "orders", "kind": "rate", "direction": "down_is_bad"}]})
    window = make_window(10, has_control=True, control_after=tuple(make_series(given)))
    pre = ordered(make_pre(20))
    good, bad = (
        judge(pre, ordered(make_series(10, requests_per_sec=5.0, error_rate=errors)), policy, window)
        for errors in (0.002, 0.4)
    )
    assert (good.verdict, good.conclusive, bad.failed_metrics) == (OK, True, ("error_rate",))


def test_a_canary_that_gets_no_requests_is_not_exercised() -> None:
    found = judged(make_pre(20), make_series(10, requests_per_sec=0.0, latency_p95=0.0), control({}))
    assert (found.verdict, found.conclusive) == (WARNING, False)


def test_custom_metrics_are_compared_with_the_control_too() -> None:
    def with_jobs(samples: list[Sample], level: float) -> list[Sample]:
        return [replace(sample, custom={"jobs": level}) for sample in samples]

    policy = {"custom_metrics": [{"name": "jobs", "kind": "rate", "unit": "/min", "critical": True}]}
    before, after = control({})
    evening = (with_jobs(before, 400.0), with_jobs(after, 120.0))
    pre = with_jobs(make_pre(20), 40.0)
    assert judged(pre, with_jobs(make_series(10), 12.0), evening, policy).verdict == OK
    assert judged(pre, with_jobs(make_series(10), 1.0), evening, policy).verdict == ROLLBACK


@pytest.mark.parametrize("kind", ["adaptive", "fixed"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("before", [20, 0])
def test_what_traffic_brings_moves_with_it_from_one_group_to_the_other(kind: str, share: float, before: int) -> None:
    def at(samples: list[Sample], part: float, orders: float = 0.8) -> list[Sample]:
        rates = ((one.requests_per_sec or 0.0) * part for one in samples)
        return [
            replace(one, requests_per_sec=rate, custom={"orders": rate * orders})
            for one, rate in zip(samples, rates, strict=True)
        ]

    policy = {"kind": kind, "custom_metrics": [{"name": "orders", "kind": "rate", "direction": "either"}]}
    pre, post = at(make_pre(20), 1.0)[:before], make_series(10)
    sides = at(make_pre(20, seed=7), 1.0)[:before], at(make_series(10, seed=7), 1.0 - share)
    good, bad = (judged(pre, at(post, share, orders), sides, policy) for orders in (0.8, 0.1))
    assert [check_of(one, "orders").outcome for one in (good, bad)] == ["ok", "warning"]


def test_fixed_limits_say_what_a_control_group_does_not_change() -> None:
    before, after = control({"latency_p95": 1500.0})
    window = make_window(10, has_control=True, control_before=tuple(before), control_after=tuple(after))
    post = make_series(10, latency_p95=1500.0, requests_per_sec=5.0)
    found = judge(make_pre(20), post, policy_from_dict({"kind": "fixed"}), window)
    assert found.failed_metrics == ("latency_p95",)
    assert "rollout decides" in render(check_of(found, "requests_per_sec").fact)
    assert "the limits are fixed" in render(found.quality.issues[-1].fact)


@pytest.mark.parametrize(("before", "count", "most"), [(1, 5, 4), (2, 10, 2), (20, 5, 3), (20, 10, 2)])
def test_shared_trouble_that_scatters_is_not_blamed_on_the_deployment(before: int, count: int, most: int) -> None:
    """Errors of 20 %, by a third more or less in each group: what remains of both is a difference of points."""
    shared: dict[str, Any] = {"error_rate": 0.2}
    wrong = 0
    for seed in range(24):
        usual: dict[str, Any] = {"requests_per_sec": 450.0, "seed": seed + 1000}
        sides = make_pre(20, **usual)[-before:], make_series(count, **usual, **shared)
        pre, post = make_pre(20, seed=seed)[-before:], make_series(count, seed=seed, **shared)
        wrong += judged(pre, post, sides).verdict != OK
        # What stands out from it is found all the same.
        own = make_series(count, seed=seed, error_rate=0.6)
        assert judged(pre, own, sides).verdict == ROLLBACK
    assert wrong <= most


def test_too_few_samples_of_the_control_change_nothing() -> None:
    pre, post = make_pre(20), make_series(10, error_rate=0.2)
    before, after = control({"error_rate": 0.2})
    alone = judge(pre, post, policy_from_dict({}), make_window(10))
    for few in (([], after), (before, after[:2]), ([], [])):
        assert judged(pre, post, few) == alone


def test_early_verdicts_know_the_control_group() -> None:
    before, after = control({"error_rate": 0.4}, count=6)
    window = make_window(10, final=False, control_before=tuple(before), control_after=tuple(after))
    pre, post, policy = make_pre(20), make_series(6, error_rate=0.4, noisy=False), policy_from_dict({})
    assert judge_early(pre, post, policy, replace(window, control_before=(), control_after=())) is not None
    assert judge_early(pre, post, policy, window) is None
    # One that has not given enough yet is waited for; one that gives nothing is not.
    assert judge_early(pre, post, policy, replace(window, control_after=tuple(after[:2]))) is None
    assert judge_early(pre, post, policy, replace(window, control_after=())) is not None


@pytest.mark.parametrize("seed", range(8))
def test_the_scatter_of_the_control_is_no_finding(seed: int) -> None:
    usual: dict[str, Any] = {"requests_per_sec": 450.0, "seed": seed + 50}
    found = judged(
        make_pre(20, seed=seed), make_series(10, seed=seed), (make_pre(20, **usual), make_series(10, **usual))
    )
    assert found.verdict == OK


def disturbed(samples: list[Sample], factor: float, errors: float) -> list[Sample]:
    return [
        replace(
            sample,
            latency_p95=(sample.latency_p95 or 0.0) * factor,
            error_rate=(sample.error_rate or 0.0) + errors,
            requests_per_sec=(sample.requests_per_sec or 0.0) * factor,
        )
        for sample in samples
    ]


own_changes: Any = st.fixed_dictionaries(
    {}, optional={"latency_p95": st.sampled_from([130.0, 400.0, 1500.0]), "error_rate": st.sampled_from([0.01, 0.3])}
)


@given(
    seed=st.integers(0, 1000),
    own=own_changes,
    factor=st.floats(1.5, 10.0),
    errors=st.floats(0.05, 0.4),
    log=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_what_disturbs_both_groups_changes_no_verdict(
    seed: int, own: dict[str, Any], factor: float, errors: float, log: bool
) -> None:
    factor = 1.0 / factor if log else factor
    pre, post = make_pre(20, seed=seed), make_series(10, seed=seed, **own)
    before, after = control({"noisy": False})
    calm = judged(pre, post, (before, after))
    found = judged(pre, disturbed(post, factor, errors), (before, disturbed(after, factor, errors)))
    assert found.verdict == calm.verdict
    assert found.failed_metrics == calm.failed_metrics


@given(seed=st.integers(0, 1000), own=own_changes)
@settings(max_examples=40, deadline=None)
def test_beside_a_control_group_that_does_nothing_the_verdict_is_the_same_as_without(
    seed: int, own: dict[str, Any]
) -> None:
    pre, post = make_pre(20, seed=seed), make_series(10, seed=seed, **own)
    quiet = control({"noisy": False})
    alone, beside = judge(pre, post, policy_from_dict({}), make_window(10)), judged(pre, post, quiet)
    assert (beside.verdict, beside.failed_metrics) == (alone.verdict, alone.failed_metrics)


@pytest.mark.parametrize(("before", "most"), [(1, 3), (3, 2), (20, 1)])
def test_a_control_group_that_scatters_widely_raises_few_alarms(before: int, most: int) -> None:
    wrong = 0
    for seed in range(30):
        rng = random.Random(seed)
        sides = control({})
        noisy = [
            [replace(one, latency_p95=(one.latency_p95 or 0.0) * math.exp(rng.gauss(0.0, 0.2))) for one in side]
            for side in (sides[0][-before:], sides[1])
        ]
        wrong += judged(make_pre(20, seed=seed), make_series(10, seed=seed), (noisy[0], noisy[1])).verdict != OK
    assert wrong <= most


def test_levels_of_the_control_are_in_the_checks_and_a_control_that_gave_too_little_is_told() -> None:
    pre, post = make_pre(20), make_series(10)
    details = check_of(judged(pre, post, control({"latency_p95": 300.0})), "latency_p95").details
    assert details["control_before"] == pytest.approx(118.0, rel=0.1)
    assert details["control_after"] == pytest.approx(300.0, rel=0.1)
    # Twice what the treatment would have without what the control did; the rest is as measured.
    rising = judged(pre, make_series(10, latency_p95=600.0), control({"latency_p95": 300.0}))
    slower = check_of(rising, "latency_p95")
    assert slower.details["measured"] == pytest.approx(600.0, rel=0.1)
    assert slower.observed == pytest.approx(236.0, rel=0.2)
    assert "measured" not in check_of(rising, "error_rate").details
    problem = Fact("http_5xx", {"status": 503, "url": "http://old.example/m"})
    for why, words in ((None, "too few"), (problem, "HTTP 503")):
        window = make_window(10, has_control=True, control_problem=why, control_before=tuple(control({})[0][:1]))
        verdict = judge(pre, post, policy_from_dict({}), window)
        [issue] = [issue for issue in verdict.quality.issues if issue.code == "control_unused"]
        assert "1 sample before and 0 samples after" in render(issue.fact)
        assert words in render(issue.fact)
        assert verdict.verdict == OK


numbers = st.none() | st.floats(0.0, 1e12)
shares = st.none() | st.floats(0.0, 1.0)
some = st.lists(
    st.builds(
        lambda minute, rate, latency, ratios, custom: replace(
            make_series(1, start=minute)[0],
            requests_per_sec=rate,
            latency_p95=latency,
            **dict(zip(METRICS[2:], ratios, strict=True)),
            custom={"jobs": custom},
        ),
        st.integers(-30, 15),
        numbers,
        numbers,
        st.tuples(shares, shares, shares),
        st.floats(-1e12, 1e12),
    ),
    max_size=8,
)


@given(pre=some, post=some, before=some, after=some)
@settings(max_examples=150)
def test_any_control_group_gets_a_verdict(
    pre: list[Sample], post: list[Sample], before: list[Sample], after: list[Sample]
) -> None:
    policy = {"custom_metrics": [{"name": "jobs", "direction": "either"}]}
    assert judged(pre, post, (before, after), policy).verdict in VERDICTS


@pytest.mark.django_db
def test_stored_samples_of_the_control_group_are_evidence() -> None:
    deployment = make_deployment(state="finished")
    make_samples(deployment)
    make_sample(deployment, phase=Phase.PRE, group=Group.CONTROL)
    for index in range(1, 6):
        make_sample(deployment, sequence_index=index, group=Group.CONTROL, error_rate=0.5)
    evidence = load_evidence([deployment], deployment.started_at + timedelta(hours=1))[deployment.pk]
    assert (len(evidence.post), len(evidence.window.control_before), len(evidence.window.control_after)) == (5, 1, 5)
    assert {one.error_rate for one in evidence.window.control_after} == {0.5}
    assert evidence_json(evidence)["control_samples"] == 6
