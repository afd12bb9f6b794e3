"""Early verdicts: the judge on what has come so far, clear twice in a row."""

from typing import Any

import pytest

from analysis.judge.types import ROLLBACK, Sample, Window
from analysis.tests.adaptive_samples import judged_early, make_misses, make_pre, make_series, make_window
from explain.rendering import render

pytestmark = pytest.mark.unit

# The warm-up of a window of ten is two collections; two looks of two and three more.
FIRST = 5


def first_early(pre: list[Sample], post: list[Sample], *, expected: int = 10, **window: Any) -> int | None:
    """Return after how many samples the first early verdict came."""
    for count in range(len(post) + 1):
        if judged_early(pre, post[:count], make_window(expected, final=False, **window)) is not None:
            return count
    return None


@pytest.mark.parametrize(
    ("levels", "metric"),
    [
        ({"error_rate": 1.0}, "error_rate"),
        ({"error_rate": 0.3}, "error_rate"),
        ({"latency_p95": 5_000.0}, "latency_p95"),
        ({"requests_per_sec": 0.0}, "requests_per_sec"),
        ({"memory_usage": 1.0}, "memory_usage"),
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [20, 1])
def test_a_clear_fault_is_called_out_before_the_end(levels: dict[str, float], metric: str, before: int) -> None:
    post = make_series(8, noisy=False, **levels)
    # Memory that is full cannot be fuller, so that it takes two looks more.
    assert first_early(make_pre(before), post) in {FIRST, FIRST + 2}
    verdict = judged_early(make_pre(), post, make_window(10, final=False))
    assert verdict is not None
    assert (verdict.verdict, verdict.early, verdict.conclusive) == (ROLLBACK, True, True)
    assert metric in {check.metric for check in verdict.checks if check.outcome == "critical"}
    assert render(verdict.summary).startswith("Roll back now: ")
    assert verdict.policy["warmup_samples"] is None


def test_a_fault_from_mid_window_on_is_called_out() -> None:
    post = make_series(10, noisy=False, error_rate=lambda i: 0.002 if i < 5 else 0.5)
    assert first_early(make_pre(), post) in {8, 9}


@pytest.mark.parametrize(
    ("story", "levels"),
    [
        ("healthy", {}),
        ("errors below a rollback", {"error_rate": 0.02}),
        ("a cold start", {"latency_p95": lambda i: 118.0 * (1 + 40 * 0.4**i), "error_rate": lambda i: 0.5 * (i == 0)}),
        ("a bad warm-up", {"error_rate": lambda i: 1.0 if i < 2 else 0.002}),
        ("one bad minute", {"error_rate": lambda i: 1.0 if i == 4 else 0.002}),
        ("two bad minutes", {"error_rate": lambda i: 0.6 if i in {4, 5} else 0.002}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_may_end_well_is_waited_for(story: str, levels: dict[str, Any]) -> None:
    assert first_early(make_pre(), make_series(10, **levels)) is None


def test_a_spike_that_is_passing_is_waited_for_in_a_short_window() -> None:
    latency = (31.0, 273.0, 2144.0, 873.0, 34.0)
    post = make_series(5, noisy=False, latency_p95=lambda i: latency[i])
    assert first_early(make_pre(30, latency_p95=29.0), post, expected=5) is None


def test_a_service_that_always_failed_is_not_called_out() -> None:
    broken = {"error_rate": 0.9}
    assert first_early(make_pre(**broken), make_series(8, **broken)) is None


@pytest.mark.parametrize("failed", ["errors", "answers"])
def test_two_bad_ones_of_five_and_then_none_are_waited_for(failed: str) -> None:
    post = make_series(5, noisy=False, error_rate=lambda i: 1.0 if i < 2 else 0.002)
    if failed == "errors":
        assert first_early(make_pre(), post, expected=5) is None
    else:
        misses = make_misses("http_5xx", "http_5xx")
        assert judged_early(make_pre(), [], make_window(5, misses=misses, final=False)) is None
        assert first_early(make_pre(), post[2:], expected=5, misses=misses) is None


def missed(*reasons: str, start: int = 0, expected: int = 15) -> Window:
    return make_window(expected, misses=make_misses(*reasons, start=start), final=False)


def test_an_endpoint_that_stopped_answering_is_called_out() -> None:
    verdict = judged_early(make_pre(), [], missed(*["refused", "timeout"] * 4))
    assert verdict is not None
    assert verdict.verdict == ROLLBACK
    assert judged_early(make_pre(), make_series(4), missed(*["refused"] * 6, start=4)) is not None


@pytest.mark.parametrize(("expected", "failed"), [(5, 3), (10, 4), (15, 4)])
def test_a_service_that_answers_again_is_waited_for(expected: int, failed: int) -> None:
    window = make_window(expected, final=False, misses=make_misses(*["refused"] * failed))
    for answered in (1, 2, 3):
        assert judged_early(make_pre(), make_series(answered, start=failed), window) is None


def test_answers_that_fail_in_the_warm_up_do_not_count() -> None:
    assert judged_early(make_pre(), [], missed(*["http_5xx"] * 4)) is None
    assert judged_early(make_pre(), make_series(6, start=2), missed("http_5xx", "http_5xx")) is None


def test_our_own_failures_are_waited_for() -> None:
    assert judged_early(make_pre(), [], missed(*["expired", "cancelled"] * 4)) is None


def test_an_endpoint_that_never_answered_is_waited_for() -> None:
    assert judged_early([], [], missed(*["refused"] * 8)) is None
