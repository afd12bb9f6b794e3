import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.judge import judge
from analysis.judge.hints import hints
from analysis.judge.types import METRICS, OK, ROLLBACK, WARNING, Check, Sample, Verdict
from analysis.recorded import verdict_json
from analysis.tests.samples import make_miss, make_post, make_pre, make_sample, make_window
from explain.rendering import render
from projects.policy import FixedPolicy, policy_from_dict


def verdict_of(post: list[Sample], pre: list[Sample] | None = None, policy: Any = None, **window: Any) -> Verdict:
    pre = make_pre(3) if pre is None else pre
    return judge(pre, post, policy_from_dict({"kind": "fixed", **(policy or {})}), make_window(**window))


def check_of(verdict: Verdict, metric: str) -> Check:
    return next(check for check in verdict.checks if check.metric == metric)


def test_a_healthy_deployment_is_ok() -> None:
    verdict = verdict_of(make_post())
    assert (verdict.verdict, verdict.conclusive, verdict.failed_metrics) == (OK, True, ())
    assert verdict.policy == FixedPolicy().as_dict()


def test_every_metric_has_one_check_with_its_numbers() -> None:
    verdict = verdict_of(make_post(latency_p95=[342, 342, 342, 342, 100]))
    assert tuple(check.metric for check in verdict.checks) == METRICS
    check = check_of(verdict, "latency_p95")
    assert (check.limit, check.share, check.tolerance, check.baseline) == (270.0, 0.8, 0.20, 120.0)
    assert check.observed == pytest.approx(293.6)
    assert check.details["configured_limit"] == 300.0
    assert "above 270 ms" in render(check.fact) and "4 of 5 samples" in render(check.fact)


@pytest.mark.parametrize(
    ("levels", "expected", "failed"),
    [
        ({"error_rate": 0.05}, ROLLBACK, ("error_rate",)),
        ({"requests_per_sec": 20.0}, ROLLBACK, ("requests_per_sec",)),
        ({"latency_p95": 500.0}, WARNING, ("latency_p95",)),
        ({"cpu_usage": 0.95}, WARNING, ("cpu_usage",)),
        ({"memory_usage": 0.95}, WARNING, ("memory_usage",)),
        ({"memory_usage": 0.95, "error_rate": 0.3}, ROLLBACK, ("error_rate", "memory_usage")),
        ({"requests_per_sec": 500.0}, OK, ()),
    ],
)
def test_errors_and_traffic_are_critical_and_the_others_warn(
    levels: dict[str, Any], expected: str, failed: tuple[str, ...]
) -> None:
    verdict = verdict_of(make_post(**levels))
    assert (verdict.verdict, verdict.failed_metrics, verdict.conclusive) == (expected, failed, True)


@pytest.mark.parametrize(
    ("metric", "on_the_line", "above"),
    [
        ("latency_p95", 270.0, 270.01),
        ("error_rate", 0.009, 0.00901),
        ("cpu_usage", 0.72, 0.7200001),
        ("memory_usage", 0.72, 0.7200001),
    ],
)
def test_a_sample_on_the_secured_limit_is_not_above_it(metric: str, on_the_line: float, above: float) -> None:
    assert check_of(verdict_of(make_post(5, **{metric: on_the_line})), metric).share == 0.0
    assert check_of(verdict_of(make_post(5, **{metric: above})), metric).share == 1.0


def test_the_secured_limit_is_compared_in_decimals() -> None:
    # 0.9 × 0.7 is 0.63, in binary floats 0.6300000000000001 or less, by the order of the factors.
    for limit, line in [(0.7, 0.63), (0.8, 0.72), (0.3, 0.27), (0.9, 0.81), (0.07, 0.063)]:
        policy = {"cpu_usage": {"limit": limit}}
        assert check_of(verdict_of(make_post(cpu_usage=line), policy=policy), "cpu_usage").limit == line


