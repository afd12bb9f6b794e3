"""Too good to be true, and what looks like scaling."""

from typing import Any

import pytest

from analysis.judge.hints import hints
from analysis.judge.types import OK, WARNING
from analysis.tests.adaptive_samples import Change, check_of, judged, make_pre, make_series, make_window
from explain.rendering import render

pytestmark = pytest.mark.unit

REFUSED: dict[str, Change] = {"latency_p95": 3.0, "cpu_usage": 0.05}


def _hints(before: dict[str, Any], after: dict[str, Any], pre: int = 20) -> tuple[str, set[str]]:
    earlier, later, window = make_pre(pre, **before), make_series(5, **after), make_window(5)
    verdict = judged(earlier, later, window=window)
    return verdict.verdict, {hint.code for hint in hints(verdict, earlier, later, window)}


@pytest.mark.parametrize("pre", [1, 6, 30])
def test_an_endpoint_that_refuses_everything_quickly_is_too_good_to_be_true(pre: int) -> None:
    verdict, found = _hints({}, REFUSED, pre)
    assert verdict == WARNING
    assert "too_good_to_be_true" in found
    assert not found & {"latency_improved", "high_latency"}


@pytest.mark.parametrize("pre", [1, 6, 30])
@pytest.mark.parametrize(("count", "onset"), [(5, 2), (5, 3), (10, 5), (15, 7)])
def test_refusals_that_begin_in_mid_window_are_no_improvement(pre: int, count: int, onset: int) -> None:
    post = make_series(
        count,
        noisy=False,
        latency_p95=lambda i: 118.0 if i < onset else 3.0,
        cpu_usage=lambda i: 0.4 if i < onset else 0.05,
    )
    verdict = judged(make_pre(pre), post)
    assert verdict.verdict == WARNING
    assert "too good to be true" in render(verdict.summary)


@pytest.mark.parametrize(
    ("what", "after"),
    [
        ("an optimization", {"latency_p95": 45.0, "cpu_usage": 0.2}),
        ("an index", {"latency_p95": 12.0, "cpu_usage": 0.3}),
        ("cheaper work", {"latency_p95": 60.0, "cpu_usage": 0.1}),
        ("the same", {}),
    ],
)
def test_an_ordinary_improvement_is_no_riddle(what: str, after: dict[str, Any]) -> None:
    verdict, found = _hints({}, after)
    assert verdict == OK
    assert "too_good_to_be_true" not in found


def test_less_work_for_fewer_requests_is_no_riddle() -> None:
    found = judged(make_pre(), make_series(5, requests_per_sec=5.0, latency_p95=20.0, cpu_usage=0.05))
    assert not [check for check in found.checks if check.rule == "too_good"]


def test_a_consumer_that_stops_working_is_named() -> None:
    idle = {"requests_per_sec": 0.0, "latency_p95": 0.0, "error_rate": 0.0}
    verdict, found = _hints(idle, {**idle, "cpu_usage": 0.01})
    assert verdict == WARNING
    assert "too_good_to_be_true" in found
    _, found = _hints(idle, idle)
    assert "too_good_to_be_true" not in found


@pytest.mark.parametrize("factor", [0.5, 1 / 3, 0.2])
def test_traffic_and_cpu_that_fall_by_the_same_factor_look_like_scaling(factor: float) -> None:
    after = {"requests_per_sec": 50.0 * factor, "cpu_usage": 0.4 * factor}
    verdict, found = _hints({}, after)
    assert verdict == WARNING
    assert "looks_like_scaling" in found
    assert "traffic_below_baseline" not in found
    check = check_of(judged(make_pre(), make_series(5, **after)), "requests_per_sec")
    assert "looks like scaling" in render(check.fact)


@pytest.mark.parametrize(
    "after",
    [
        {"requests_per_sec": 25.0, "cpu_usage": 0.4},
        {"requests_per_sec": 25.0, "cpu_usage": 0.2, "latency_p95": 300.0},
        {"requests_per_sec": 25.0, "cpu_usage": 0.2, "error_rate": 0.1},
        {"requests_per_sec": 1.0, "cpu_usage": 0.01},
    ],
)
def test_lost_traffic_does_not_look_like_scaling(after: dict[str, Any]) -> None:
    assert "looks_like_scaling" not in _hints({}, after)[1]
