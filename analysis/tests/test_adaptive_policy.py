"""Settings of the adaptive policy."""

from typing import Any

import pytest

from analysis.judge.types import OK, ROLLBACK, WARNING
from analysis.tests.adaptive_samples import check_of, judged, make_pre, make_series

HIGH = {"latency_p95": 900.0}
LOW = {"requests_per_sec": 5.0}
ABOVE_500_IN_THREE = {"latency_p95": lambda i: 600.0 if i in {4, 6, 8} else 100.0}
ERRORS_AT_FIRST = {"error_rate": lambda i: 0.3 if i < 5 else 0.002}


def limit(**metrics: float) -> dict[str, Any]:
    return {"limits": metrics}


@pytest.mark.parametrize(
    ("pre", "post", "policy", "verdict"),
    [
        # Sensitivity moves the lines.
        ({}, {"latency_p95": 150.0}, {"sensitivity": "low"}, OK),
        ({}, {"latency_p95": 150.0}, {"sensitivity": "normal"}, WARNING),
        ({}, {"latency_p95": 150.0}, {"sensitivity": "high"}, WARNING),
        ({}, {"latency_p95": 145.0}, {"sensitivity": "low"}, OK),
        ({}, {"latency_p95": 145.0}, {"sensitivity": "normal"}, OK),
        ({}, {"latency_p95": 145.0}, {"sensitivity": "high"}, WARNING),
        # A hard limit wins over the own level; of traffic it is a minimum.
        (HIGH, HIGH, {}, OK),
        (HIGH, HIGH, limit(latency_p95=500), ROLLBACK),
        ({}, {"latency_p95": 400.0}, {}, ROLLBACK),
        ({}, {"latency_p95": 400.0}, limit(latency_p95=500), OK),
        (LOW, LOW, limit(requests_per_sec=10), ROLLBACK),
        # The share beyond a limit is tolerated up to its tolerance.
        ({}, ABOVE_500_IN_THREE, {**limit(latency_p95=500), "tolerances": {"latency_p95": 0.2}}, ROLLBACK),
        ({}, ABOVE_500_IN_THREE, {**limit(latency_p95=500), "tolerances": {"latency_p95": 0.4}}, OK),
        # A metric that is not critical only warns, and one left out is not judged.
        ({}, HIGH, {}, ROLLBACK),
        ({}, HIGH, {"critical_metrics": ["error_rate"]}, WARNING),
        ({}, {"cpu_usage": 0.9}, {}, WARNING),
        ({}, {"cpu_usage": 0.9}, {"left_out": ["cpu_usage"]}, OK),
        # Warm-up can be longer.
        ({}, ERRORS_AT_FIRST, {}, WARNING),
        ({}, ERRORS_AT_FIRST, {"warmup_samples": 5}, OK),
    ],
)
def test_the_policy_decides(pre: dict[str, Any], post: dict[str, Any], policy: dict[str, Any], verdict: str) -> None:
    assert judged(make_pre(**pre), make_series(10, **post), policy).verdict == verdict


def test_a_check_names_the_hard_limit_and_a_metric_left_out_has_none() -> None:
    policy = {**limit(latency_p95=500), "left_out": ["cpu_usage"]}
    verdict = judged(make_pre(**HIGH), make_series(10, **HIGH), policy)
    assert check_of(verdict, "latency_p95").rule == "hard_limit"
    assert all(check.metric != "cpu_usage" for check in verdict.checks)