@pytest.mark.parametrize(("bad", "fails"), [(1, False), (2, True)])
def test_a_share_equal_to_the_tolerance_is_tolerated(bad: int, fails: bool) -> None:
    verdict = verdict_of(make_post(latency_p95=[400.0] * bad + [100.0] * (5 - bad)))
    assert ("latency_p95" in verdict.failed_metrics) is fails


@pytest.mark.parametrize(
    ("tolerance", "bad", "fails"), [(0.3, 3, False), (0.3, 4, True), (0.7, 7, False), (0.1, 1, False)]
)
def test_shares_are_compared_exactly(tolerance: float, bad: int, fails: bool) -> None:
    # 0.1 + 0.1 + 0.1 > 0.3 in binary floats.
    policy = {"cpu_usage": {"tolerance": tolerance}}
    post = make_post(10, cpu_usage=[0.9] * bad + [0.1] * (10 - bad))
    assert ("cpu_usage" in verdict_of(post, policy=policy, expected=10).failed_metrics) is fails


def test_one_bad_sample_of_five_fails_the_error_rate() -> None:
    verdict = verdict_of(make_post(error_rate=[0, 0, 0.02, 0, 0]))
    assert verdict.verdict == ROLLBACK
    assert check_of(verdict, "error_rate").margin == pytest.approx(0.02 / 0.009)


@pytest.mark.parametrize(("level", "fails"), [(40.0, False), (39.99, True)])
def test_traffic_fails_more_than_a_fifth_below_the_pre_mean(level: float, fails: bool) -> None:
    verdict = verdict_of(make_post(requests_per_sec=level), make_pre(3, requests_per_sec=50.0))
    assert ("requests_per_sec" in verdict.failed_metrics) is fails


def test_traffic_on_the_line_is_exact_for_means_that_floats_miss() -> None:
    pre = [make_sample(-200 + second, requests_per_sec=level) for second, level in enumerate([0.7, 0.8, 0.9])]
    assert verdict_of(make_post(requests_per_sec=0.64), pre).verdict == OK


@pytest.mark.parametrize(("before", "outcome"), [(0.49, "skipped"), (0.5, "critical"), (0.0, "skipped")])
def test_thin_traffic_is_not_compared(before: float, outcome: str) -> None:
    verdict = verdict_of(make_post(requests_per_sec=0.0), make_pre(3, requests_per_sec=before))
    assert check_of(verdict, "requests_per_sec").outcome == outcome


@pytest.mark.parametrize("levels", [{}, {"error_rate": 1.0}, {"cpu_usage": 0.99}])
def test_without_pre_there_is_only_a_warning_that_is_not_conclusive(levels: dict[str, Any]) -> None:
    verdict = verdict_of(make_post(**levels), pre=[])
    assert (verdict.verdict, verdict.conclusive) == (WARNING, False)
    assert verdict.failed_metrics == tuple(levels)
    traffic = check_of(verdict, "requests_per_sec")
    assert traffic.outcome == "skipped" and "before the deployment" in render(traffic.fact)


@pytest.mark.parametrize("pre", [[], make_pre(3)])
def test_without_post_there_is_only_a_warning_that_is_not_conclusive(pre: list[Sample]) -> None:
    misses = tuple(make_miss(index, "timeout") for index in range(5))
    verdict = verdict_of([], pre, misses=misses)
    assert (verdict.verdict, verdict.conclusive, verdict.failed_metrics) == (WARNING, False, ())
    assert {check.outcome for check in verdict.checks} == {"skipped"}
    assert "no answer in time (5)" in render(verdict.summary)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_good_samples_never_read_as_ok(count: int) -> None:
    verdict = verdict_of(make_post(count))
    assert (verdict.verdict, verdict.conclusive) == (WARNING, False)
    assert f"only {count} sample" in render(verdict.summary)


