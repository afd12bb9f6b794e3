"""Settings of the adaptive policy."""

from __future__ import annotations

from analysis.judge.types import OK, ROLLBACK, WARNING
from analysis.tests.adaptive_samples import check_of, judged, make_pre, make_series


def test_sensitivity_moves_the_lines() -> None:
    post = make_series(10, latency_p95=150.0)
    verdicts = [judged(make_pre(), post, {"sensitivity": name}).verdict for name in ("low", "normal", "high")]
    assert verdicts == [OK, WARNING, WARNING]
    post = make_series(10, latency_p95=145.0)
    verdicts = [judged(make_pre(), post, {"sensitivity": name}).verdict for name in ("low", "normal", "high")]
    assert verdicts == [OK, OK, WARNING]


def test_a_hard_limit_wins_over_the_own_level() -> None:
    high = {"latency_p95": 900.0}
    verdict = judged(make_pre(**high), make_series(10, **high), {"limits": {"latency_p95": 500}})
    assert verdict.verdict == ROLLBACK
    assert check_of(verdict, "latency_p95").rule == "hard_limit"


def test_within_a_hard_limit_a_level_is_fine() -> None:
    post = make_series(10, latency_p95=400.0)
    assert judged(make_pre(), post).verdict == ROLLBACK
    assert judged(make_pre(), post, {"limits": {"latency_p95": 500}}).verdict == OK


def test_a_limit_for_traffic_is_a_minimum() -> None:
    low = {"requests_per_sec": 5.0}
    policy = {"limits": {"requests_per_sec": 10}}
    assert judged(make_pre(**low), make_series(10, **low), policy).verdict == ROLLBACK


def test_an_uncritical_metric_only_warns() -> None:
    post = make_series(10, latency_p95=900.0)
    assert judged(make_pre(), post).verdict == ROLLBACK
    assert judged(make_pre(), post, {"critical_metrics": ["error_rate"]}).verdict == WARNING


def test_a_metric_left_out_is_not_judged() -> None:
    verdict = judged(make_pre(), make_series(10, cpu_usage=0.9), {"left_out": ["cpu_usage"]})
    assert verdict.verdict == OK
    assert all(check.metric != "cpu_usage" for check in verdict.checks)


def test_the_share_beyond_a_limit_is_tolerated_up_to_its_tolerance() -> None:
    post = make_series(10, latency_p95=lambda i: 600.0 if i in {4, 6, 8} else 100.0)
    limit = {"latency_p95": 500}
    strict = judged(make_pre(), post, {"limits": limit, "tolerances": {"latency_p95": 0.2}})
    lenient = judged(make_pre(), post, {"limits": limit, "tolerances": {"latency_p95": 0.4}})
    assert (strict.verdict, lenient.verdict) == (ROLLBACK, OK)


def test_warm_up_can_be_longer() -> None:
    post = make_series(10, error_rate=lambda i: 0.3 if i < 5 else 0.002)
    assert judged(make_pre(), post).verdict != OK
    assert judged(make_pre(), post, {"warmup_samples": 5}).verdict == OK
