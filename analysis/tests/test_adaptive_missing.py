"""Missing samples, missing PRE, history."""

from dataclasses import replace
from datetime import timedelta

import pytest

from analysis.judge.types import OK, ROLLBACK, WARNING
from analysis.tests.adaptive_samples import NOON, judged, make_misses, make_pre, make_series, make_window
from explain.facts import Fact
from explain.rendering import render


def test_samples_lost_at_random_do_not_hurt_a_healthy_deployment() -> None:
    post = [sample for i, sample in enumerate(make_series(10)) if i not in {2, 5, 6}]
    verdict = judged(make_pre(), post, window=make_window(10))
    assert verdict.verdict == OK
    assert verdict.conclusive


@pytest.mark.parametrize("reason", ["refused", "timeout", "http_5xx"])
def test_a_service_that_stopped_answering_is_to_be_rolled_back(reason: str) -> None:
    verdict = judged(make_pre(), [], window=make_window(5, misses=make_misses(*[reason] * 5)))
    assert verdict.verdict == ROLLBACK
    assert "answered before the deployment" in render(verdict.summary)


def test_a_service_that_dies_in_mid_window_is_to_be_rolled_back() -> None:
    window = make_window(10, misses=make_misses(*["refused"] * 5, start=5))
    assert judged(make_pre(), make_series(5), window=window).verdict == ROLLBACK


@pytest.mark.parametrize("reason", ["expired", "cancelled", "unauthorized", "blocked"])
def test_our_own_failures_are_no_evidence_against_the_service(reason: str) -> None:
    verdict = judged(make_pre(), [], window=make_window(5, misses=make_misses(*[reason] * 5)))
    assert verdict.verdict == WARNING
    assert not verdict.conclusive


def test_a_few_own_failures_leave_a_verdict() -> None:
    window = make_window(10, misses=make_misses("expired", "expired", start=8))
    verdict = judged(make_pre(), make_series(8), window=window)
    assert verdict.verdict == OK
    assert verdict.conclusive


def test_one_refused_collection_is_no_outage() -> None:
    window = make_window(10, misses=make_misses("refused"))
    assert judged(make_pre(), make_series(9, start=1), window=window).verdict == OK


def test_a_service_that_never_answered_is_no_outage_of_this_deployment() -> None:
    window = make_window(5, misses=make_misses(*["refused"] * 5))
    verdict = judged([], [], window=window)
    assert verdict.verdict == WARNING
    assert not verdict.conclusive


@pytest.mark.parametrize("count", [2, 3])
def test_a_service_that_is_back_for_the_last_third_is_at_most_a_warning(count: int) -> None:
    window = make_window(5, misses=make_misses(*["http_5xx"] * count))
    assert judged(make_pre(), make_series(5 - count, start=count), window=window).verdict in {OK, WARNING}
    errors = make_series(5 - count, start=count, error_rate=0.3)
    assert judged(make_pre(), errors, window=window).verdict == ROLLBACK


def test_a_service_that_is_back_for_one_sample_is_rolled_back() -> None:
    window = make_window(5, misses=make_misses(*["http_5xx"] * 4))
    assert judged(make_pre(), make_series(1, start=4), window=window).verdict == ROLLBACK


def test_failed_collections_of_the_warmup_are_forgiven_like_samples() -> None:
    window, post = make_window(10, misses=make_misses(*["refused"] * 3)), make_series(7, start=3)
    assert judged(make_pre(), post, {"warmup_samples": 0}, window).verdict == WARNING
    forgiven = judged(make_pre(), post, {"warmup_samples": 3}, window)
    assert forgiven.verdict == OK
    assert forgiven.conclusive
    # A service that stays down is no cold start.
    down = make_window(10, misses=make_misses(*["refused"] * 10))
    assert judged(make_pre(), [], {"warmup_samples": 3}, down).verdict == ROLLBACK


def test_warmup_is_counted_by_place_and_not_by_the_samples_that_came() -> None:
    # The first two of five collections failed, so the third one's sample is the third, and counts.
    window = make_window(5, misses=make_misses("expired", "expired"))
    post = make_series(3, start=2, latency_p95=lambda i: 900.0 if i == 0 else 118.0)
    check = next(c for c in judged(make_pre(), post, window=window).checks if c.metric == "latency_p95")
    assert check.details["samples"] == 3