def test_samples_that_precede_the_deployment_never_read_as_ok() -> None:
    verdict = verdict_of(make_post(), [make_sample(90, origin="pre")])
    assert (verdict.verdict, verdict.conclusive) == (WARNING, False)


def test_a_critical_breach_on_poor_data_is_a_rollback_that_says_so() -> None:
    verdict = verdict_of(make_post(2, error_rate=0.5))
    assert (verdict.verdict, verdict.conclusive) == (ROLLBACK, False)
    assert "only 2 samples" in render(verdict.summary)
    assert verdict.confidence < verdict_of(make_post(error_rate=0.5)).confidence


def test_which_metrics_are_critical_is_the_policys_choice() -> None:
    post = make_post(latency_p95=900.0, error_rate=0.5)
    policy = {"critical_metrics": ["latency_p95"]}
    verdict = verdict_of(post, policy=policy)
    assert verdict.verdict == ROLLBACK
    assert [check_of(verdict, metric).outcome for metric in ("latency_p95", "error_rate")] == ["critical", "warning"]
    assert verdict_of(post, policy={"critical_metrics": []}).verdict == WARNING


def test_an_override_replaces_one_number_and_keeps_the_others() -> None:
    post = make_post(latency_p95=900.0)
    assert verdict_of(post, policy={"latency_p95": {"limit": 1000.5}}).verdict == OK
    policy = policy_from_dict({"kind": "fixed", "latency_p95": {"limit": 1000}})
    assert (policy.latency_p95.tolerance, policy.error_rate) == (0.20, FixedPolicy().error_rate)


def test_a_bigger_deviation_makes_a_surer_verdict() -> None:
    levels = [0.012, 0.02, 0.05, 0.5]
    verdicts = [verdict_of(make_post(error_rate=level)) for level in levels]
    for smaller, bigger in itertools.pairwise(verdicts):
        assert smaller.confidence < bigger.confidence
        assert smaller.score < bigger.score


def test_a_second_signal_makes_a_surer_verdict() -> None:
    one = verdict_of(make_post(error_rate=0.05))
    assert verdict_of(make_post(error_rate=0.05, cpu_usage=0.73)).confidence > one.confidence


def test_an_ok_close_to_a_line_is_less_sure() -> None:
    far = verdict_of(make_post(latency_p95=50.0, cpu_usage=0.2, memory_usage=0.2))
    near = verdict_of(make_post(latency_p95=265.0))
    assert near.confidence < far.confidence
    assert near.score > far.score


def test_nonsense_of_any_size_still_gets_a_verdict() -> None:
    huge = 1.7e308
    verdict = verdict_of(make_post(latency_p95=huge, requests_per_sec=huge), make_pre(3, requests_per_sec=huge))
    assert verdict.verdict == WARNING
    assert len(render(verdict.summary)) < 400


ratio = st.floats(0, 1)
sample_lists = st.lists(
    st.builds(
        make_sample,
        st.integers(-900, 900),
        requests_per_sec=st.floats(0, 1e308),
        latency_p95=st.floats(0, 1e308),
        error_rate=ratio,
        cpu_usage=ratio,
        memory_usage=ratio,
    ),
    max_size=8,
)
BANDS = {OK: (0, 1 / 3), WARNING: (1 / 3, 2 / 3), ROLLBACK: (2 / 3, 1)}


@given(pre=sample_lists, post=sample_lists)
def test_every_verdict_keeps_its_promises(pre: list[Sample], post: list[Sample]) -> None:
    verdict = verdict_of(post, pre)
    low, high = BANDS[verdict.verdict]
    assert low <= verdict.score <= high
    assert 0 <= verdict.confidence <= 1
    assert verdict.verdict != OK or (verdict.conclusive and pre and post and not verdict.failed_metrics)
    severities = [hint.severity for hint in hints(verdict, pre, post, make_window())]
    assert ("critical" in severities) is (verdict.verdict == ROLLBACK)
    json.dumps(verdict_json(verdict), allow_nan=False)
