"""Custom metrics of a policy are compared with their own level, like the five."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis.texts  # noqa: F401  (registers the sentences)
from analysis.judge import judge, judge_early
from analysis.judge.adaptive.lines import NORMAL
from analysis.judge.hints import hints
from analysis.judge.types import METRICS, OK, ROLLBACK, WARNING, Check, EarlierDay, Sample, Verdict, Window
from analysis.recorded import hint_columns, read_recorded, verdict_json
from analysis.tests.adaptive_samples import NOON, check_of, make_pre, make_series, make_window
from explain.rendering import render
from projects.policy import policy_from_dict

Value = float | Callable[[int], float]


def series(count: int, value: Value, *, start: int = 0, noise: float = 0.05, seed: int = 1) -> list[Sample]:
    """Samples of a worker, with one custom metric and nothing else."""
    rng = random.Random(seed * 1000 + start)
    samples = []
    for minute in range(count):
        level = value(minute) if callable(value) else value
        custom = {"jobs": level * (1.0 + rng.uniform(-noise, noise))}
        samples.append(Sample(NOON + timedelta(minutes=start + minute), custom=custom))
    return samples


def before(count: int, value: Value, **changes: Any) -> list[Sample]:
    return series(count, value, start=-count - 1, **changes)


def policy_of(judge_kind: str = "adaptive", /, **metric: Any) -> Any:
    return policy_from_dict({"kind": judge_kind, "custom_metrics": [{"name": "jobs", "critical": True, **metric}]})


def judged(pre: list[Sample], post: list[Sample], policy: Any) -> Verdict:
    return judge(pre, post, policy, make_window(len(post)))


@pytest.mark.parametrize("kind", ["adaptive", "fixed"])
@pytest.mark.parametrize(
    ("metric", "was", "now", "verdict"),
    [
        ({"kind": "rate", "unit": "/min"}, 42.0, 3.0, ROLLBACK),
        ({"kind": "rate", "unit": "/min"}, 42.0, 21.0, WARNING),
        ({"kind": "rate", "unit": "/min"}, 42.0, 90.0, OK),
        ({"kind": "rate", "unit": "/min", "critical": False}, 42.0, 3.0, WARNING),
        ({"kind": "rate", "unit": "/min", "smallest": 50}, 42.0, 3.0, OK),
        ({}, 100.0, 250.0, ROLLBACK),
        ({}, 100.0, 150.0, WARNING),
        ({}, 100.0, 30.0, OK),
        ({}, 0.0, 40.0, ROLLBACK),
        ({"smallest": 50}, 0.0, 40.0, OK),
        ({"direction": "either"}, 100.0, 55.0, WARNING),
        ({"direction": "either"}, 100.0, 150.0, WARNING),
        ({"warning": {"absolute": 80, "relative": 0.1}}, 100.0, 150.0, OK),
        ({"warning": {"absolute": 20, "relative": 0.1}, "rollback": {"absolute": 40}}, 100.0, 150.0, ROLLBACK),
        ({"kind": "count"}, 3.0, 40.0, ROLLBACK),
        ({"kind": "ratio"}, 0.01, 0.2, ROLLBACK),
        ({"kind": "ratio"}, 0.01, 0.06, WARNING),
        ({"kind": "ratio", "direction": "down_is_bad"}, 0.92, 0.5, ROLLBACK),
        ({"warning": {"relative": 0.3}}, -100.0, -20.0, WARNING),
    ],
)
def test_a_move_beyond_its_margins_counts_in_the_bad_direction(
    metric: dict[str, Any], was: float, now: float, verdict: str, kind: str
) -> None:
    found = judged(before(20, was), series(10, now), policy_of(kind, **metric))
    assert (found.verdict, found.conclusive) == (verdict, True)
    assert found.failed_metrics == (() if verdict == OK else ("jobs",))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.05, 0.2])
@pytest.mark.parametrize(
    ("metric", "level"),
    [({}, 200.0), ({"kind": "rate"}, 3.7), ({"kind": "ratio"}, 0.05), ({"direction": "either"}, 7.3)],
)
def test_noise_is_no_finding(metric: dict[str, Any], level: float, noise: float, seed: int) -> None:
    levels: dict[str, Any] = {"noise": noise, "seed": seed}
    assert judged(before(20, level, **levels), series(10, level, **levels), policy_of(**metric)).verdict == OK


@pytest.mark.parametrize(
    ("pre", "post"), [([1], [2, 3, 1, 2, 4]), ([0], [0, 1, 0, 0, 2]), ([2, 0, 1, 3, 1], [3, 4, 1, 2, 5])]
)
@pytest.mark.parametrize("metric", [{"kind": "count"}, {}, {"kind": "rate", "unit": "per minute"}])
def test_small_numbers_of_events_scatter_by_chance(pre: list[int], post: list[int], metric: dict[str, Any]) -> None:
    found = judged(
        before(len(pre), lambda i: pre[i], noise=0.0),
        series(len(post), lambda i: post[i], noise=0.0),
        policy_of(direction="either", **metric),
    )
    assert found.verdict == OK


def test_a_single_bad_minute_and_a_fading_start_are_no_finding() -> None:
    policy = policy_of()
    assert judged(before(20, 100.0), series(10, lambda i: 900.0 if i == 5 else 100.0), policy).verdict == OK
    assert judged(before(20, 100.0), series(10, lambda i: 100.0 + 800.0 * 0.3**i), policy).verdict == OK


def test_what_is_over_is_no_rollback() -> None:
    found = judged(before(20, 100.0), series(10, lambda i: 500.0 if i < 7 else 100.0), policy_of())
    assert found.verdict != ROLLBACK


def test_a_worker_without_requests_gets_conclusive_verdicts_and_its_health() -> None:
    policy = policy_of()
    good, bad = judged(before(20, 5.0), series(10, 5.0), policy), judged(before(20, 5.0), series(10, 50.0), policy)
    assert (good.verdict, good.conclusive, good.health.healthy) == (OK, True, "yes")
    assert (bad.verdict, bad.conclusive, bad.health.healthy) == (ROLLBACK, True, "no")
    assert good.basis.requests is None
    # Without a level before nothing can be said.
    first = judged([], series(10, 5.0), policy)
    assert (first.verdict, first.conclusive) == (WARNING, False)


def test_the_windows_of_earlier_deployments_are_a_level_where_there_is_no_fresher_one() -> None:
    earlier = [replace(sample, origin="history") for sample in before(20, 5.0)]
    good, bad = (judged(earlier, series(10, level), policy_of()) for level in (5.0, 50.0))
    assert (good.verdict, good.conclusive, bad.verdict) == (OK, True, ROLLBACK)


def test_what_breaks_within_the_first_window_is_found_without_a_level_before() -> None:
    found = judged([], series(10, lambda i: 40.0 if i < 6 else 2.0), policy_of(kind="rate", unit="/min"))
    assert (found.verdict, found.failed_metrics) == (ROLLBACK, ("jobs",))
    # At such a scatter 1 of 300 windows looks like a move by chance.
    steady = [series(10, 40.0, noise=0.2, seed=seed) for seed in range(20)]
    found_in = [judged([], post, policy_of(direction="either")).failed_metrics for post in steady]
    assert sum(map(bool, found_in)) <= 1


def test_metrics_that_are_not_critical_are_nothing_that_users_notice() -> None:
    found = judged(before(20, 5.0), series(10, 5.0), policy_of(critical=False))
    assert (found.verdict, found.conclusive) == (WARNING, False)
    assert "add a source" in render(found.summary)


def test_a_metric_without_values_is_told() -> None:
    policy = policy_of(name="cache_hits")
    found = judge(make_pre(), make_series(10), policy, make_window(10))
    check = check_of(found, "cache_hits")
    assert (found.verdict, check.outcome, found.basis.unmeasured) == (OK, "skipped", ("cache_hits",))
    assert render(check.fact) == "cache hits: not judged, not measured by the source"
    assert "cache hits" in render(found.summary)


def test_check_and_hint_say_what_fell_with_its_unit() -> None:
    policy = policy_from_dict(
        {"custom_metrics": [{"name": "checkouts_per_minute", "kind": "rate", "critical": True, "unit": "€/min"}]}
    )
    pre, post = (
        [replace(one, custom={"checkouts_per_minute": one.custom["jobs"]}) for one in side]
        for side in (before(20, 42.0, noise=0.0), series(5, 3.0, noise=0.0))
    )
    window = make_window(5)
    verdict = judge(pre, post, policy, window)
    check = check_of(verdict, "checkouts_per_minute")
    assert render(check.fact).startswith("checkouts per minute fell from 42 €/min to 3 €/min in 4 of 4 samples")
    assert (check.details["unit"], check.details["kind"], check.observed, check.baseline) == (
        "€/min",
        "rate",
        3.0,
        42.0,
    )
    [hint] = [hint for hint in hints(verdict, pre, post, window) if hint.code == "custom_metric"]
    columns = hint_columns(hint)
    assert (columns["severity"], columns["metric"]) == ("critical", "checkouts_per_minute")
    assert columns["title"] == "checkouts per minute fell from 42 €/min to 3 €/min"
    stored = json.loads(json.dumps({**verdict_json(verdict), "policy": verdict.policy}))
    assert read_recorded(stored).verdict == verdict


def test_a_clear_move_is_an_early_rollback_and_a_passing_one_is_not() -> None:
    window = make_window(10, final=False)
    found = judge_early(before(20, 42.0), series(5, 1.0), policy_of(direction="down_is_bad"), window)
    assert found is not None
    assert found.failed_metrics == ("jobs",)
    back = series(5, lambda i: 1.0 if i < 4 else 41.0)
    assert judge_early(before(20, 42.0), back, policy_of(direction="down_is_bad"), window) is None


@pytest.mark.parametrize("builtin", ["error_rate", "latency_p95"])
@pytest.mark.parametrize("factor", [0.3, 1.0, 1.02, 4.0, 60.0])
def test_a_custom_metric_with_the_same_numbers_and_margins_is_judged_like_the_built_in_one(
    builtin: str, factor: float
) -> None:
    usual = {"error_rate": 0.004, "latency_p95": 118.0}[builtin]
    lines = NORMAL
    margins: dict[str, dict[str, Any]] = {
        "error_rate": {
            "kind": "ratio",
            "warning": {"relative": lines.error_ratio, "absolute": lines.error},
            "rollback": {"absolute": lines.error_rollback},
        },
        "latency_p95": {
            "warning": {"relative": lines.latency_ratio, "absolute": lines.latency_ms},
            "rollback": {"relative": lines.latency_rollback_ratio, "absolute": lines.latency_rollback_ms},
        },
    }
    pre, post = make_pre(20, **{builtin: usual}), make_series(10, **{builtin: usual * factor})
    same = [[replace(one, custom={"jobs": getattr(one, builtin)}) for one in side] for side in (pre, post)]
    found = judge(same[0], same[1], policy_of(**margins[builtin]), make_window(10))
    own, custom = check_of(found, builtin), check_of(found, "jobs")
    assert own.outcome == custom.outcome


numbers = st.floats(min_value=-1e18, max_value=1e18, allow_nan=False)
samples = st.lists(
    st.builds(
        lambda minute, custom, rate, origin: Sample(
            NOON + timedelta(minutes=minute), requests_per_sec=rate, custom=custom, origin=origin
        ),
        st.integers(-40, 20),
        st.dictionaries(st.sampled_from(["jobs", "other"]), numbers, max_size=2),
        st.none() | st.floats(0.0, 1e9),
        st.sampled_from(["pre", "history", "post"]),
    ),
    max_size=9,
)
metrics = st.fixed_dictionaries(
    {"kind": st.sampled_from(["gauge", "ratio", "rate", "count"])},
    optional={
        "direction": st.sampled_from(["up_is_bad", "down_is_bad", "either"]),
        "unit": st.sampled_from(["/min", "jobs", "%"]),
        "critical": st.booleans(),
        "smallest": st.floats(0.0, 1e9),
        "warning": st.sampled_from([{"relative": 0.2}, {"absolute": 5.0}, {"relative": 0.01, "absolute": 1e-9}]),
    },
)


@given(pre=samples, post=samples, metric=metrics, kind=st.sampled_from(["adaptive", "fixed"]))
@settings(max_examples=200)
def test_any_values_of_any_metric_get_a_verdict(
    pre: list[Sample], post: list[Sample], metric: dict[str, Any], kind: str
) -> None:
    read = policy_from_dict({"kind": kind, "custom_metrics": [{"name": "jobs", **metric}]})
    window = Window(expected=5, evaluated_at=NOON)
    verdict = judge(pre, post, read, window)
    stored = json.loads(json.dumps({**verdict_json(verdict), "policy": verdict.policy}, allow_nan=False))
    assert read_recorded(stored).verdict == verdict
    json.dumps([hint_columns(hint) for hint in hints(verdict, pre, post, window)], allow_nan=False)
    check: Check | None = next((check for check in verdict.checks if check.metric == "jobs"), None)
    if check is not None and not metric.get("critical", False):
        assert check.outcome != "critical"


def test_custom_metrics_change_nothing_about_the_five() -> None:
    pre, post = make_pre(20), make_series(10, latency_p95=200.0)
    both = [[replace(one, custom={"jobs": 5.0}) for one in side] for side in (pre, post)]
    plain = judge(pre, post, policy_from_dict({}), make_window(10))
    beside = judge(both[0], both[1], policy_of(), make_window(10))
    assert [check for check in beside.checks if check.metric in METRICS] == list(plain.checks)
    assert (beside.verdict, beside.confidence, beside.summary) == (plain.verdict, plain.confidence, plain.summary)


NIGHT = tuple(EarlierDay(days, {"jobs": 42.0 + days}, {"jobs": (42.0 + days) * 0.3}) for days in (1, 2, 7))


@pytest.mark.parametrize("kind", ["adaptive", "fixed"])
@pytest.mark.parametrize(
    ("days", "now", "outcome"),
    [
        ((), 12.6, "warning"),
        (NIGHT, 12.6, "ok"),
        (NIGHT, 15.0, "ok"),
        (NIGHT, 1.0, "critical"),
        # What usually falls at this hour, and stays, is no finding where down is bad.
        (NIGHT, 42.0, "ok"),
        # Days that disagree predict nothing.
        ((NIGHT[0], EarlierDay(2, {"jobs": 40.0}, {"jobs": 80.0})), 12.6, "warning"),
        (
            tuple(EarlierDay(n, {"other": 9.0, "jobs": 0.0}, {"other": 1.0, "jobs": 5.0}) for n in (1, 2)),
            12.6,
            "warning",
        ),
    ],
)
def test_what_falls_at_this_hour_on_earlier_days_is_no_fault(
    kind: str, days: tuple[EarlierDay, ...], now: float, outcome: str
) -> None:
    policy = policy_of(kind, kind="rate", unit="/min", direction="down_is_bad")
    window = make_window(10, earlier_days=days)
    assert check_of(judge(before(20, 42.0), series(10, now), policy, window), "jobs").outcome == outcome


def test_a_backlog_that_usually_grows_at_this_hour_is_no_fault() -> None:
    days = tuple(EarlierDay(n, {"jobs": 100.0}, {"jobs": 400.0}) for n in (1, 2, 7))
    pre, post, policy = before(20, 100.0), series(10, 400.0), policy_of(direction="up_is_bad")
    alone, usual = (judge(pre, post, policy, make_window(10, earlier_days=known)) for known in ((), days))
    assert (alone.verdict, usual.verdict) == (ROLLBACK, OK)
