"""Hints on the adaptive judge's checks: the same rules, other lines."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.judge import judge
from analysis.judge.adaptive import judge_early
from analysis.judge.hints import hints
from analysis.judge.types import Hint, Sample, Verdict
from analysis.recorded import hint_columns
from analysis.tests.samples import make_miss, make_post, make_pre, make_window
from projects.policy import AdaptivePolicy, policy_from_dict


def judged(post: list[Sample], **window: Any) -> tuple[Verdict, list[Hint]]:
    pre, seen = make_pre(15), make_window(**window)
    verdict = judge(pre, post, policy_from_dict({}), seen)
    return verdict, hints(verdict, pre, post, seen)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({}, []),
        ({"latency_p95": 240.0}, [("high_latency", "latency_p95", "warning")]),
        ({"latency_p95": 900.0}, [("persistent_breach", "latency_p95", "critical")]),
        ({"error_rate": 0.02}, [("high_error_rate", "error_rate", "warning")]),
        ({"error_rate": 0.3}, [("persistent_breach", "error_rate", "critical")]),
        ({"error_rate": 0.1, "latency_p95": 900.0}, [("service_degradation", "error_rate", "critical")]),
        ({"cpu_usage": 0.95, "latency_p95": 240.0}, [("compute_saturation", "cpu_usage", "warning")]),
        ({"error_rate": 0.2, "requests_per_sec": 9.0}, [("partial_outage", "requests_per_sec", "critical")]),
        ({"requests_per_sec": 1.0}, [("persistent_breach", "requests_per_sec", "critical")]),
        ({"memory_usage": [0.5, 0.54, 0.58, 0.62, 0.66]}, [("memory_growth", "memory_usage", "warning")]),
        ({"memory_usage": 0.75}, [("memory_growth", "memory_usage", "warning")]),
        ({"latency_p95": 40.0}, [("latency_improved", "latency_p95", "info")]),
    ],
    ids=str,
)
def test_the_signals_name_the_hints(levels: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    _, found = judged(make_post(**levels))
    assert [(hint.code, hint.metric, hint.severity) for hint in found] == expected


def test_a_service_that_answers_no_more_is_told_as_such_and_not_as_a_loss_of_traffic() -> None:
    verdict, found = judged(make_post(1), misses=tuple(make_miss(index, "refused") for index in range(1, 5)))
    assert verdict.verdict == "rollback_recommended"
    assert [(hint.code, hint.severity) for hint in found] == [("service_unreachable", "critical")]
    assert "connection refused (4)" in hint_columns(found[0])["cause"]


def test_an_early_verdict_on_a_dead_endpoint_tells_no_traffic() -> None:
    pre, window = make_pre(15), make_window(final=False, misses=tuple(make_miss(index, "refused") for index in (1, 2)))
    verdict = judge_early(pre, [], AdaptivePolicy(), window)
    assert verdict is not None
    [check] = verdict.checks
    assert (check.observed, check.limit, check.outcome) == (None, None, "critical")
    [hint] = hints(verdict, pre, [], window)
    assert (hint.code, hint.severity) == ("service_unreachable", "critical")
    assert hint_columns(hint)["title"] == "The service stopped answering: 2 of 2 collections failed"


def test_a_service_that_lost_its_traffic_is_not_called_slow() -> None:
    verdict, _ = judged(make_post(requests_per_sec=1.0))
    assert verdict.failed_metrics == ("requests_per_sec",)


def test_hints_count_the_samples_that_the_check_counted() -> None:
    verdict, [hint] = judged(make_post(error_rate=0.3))
    [check] = [check for check in verdict.checks if check.metric == "error_rate"]
    assert f"{check.details['over']} of {check.details['samples']} samples" in hint_columns(hint)["cause"]
