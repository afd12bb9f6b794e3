"""Errors as counts: what PRE's requests tell of the rate, and how improbable POST's errors then are."""

import math
import random
from collections.abc import Callable

import pytest

from analysis.judge.adaptive.counts import Beta, log_tail, mean_rate, posterior
from analysis.judge.types import OK, ROLLBACK, WARNING, Check, Sample
from analysis.tests.adaptive_samples import check_of, judged, make_pre, make_series
from explain.rendering import render


# Three failed requests of the 47 of a minute, after eighteen minutes without any.
@pytest.mark.parametrize("minutes", [(1, 2, 3), (1, 3, 5), (1, 4, 5), (2, 3, 4), (3, 4, 5)])
def test_three_failed_requests_in_three_minutes_are_worth_a_look_whichever_minutes_those_are(minutes) -> None:
    rate = 47 / 60
    pre = make_pre(18, noisy=False, requests_per_sec=rate, error_rate=0.0)
    failing = [1 / 47 if minute in minutes else 0.0 for minute in range(1, 6)]
    post = make_series(5, noisy=False, requests_per_sec=rate, error_rate=lambda i: failing[i])
    assert judged(pre, post).verdict == WARNING


@pytest.mark.parametrize("failed", [3, 6, 9])
def test_errors_that_were_no_chance_are_worth_a_look_though_they_are_over(failed: int) -> None:
    pre = make_pre(18, noisy=False, requests_per_sec=47 / 60, error_rate=0.0)
    failing = [0.0, *[failed / 3 / 47] * 3, 0.0]
    post = make_series(5, noisy=False, requests_per_sec=47 / 60, error_rate=lambda i: failing[i])
    assert judged(pre, post).verdict != OK


def test_a_cold_start_and_a_single_failed_request_later_are_no_incident() -> None:
    pre = make_pre(18, noisy=False, requests_per_sec=0.78, error_rate=0.0)
    post = make_series(5, noisy=False, requests_per_sec=0.78, error_rate=lambda i: [0.3, 0.0, 0.0, 1 / 47, 0.0][i])
    assert judged(pre, post).verdict == OK


Chance = Callable[[int], float]


def failing(rng: random.Random, count: int, requests: int, chance: Chance, *, before: bool = False) -> list[Sample]:
    """`count` samples of so many requests each, every one of which fails by chance."""
    failed = [sum(rng.random() < chance(i) for _ in range(requests)) for i in range(count)]
    rate = requests / 60.0
    make = make_pre if before else make_series
    return make(count, noisy=False, requests_per_sec=rate, error_rate=lambda i: failed[i] / requests)


def checks(pre: int, post: int, requests: int, before: Chance, after: Chance) -> list[Check]:
    found = []
    for seed in range(40):
        rng = random.Random(f"{pre} {post} {requests} {seed}")
        samples = failing(rng, pre, requests, before, before=True), failing(rng, post, requests, after)
        found.append(check_of(judged(*samples), "error_rate"))
    return found


def always(rate: float) -> Chance:
    return lambda _: rate


def share(found: list[Check], *outcomes: str) -> float:
    return sum(check.outcome in outcomes for check in found) / len(found)


# --- distributions -------------------------------------------------------------------------------------------------


def test_the_chance_of_errors_is_that_of_the_beta_binomial() -> None:
    # With a rate uniform in 0..1 every number of errors of ten is as probable: 1 of 11.
    uniform = (Beta(1.0, 1.0, 1.0),)
    for errors in (6, 8, 10):
        assert math.exp(log_tail(uniform, errors, 10)) == pytest.approx((11 - errors) / 11)


@pytest.mark.parametrize("requests", [100.0, 10_000.0, 300_000.0])
def test_more_errors_are_less_probable(requests: float) -> None:
    known = posterior(0.01 * requests, requests)
    chances = [log_tail(known, rate * requests, requests) for rate in (0.0, 0.005, 0.011, 0.015, 0.02, 0.05, 0.3, 1.0)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] == 0.0
    assert all(math.isfinite(chance) for chance in chances)


def test_what_is_known_before_gives_way_to_what_was_counted() -> None:
    assert mean_rate(posterior(0.0, 0.0)) < 0.05
    assert mean_rate(posterior(24.0, 120.0)) == pytest.approx(0.2, abs=0.01)
    assert mean_rate(posterior(0.0, 5000.0)) < 0.0003


# --- the same before and after -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pre", [1, 6, 30])
@pytest.mark.parametrize("requests", [30, 120, 300])
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_a_service_that_was_failing_already_is_not_blamed(pre: int, requests: int, rate: float) -> None:
    found = checks(pre, 10, requests, lambda _: rate, lambda _: rate)
    assert share(found, "critical") <= 1 / 40
    # A single sample of 30 requests often shows none of the errors.
    assert share(found, "ok") >= (0.8 if pre * requests == 30 else 0.9)


def test_bursts_that_were_there_before_are_no_change() -> None:
    rng = random.Random(1)
    found = checks(30, 10, 600, lambda _: rng.choice((0.0, 0.0, 0.2)), lambda _: rng.choice((0.0, 0.0, 0.2)))
    assert share(found, "ok") >= 0.93


@pytest.mark.parametrize("pre", [1, 30])
def test_no_check_says_that_errors_rose_from_a_rate_to_the_same(pre: int) -> None:
    for requests in (20, 120):
        for rates in ((0.2, 0.2), (0.4, 0.4), (0.4, 0.3), (0.02, 0.1)):
            before, after = map(always, rates)
            for check in checks(pre, 5, requests, before, after):
                assert check.observed is not None and check.baseline is not None and check.limit is not None
                assert check.limit >= check.baseline
                assert check.code == "errors_level" or check.observed > check.baseline