def test_an_endpoint_that_never_answered_is_not_set_up_yet_and_blames_no_deployment() -> None:
    answer = Fact("samples", {"n": 3})
    misses = tuple(replace(miss, detail=answer) for miss in make_misses(*["http_4xx"] * 5))
    verdict = judged([], [], window=make_window(5, misses=misses, endpoint_answered_before=False))
    assert (verdict.verdict, verdict.conclusive, verdict.failed_metrics) == (WARNING, False, ())
    assert render(verdict.summary).startswith("Not set up yet: ")
    assert "the last time: 3 samples" in render(verdict.summary)
    assert [render(doubt) for doubt in verdict.basis.doubts] == ["the metrics endpoint has never answered with metrics"]


def test_an_endpoint_that_answers_something_else_is_a_warning() -> None:
    window = make_window(5, misses=make_misses(*["http_4xx"] * 5))
    assert judged(make_pre(), [], window=window).verdict == WARNING


def test_post_that_never_came_is_not_ok() -> None:
    verdict = judged(make_pre(), [], window=make_window(5))
    assert verdict.verdict == WARNING
    assert not verdict.conclusive


def test_samples_that_stop_coming_are_not_ok() -> None:
    verdict = judged(make_pre(), make_series(5), window=make_window(10))
    assert verdict.verdict == WARNING
    assert not verdict.conclusive
    assert "never came" in render(verdict.summary)


def test_a_single_sample_cannot_clear_a_deployment() -> None:
    verdict = judged(make_pre(), make_series(1), window=make_window(5, evaluated_at=None))
    assert verdict.verdict == WARNING
    assert not verdict.conclusive
    assert verdict.confidence <= 0.5


def test_two_samples_of_which_one_is_bad_cannot_clear_a_deployment() -> None:
    post = make_series(2, error_rate=lambda i: 0.5 * i)
    verdict = judged(make_pre(), post, window=make_window(5, evaluated_at=None))
    assert verdict.verdict == WARNING
    assert not verdict.conclusive


def test_a_healthy_first_deployment_is_ok_with_less_confidence() -> None:
    first, known = judged([], make_series(10)), judged(make_pre(), make_series(10))
    assert first.verdict == OK
    assert first.confidence < known.confidence


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [
        ({"error_rate": 0.3}, ROLLBACK),
        ({"error_rate": 0.025}, WARNING),
        ({"latency_p95": 3_000.0}, WARNING),
        ({"memory_usage": 0.99}, ROLLBACK),
        ({"cpu_usage": 0.99}, WARNING),
        ({"error_rate": lambda i: 0.001 if i < 5 else 0.3}, ROLLBACK),
        ({"latency_p95": lambda i: 100.0 if i < 5 else 190.0}, WARNING),
    ],
)
def test_a_first_deployment_is_judged_on_sanity_and_on_itself(levels: dict[str, float], verdict: str) -> None:
    assert judged([], make_series(10, **levels)).verdict == verdict


def test_history_shows_the_scatter_where_pre_is_thin() -> None:
    pre, post = make_pre(1, noisy=False), make_series(10, latency_p95=160.0)
    assert judged(pre, post).verdict == WARNING
    for latency, verdict in ((118.0, WARNING), (lambda i: 60.0 if i % 2 else 180.0, OK)):
        history = make_series(20, start=-3000, origin="history", latency_p95=latency)
        assert judged([*pre, *history], post).verdict == verdict


def test_a_fresh_sample_is_the_level_whatever_history_says() -> None:
    history = make_series(20, start=-3000, origin="history")
    slow = make_pre(1, noisy=False, latency_p95=300.0)
    assert judged([*slow, *history], make_series(10, latency_p95=290.0)).verdict == OK
    assert judged(history, make_series(10, latency_p95=290.0)).verdict == WARNING


def test_history_is_left_alone_where_pre_is_enough() -> None:
    history = make_series(20, start=-3000, origin="history", latency_p95=20.0)
    assert judged([*make_pre(), *history], make_series(10)).verdict == OK


def test_a_pre_sample_taken_after_finish_is_no_pre_sample() -> None:
    late = replace(make_series(1, error_rate=0.3)[0], origin="pre", collected_at=NOON + timedelta(seconds=30))
    pre = [*make_pre(1), late]
    post = make_series(10, start=1, error_rate=0.3)
    assert judged(pre, post, window=make_window(10, finished_at=NOON)).verdict == ROLLBACK
