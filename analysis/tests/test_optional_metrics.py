"""Sources that do not know every metric: the judge works with what there is, and says what it could not look at."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis.texts  # noqa: F401  (registers the sentences)
from analysis.judge import judge, judge_early
from analysis.judge.hints import hints
from analysis.judge.types import METRICS, OK, ROLLBACK, WARNING, Sample, Verdict, Window
from analysis.recorded import hint_columns, read_recorded, verdict_json
from analysis.tests.adaptive_samples import NOON, check_of, make_pre, make_series, make_window
from explain.rendering import render
from projects.policy import policy_from_dict

KINDS: list[dict[str, Any]] = [{}, {"kind": "fixed"}]
# What each regression is caused by.
REGRESSIONS: list[tuple[str, dict[str, Any]]] = [
    ("error_rate", {"error_rate": 0.2}),
    ("error_rate", {"error_rate": lambda i: 0.9 * (i % 2)}),
    ("latency_p95", {"latency_p95": 900.0}),
    ("requests_per_sec", {"requests_per_sec": 0.5}),
    ("memory_usage", {"memory_usage": 0.995}),
]


def without(samples: list[Sample], *metrics: str) -> list[Sample]:
    nothing: dict[str, Any] = dict.fromkeys(metrics)
    return [replace(sample, **nothing) for sample in samples]


def only(samples: list[Sample], *metrics: str) -> list[Sample]:
    return without(samples, *(metric for metric in METRICS if metric not in metrics))


def judged(pre: list[Sample], post: list[Sample], policy: dict[str, Any] | None = None) -> Verdict:
    return judge(pre, post, policy_from_dict(policy or {}), make_window(len(post)))


@pytest.mark.parametrize("policy", KINDS, ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_that_no_sample_has_is_told_and_the_others_are_judged(metric: str, policy: dict[str, Any]) -> None:
    quiet: dict[str, Any] = {"cpu_usage": 0.4, "error_rate": 0.002}
    verdict = judged(without(make_pre(**quiet), metric), without(make_series(10, **quiet), metric), policy)
    check = check_of(verdict, metric)
    assert (verdict.verdict, verdict.conclusive, verdict.basis.unmeasured) == (OK, True, (metric,))
    assert (check.outcome, "not measured by the source" in render(check.fact)) == ("skipped", True)
    assert "not looked at" in render(verdict.summary)
    assert all(check_of(verdict, other).outcome == "ok" for other in METRICS if other != metric)


@pytest.mark.parametrize("policy", KINDS, ids=str)
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_metric_known_on_one_side_only_is_not_comparable(side: str, policy: dict[str, Any]) -> None:
    pre, post = make_pre(), make_series(10)
    if side == "before":
        post = without(post, "requests_per_sec")
    else:
        pre = without(pre, "requests_per_sec")
    verdict = judged(pre, post, policy)
    check = check_of(verdict, "requests_per_sec")
    assert (check.outcome, f"measured only {side} the deployment" in render(check.fact)) == ("skipped", True)
    assert verdict.basis.unmeasured == ("requests_per_sec",)


@pytest.mark.parametrize("policy", KINDS, ids=str)
@pytest.mark.parametrize("known", [("cpu_usage",), ("cpu_usage", "memory_usage")], ids=str)
def test_without_anything_user_facing_nothing_is_ok(known: tuple[str, ...], policy: dict[str, Any]) -> None:
    verdict = judged(only(make_pre(), *known), only(make_series(10), *known), policy)
    assert (verdict.verdict, verdict.conclusive) == (WARNING, False)
    assert "add a source" in render(verdict.summary)
    assert verdict.health.healthy == "unknown"
    assert (verdict.basis.requests, verdict.basis.exercised) == (None, None)


@pytest.mark.parametrize("known", ["requests_per_sec", "latency_p95", "error_rate"])
@pytest.mark.parametrize("policy", KINDS, ids=str)
def test_one_user_facing_metric_is_enough(known: str, policy: dict[str, Any]) -> None:
    verdict = judged(only(make_pre(), known), only(make_series(10), known), policy)
    assert (verdict.verdict, verdict.conclusive, verdict.health.healthy) == (OK, True, "yes")


@pytest.mark.parametrize("count", [1, 20])
def test_errors_and_latency_are_judged_without_requests(count: int) -> None:
    pre = without(make_pre(count), "requests_per_sec")
    for metric, level, verdict in (
        ("error_rate", 0.2, ROLLBACK),
        ("error_rate", 0.02, WARNING),
        ("latency_p95", 900.0, ROLLBACK),
        ("latency_p95", 200.0, WARNING),
    ):
        found = judged(pre, without(make_series(10, **{metric: level}), "requests_per_sec"))
        assert (found.verdict, found.failed_metrics) == (verdict, (metric,))
        assert "of about" not in render(check_of(found, metric).fact)


def test_errors_without_requests_are_unhealthy_if_they_are_many() -> None:
    failing = without(make_series(10, error_rate=0.3), "requests_per_sec")
    verdict = judged(without(make_pre(error_rate=0.3), "requests_per_sec"), failing)
    assert verdict.health.healthy == "no"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("metrics", [("error_rate",), ("latency_p95", "error_rate"), ("latency_p95", "cpu_usage")])
def test_noise_without_requests_is_no_finding(metrics: tuple[str, ...], seed: int) -> None:
    pre, post = make_pre(20, seed=seed), make_series(10, seed=seed)
    assert judged(only(pre, *metrics), only(post, *metrics)).verdict == OK


def test_samples_that_lack_a_metric_do_not_cost_the_others_theirs() -> None:
    pre, post = make_pre(20), make_series(10, cpu_usage=0.9)
    some = [replace(sample, cpu_usage=None) if place % 3 else sample for place, sample in enumerate(post)]
    verdict = judged(pre, some)
    assert verdict.failed_metrics == ("cpu_usage",)
    assert check_of(verdict, "cpu_usage").details["samples"] < check_of(verdict, "latency_p95").details["samples"]


def test_instances_are_part_of_the_basis() -> None:
    pre = [replace(sample, instances=4) for sample in make_pre()]
    post = [replace(sample, instances=6 if place else None) for place, sample in enumerate(make_series(5))]
    basis = judged(pre, post).basis
    assert (basis.instances_before, basis.instances) == (4, 6)
    assert judged(make_pre(), make_series(5)).basis.instances is None


@pytest.mark.parametrize(("now", "severity"), [(6, "info"), (2, "warning"), (4, None)])
def test_another_number_of_instances_is_told_and_is_no_loss_of_traffic(now: int, severity: str | None) -> None:
    pre = [replace(sample, instances=4) for sample in make_pre()]
    post = [replace(sample, instances=now) for sample in make_series(5)]
    verdict = judged(pre, post)
    assert (verdict.verdict, verdict.failed_metrics) == (OK, ())
    found = [hint for hint in hints(verdict, pre, post, make_window(5)) if hint.code == "instances_changed"]
    assert [hint.severity for hint in found] == ([severity] if severity else [])
    assert [render(hint.evidence[0]) for hint in found] == ([f"4 → {now} instances"] if severity else [])


def test_lost_traffic_of_counted_instances_is_no_scaling() -> None:
    pre, post = make_pre(cpu_usage=0.4), make_series(10, requests_per_sec=25.0, cpu_usage=0.2)
    assert "scaling" in check_of(judged(pre, post), "requests_per_sec").details
    counted = [[replace(sample, instances=4) for sample in side] for side in (pre, post)]
    assert "scaling" not in check_of(judged(*counted), "requests_per_sec").details


@given(
    regression=st.sampled_from(REGRESSIONS),
    removed=st.sets(st.sampled_from(METRICS), max_size=4),
    count=st.sampled_from([1, 5, 20]),
    after=st.sampled_from([5, 10]),
    seed=st.integers(0, 50),
)
@settings(max_examples=150)
def test_removing_other_metrics_never_turns_a_rollback_into_ok(
    regression: tuple[str, dict[str, Any]], removed: set[str], count: int, after: int, seed: int
) -> None:
    cause, levels = regression
    pre, post = make_pre(count, seed=seed), make_series(after, seed=seed, **levels)
    gone = tuple(removed - {cause})
    if judged(pre, post).verdict == ROLLBACK:
        assert judged(without(pre, *gone), without(post, *gone)).verdict != OK


known = st.sets(st.sampled_from(METRICS))
values = st.fixed_dictionaries(
    {
        "requests_per_sec": st.floats(0.0, 1e12),
        "latency_p95": st.floats(0.0, 1e12),
        **{metric: st.floats(0.0, 1.0) for metric in METRICS[2:]},
    }
)
partial = st.lists(
    st.builds(
        lambda minute, names, of, origin: Sample(
            NOON + timedelta(minutes=minute), **{name: of[name] for name in names}, origin=origin
        ),
        st.integers(-40, 20),
        known,
        values,
        st.sampled_from(["pre", "history", "post"]),
    ),
    max_size=9,
)


@given(pre=partial, post=partial, policy=st.sampled_from(KINDS), final=st.booleans())
@settings(max_examples=250)
def test_any_samples_that_know_anything_get_a_verdict(
    pre: list[Sample], post: list[Sample], policy: dict[str, Any], final: bool
) -> None:
    window, read = Window(expected=5, final=final, evaluated_at=NOON), policy_from_dict(policy)
    verdict = judge(pre, post, read, window)
    stored = json.loads(json.dumps({**verdict_json(verdict), "policy": verdict.policy}, allow_nan=False))
    assert read_recorded(stored).verdict == verdict
    json.dumps([hint_columns(hint) for hint in hints(verdict, pre, post, window)], allow_nan=False)
    if verdict.verdict == OK:
        assert verdict.conclusive
        assert any(sample.knows(metric) for sample in post for metric in METRICS[:3])
    early = judge_early(pre, post, read, replace(window, final=False))
    assert early is None or early.verdict == ROLLBACK