# --- more errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [(1, 2, 4), (2, 3, 4)])
def test_three_errors_in_three_minutes_after_none_are_a_warning(minutes: tuple[int, ...]) -> None:
    pre = make_pre(18, noisy=False, requests_per_sec=28 / 60, error_rate=0.0)
    post = make_series(5, noisy=False, requests_per_sec=28 / 60, error_rate=lambda i: 1 / 28 if i in minutes else 0.0)
    assert judged(pre, post).verdict == WARNING


def test_errors_of_a_single_minute_are_none() -> None:
    pre = make_pre(18, noisy=False, requests_per_sec=28 / 60, error_rate=0.0)
    post = make_series(5, noisy=False, requests_per_sec=28 / 60, error_rate=lambda i: 4 / 28 if i == 3 else 0.0)
    assert judged(pre, post).verdict == OK


@pytest.mark.parametrize("pre", [1, 30])
@pytest.mark.parametrize(
    ("before", "after", "outcomes"),
    [(0.002, 0.06, ("critical",)), (0.002, 0.018, ("warning",)), (0.2, 0.4, ("critical",)), (0.01, 0.0, ("ok",))],
)
def test_more_errors_are_found_at_moderate_traffic(
    pre: int, before: float, after: float, outcomes: tuple[str, ...]
) -> None:
    assert share(checks(pre, 10, 600, lambda _: before, lambda _: after), *outcomes) >= 0.95


def test_without_requests_no_request_failed() -> None:
    nothing = {"requests_per_sec": 0.0, "latency_p95": 0.0}
    check = check_of(
        judged(make_pre(error_rate=0.0, **nothing), make_series(5, error_rate=1.0, **nothing)), "error_rate"
    )
    assert check.outcome == "skipped"


# --- at first only -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pre", [1, 30])
@pytest.mark.parametrize("count", [5, 10, 15])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_errors_that_ended_are_no_rollback(pre: int, count: int, first: int) -> None:
    post = make_series(count, noisy=False, error_rate=lambda i: 1.0 if i < first else 0.002)
    assert judged(make_pre(pre), post).verdict != ROLLBACK


@pytest.mark.parametrize("pre", [1, 30])
@pytest.mark.parametrize(("count", "minutes"), [(10, range(3, 7)), (10, range(4, 7)), (15, range(6, 10))])
def test_errors_of_mid_window_are_no_rollback_once_the_last_third_is_well(pre: int, count: int, minutes: range) -> None:
    post = make_series(count, noisy=False, error_rate=lambda i: 1.0 if i in minutes else 0.002)
    assert judged(make_pre(pre), post).verdict == WARNING
    later = make_series(count, noisy=False, error_rate=lambda i: 1.0 if i - 1 in minutes else 0.002)
    assert judged(make_pre(pre), later).verdict == ROLLBACK


@pytest.mark.parametrize("pre", [1, 30])
@pytest.mark.parametrize("period", [2, 3])
def test_errors_that_come_back_are_a_crash_loop(pre: int, period: int) -> None:
    post = make_series(10, noisy=False, error_rate=lambda i: 0.7 if i % period == 1 else 0.002)
    assert judged(make_pre(pre), post).verdict == ROLLBACK


def test_bursts_as_before_are_no_crash_loop() -> None:
    pre = make_pre(30, noisy=False, error_rate=lambda i: 0.7 if i % 5 == 1 else 0.002)
    post = make_series(10, noisy=False, error_rate=lambda i: 0.7 if i % 5 == 1 else 0.002)
    assert judged(pre, post).verdict != ROLLBACK


# --- before the deployment -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [2, 4, 8])
def test_an_incident_that_began_before_is_not_blamed_on_the_deployment(minutes: int) -> None:
    pre = make_pre(30, noisy=False, error_rate=lambda i: 0.4 if i >= 30 - minutes else 0.002)
    check = check_of(judged(pre, make_series(10, noisy=False, error_rate=0.4)), "error_rate")
    assert check.outcome == "ok"
    assert check.baseline == pytest.approx(0.4)


def test_the_same_samples_before_and_after_are_no_finding() -> None:
    for seed in range(80):
        rng = random.Random(seed)
        count, usual = rng.randint(3, 15), rng.choice((0.0, 0.002, 0.05))
        rates = [rng.choice((usual, usual, usual, rng.random())) for _ in range(count)]
        pre = make_pre(count, noisy=False, error_rate=rates.__getitem__)
        post = make_series(count, noisy=False, error_rate=rates.__getitem__)
        assert check_of(judged(pre, post), "error_rate").outcome == "ok", seed


@pytest.mark.parametrize(("rate", "outcome"), [(0.02, "ok"), (1.0, "critical")])
def test_errors_of_a_service_that_had_no_requests_are_compared_with_what_is_usual(rate: float, outcome: str) -> None:
    pre = make_pre(20, requests_per_sec=0.0, latency_p95=0.0, error_rate=0.0)
    check = check_of(judged(pre, make_series(10, noisy=False, error_rate=rate)), "error_rate")
    assert check.outcome == outcome
    assert check.baseline is None
    assert "before the deployment there was no request" in render(check.fact)


def test_the_numbers_of_a_sentence_belong_together() -> None:
    post = make_series(10, noisy=False, error_rate=lambda i: 0.1 if i >= 6 else 0.002)
    check = check_of(judged(make_pre(noisy=False), post), "error_rate")
    assert check.observed == pytest.approx(check.details["errors"] / check.details["requests"], abs=0.001)
