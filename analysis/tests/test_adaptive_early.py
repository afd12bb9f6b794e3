"""Early verdicts."""

import pytest

from analysis.judge.types import ROLLBACK
from analysis.tests.adaptive_samples import judged_early, make_misses, make_pre, make_series, make_window
from explain.rendering import render


def test_only_errors_are_called_out_after_two_samples() -> None:
    post = make_series(2, noisy=False, error_rate=1.0)
    assert judged_early(make_pre(), post[:1]) is None
    verdict = judged_early(make_pre(), post)
    assert verdict is not None
    assert verdict.verdict == ROLLBACK
    assert verdict.early
    assert "100 %" in render(verdict.summary)


def test_a_healthy_start_is_waited_for() -> None:
    for count in range(1, 10):
        assert judged_early(make_pre(), make_series(count)) is None


def test_a_cold_start_is_waited_for() -> None:
    post = make_series(4, latency_p95=lambda i: 118.0 * (1 + 40 * 0.4**i), error_rate=lambda i: 0.5 if i == 0 else 0.0)
    assert all(judged_early(make_pre(), post[:count]) is None for count in range(1, 5))


def test_some_errors_are_waited_for() -> None:
    assert judged_early(make_pre(), make_series(5, error_rate=0.06)) is None


@pytest.mark.parametrize(
    ("levels", "metric"),
    [
        ({"error_rate": 0.5}, "error_rate"),
        ({"latency_p95": 5_000.0}, "latency_p95"),
        ({"requests_per_sec": 0.0}, "requests_per_sec"),
        ({"memory_usage": 1.0}, "memory_usage"),
    ],
)
def test_an_overwhelming_breach_is_called_out_after_three_samples(levels: dict[str, float], metric: str) -> None:
    verdict = judged_early(make_pre(), make_series(3, noisy=False, **levels))
    assert verdict is not None
    assert verdict.checks[0].metric == metric
    assert render(verdict.checks[0].fact)


def test_an_endpoint_that_stopped_answering_is_called_out() -> None:
    window = make_window(5, misses=make_misses("refused", "timeout"), final=False)
    verdict = judged_early(make_pre(), [], window)
    assert verdict is not None
    assert verdict.verdict == ROLLBACK


def test_our_own_failures_are_waited_for() -> None:
    window = make_window(5, misses=make_misses("expired", "refused"), final=False)
    assert judged_early(make_pre(), [], window) is None


def test_an_endpoint_that_never_answered_is_waited_for() -> None:
    window = make_window(5, misses=make_misses("refused", "refused"), final=False)
    assert judged_early([], [], window) is None


def test_a_service_that_always_failed_is_not_called_out() -> None:
    broken = {"error_rate": 0.9}
    assert judged_early(make_pre(**broken), make_series(4, **broken)) is None
