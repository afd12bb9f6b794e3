"""What stands beside a verdict: whether the service is healthy, and what the verdict rests on."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from analysis.judge import judge
from analysis.judge.hints import hints
from analysis.judge.types import OK, ROLLBACK, WARNING, Sample, Verdict, Window
from analysis.tests.adaptive_samples import NOON, make_misses, make_pre, make_series, make_window
from analysis.texts.hints import facts_of
from explain.rendering import render
from projects.policy import policy_from_dict

pytestmark = pytest.mark.unit

KINDS = [{}, {"kind": "fixed"}]
IDLE: dict[str, Any] = {"requests_per_sec": 0.0, "latency_p95": None, "error_rate": 0.0}
THIN: dict[str, Any] = {"requests_per_sec": 0.1, "error_rate": 0.0, "noisy": False}


def judged(
    pre: list[Sample], post: list[Sample], policy: dict[str, Any] | None = None, window: Window | None = None
) -> Verdict:
    return judge(pre, post, policy_from_dict(policy or {}), window or make_window(max(5, len(post))))


def make_idle(count: int, **levels: Any) -> list[Sample]:
    """Samples of a service that nobody calls; no latency."""
    return [
        replace(sample, latency_p95=None) for sample in make_series(count, **{**IDLE, "latency_p95": 0.0, **levels})
    ]


@pytest.mark.parametrize("policy", KINDS, ids=str)
def test_a_usual_verdict_says_all_three(policy: dict[str, Any]) -> None:
    verdict = judged(make_pre(), make_series(10), policy)
    assert (verdict.verdict, verdict.conclusive, verdict.health.healthy) == (OK, True, "yes")
    basis = verdict.basis
    assert basis.requests == pytest.approx(30_000, rel=0.1)
    assert basis.requests_before == pytest.approx(60_000, rel=0.1)
    assert basis.pre_age_s == 120.0
    assert basis.exercised and not basis.doubts


@pytest.mark.parametrize("policy", KINDS, ids=str)
@pytest.mark.parametrize("busy_before", [True, False], ids=["PRE thin", "PRE idle"])
def test_a_version_that_nobody_used_is_not_cleared(policy: dict[str, Any], busy_before: bool) -> None:
    pre = (
        make_pre(requests_per_sec=0.001, error_rate=0.0) if busy_before else make_idle(20, start=-21, origin="baseline")
    )
    verdict = judged(pre, make_idle(5), policy)
    assert verdict.verdict == WARNING
    assert not verdict.conclusive
    assert verdict.confidence <= 0.5
    assert not verdict.basis.exercised
    assert verdict.health.healthy == "unknown"
    assert "not_exercised" in {doubt.code for doubt in verdict.basis.doubts}
    assert "Not conclusive" in render(verdict.summary)


def test_a_consumer_without_http_that_fell_idle_is_not_cleared() -> None:
    verdict = judged(make_idle(20, start=-21, origin="baseline", cpu_usage=0.4), make_idle(10, cpu_usage=0.01))
    assert not verdict.conclusive
    assert verdict.verdict == WARNING


def test_a_little_traffic_is_enough_to_have_been_used() -> None:
    verdict = judged(make_pre(**THIN), make_series(5, **THIN))
    assert verdict.basis.exercised
    assert (verdict.verdict, verdict.conclusive) == (OK, True)


def test_traffic_that_is_gone_is_a_rollback_and_conclusive() -> None:
    verdict = judged(make_pre(), make_idle(10))
    assert verdict.verdict == ROLLBACK
    assert verdict.conclusive
    assert verdict.health.healthy == "no"


def test_who_does_not_judge_traffic_is_not_asked_for_it() -> None:
    pre, post = make_idle(20, start=-21, origin="baseline"), make_idle(10)
    verdict = judged(pre, post, {"left_out": ["requests_per_sec", "latency_p95", "error_rate"]})
    assert (verdict.verdict, verdict.conclusive, verdict.health.healthy) == (OK, True, "unknown")


@pytest.mark.parametrize(
    ("levels", "count"),
    [
        ({"error_rate": 0.4}, 30),
        ({"error_rate": 0.06, "requests_per_sec": 20.0}, 30),
        ({"latency_p95": 4_000.0}, 30),
        ({"memory_usage": 0.96}, 30),
    ],
    ids=str,
)
def test_a_service_that_was_failing_before_is_ok_and_not_healthy(levels: dict[str, Any], count: int) -> None:
    pre, post, window = make_pre(count, **levels), make_series(10, **levels), make_window(10)
    verdict = judged(pre, post, window=window)
    assert verdict.verdict == OK
    assert verdict.health.healthy == "no"
    assert "already before" in render(verdict.health.reasons[0])
    assert "already before" in render(verdict.summary)
    (hint,) = hints(verdict, pre, post, window)
    assert (hint.code, hint.severity) == ("unhealthy_before", "warning")


def test_a_service_that_a_bad_deployment_before_left_failing_is_not_called_beyond_help() -> None:
    pre, post = make_pre(error_rate=0.4), make_series(10, error_rate=0.4)
    window = make_window(10, bad_predecessor=7)
    (hint,) = hints(judged(pre, post, window=window), pre, post, window)
    assert (hint.code, hint.text_key) == ("unhealthy_before", "unhealthy_before.predecessor")
    facts = facts_of(hint.text_key, hint.params, evidence=hint.evidence, roll_back=hint.roll_back)
    actions = [render(fact) for fact in facts.actions]
    assert "Read the verdict and the hints of #7: they name what it broke." in actions
    assert not [action for action in actions if "would not help" in action]


def test_a_fault_of_this_deployment_is_not_told_as_an_old_one() -> None:
    pre, post, window = make_pre(error_rate=0.05), make_series(10, error_rate=0.4), make_window(10)
    verdict = judged(pre, post, window=window)
    assert verdict.verdict == ROLLBACK
    assert verdict.health.healthy == "no"
    assert "unhealthy_before" not in {hint.code for hint in hints(verdict, pre, post, window)}


def test_the_own_limit_says_what_is_healthy() -> None:
    slow = {"latency_p95": 4_000.0}
    verdict = judged(make_pre(**slow), make_series(10, **slow), {"limits": {"latency_p95": 10_000}})
    assert (verdict.verdict, verdict.health.healthy) == (OK, "yes")


@pytest.mark.parametrize("policy", KINDS, ids=str)
def test_a_service_that_recovered_is_healthy(policy: dict[str, Any]) -> None:
    post = make_series(10, error_rate=lambda i: 0.5 if i < 6 else 0.002)
    verdict = judged(make_pre(), post, policy)
    assert verdict.verdict != OK
    assert verdict.health.healthy == "yes"


def test_an_end_of_few_requests_does_not_end_standing_errors() -> None:
    quiet: dict[str, Any] = {"requests_per_sec": 0.15, "noisy": False}
    pre = make_pre(6, error_rate=0.15, **quiet)
    verdict = judged(pre, make_series(5, error_rate=lambda i: [0.2, 0.2, 0.2, 0.0, 0.0][i], **quiet))
    assert (verdict.verdict, verdict.health.healthy) == (OK, "no")


def test_nothing_is_known_about_a_service_that_may_refuse_everything() -> None:
    pre = make_pre(15, latency_p95=120.0, cpu_usage=0.35)
    verdict = judged(pre, make_series(5, latency_p95=3.0, cpu_usage=0.05))
    assert (verdict.verdict, verdict.health.healthy) == (WARNING, "unknown")
    assert verdict.health.reasons


def test_one_failed_request_makes_no_service_unhealthy() -> None:
    post = make_series(5, requests_per_sec=0.3, error_rate=lambda i: 1 / 18 if i == 4 else 0.0, noisy=False)
    assert judged(make_pre(requests_per_sec=0.3, error_rate=0.0), post).health.healthy == "yes"


@pytest.mark.parametrize(
    ("answered", "healthy"), [(5, "no"), (0, "no"), (9, "yes")], ids=["stopped", "never since", "one timeout"]
)
def test_a_service_that_no_longer_answers_is_not_healthy(answered: int, healthy: str) -> None:
    misses = make_misses(*["timeout"] * (10 - answered), start=answered)
    verdict = judged(make_pre(), make_series(answered), window=make_window(10, misses=misses))
    assert verdict.health.healthy == healthy


def test_nothing_is_known_about_a_service_that_never_answered() -> None:
    window = make_window(5, misses=make_misses(*["refused"] * 5), endpoint_answered_before=False)
    assert judged([], [], window=window).health.healthy == "unknown"


@pytest.mark.parametrize("policy", KINDS, ids=str)
def test_samples_that_did_not_come_are_a_doubt(policy: dict[str, Any]) -> None:
    verdict = judged(make_pre(), make_series(1), policy, make_window(10))
    assert not verdict.conclusive
    assert verdict.basis.doubts


@pytest.mark.parametrize("policy", KINDS, ids=str)
def test_the_level_of_a_bad_predecessor_is_no_measure(policy: dict[str, Any]) -> None:
    bad = {"latency_p95": 700.0}
    verdict = judged(make_pre(**bad), make_series(10, **bad), policy, make_window(10, bad_predecessor=7))
    assert not verdict.conclusive
    assert verdict.verdict != OK
    assert "#7" in render(verdict.summary)


def test_pre_has_an_age() -> None:
    pre = [replace(sample, collected_at=sample.collected_at - timedelta(hours=3)) for sample in make_pre()]
    assert judged(pre, make_series(5)).basis.pre_age_s == pytest.approx(3 * 3600 + 120)
    assert judged([], make_series(5)).basis.pre_age_s is None
    late = make_window(5, finished_at=NOON)
    assert judged(make_pre(), [], window=late).basis.pre_age_s == 120.0


@pytest.mark.parametrize("count", [1, 6])
def test_standing_errors_of_few_requests_are_told_as_old(count: int) -> None:
    levels: dict[str, Any] = {"requests_per_sec": 0.5, "error_rate": 0.1, "noisy": False}
    verdict = judged(make_pre(count, **levels), make_series(5, **levels))
    assert verdict.health.healthy == "no"
    assert "already before" in render(verdict.health.reasons[0])
