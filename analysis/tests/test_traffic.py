"""Traffic against what was expected: PRE's level and course, its age, and the same minutes of earlier days."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from analysis.judge.types import OK, ROLLBACK, WARNING, EarlierDay, Sample
from analysis.tests.adaptive_samples import NOON, check_of, judged, make_pre, make_series, make_window
from explain.rendering import render

RPS = "requests_per_sec"
COUNTS = (1, 6, 15, 30)


def rates(count: int, rate: Callable[[float], float], *, last: int | None = None, seed: int = 1) -> list[Sample]:
    """`count` samples a minute apart of a rate by the minute since noon: from noon on, or up to minute `last`."""
    start = 0 if last is None else last - count + 1
    origin = "post" if last is None else "baseline"
    return make_series(count, start=start, origin=origin, seed=seed, requests_per_sec=lambda i: rate(start + i))


def outcomes(before: Callable[[float], float], after: Callable[[float], float], *, gap: int, count: int) -> list[str]:
    found: list[str] = []
    for seed in range(1, 21):
        pre, post = rates(count, before, last=-gap, seed=seed), rates(10, after, seed=seed)
        found.append(check_of(judged(pre, post), RPS).outcome)
    return found


def falling(minute: float) -> float:
    return 100.0 * math.exp(-0.01 * minute)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("gap", [5, 40])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_traffic_that_goes_on_as_it_went_is_fine(count: int, gap: int, sign: float) -> None:
    found = outcomes(lambda minute: falling(sign * minute), lambda minute: falling(sign * minute), gap=gap, count=count)
    assert found.count("ok") >= 19


@pytest.mark.parametrize("count", COUNTS)
def test_of_traffic_three_hours_ago_little_is_known(count: int) -> None:
    found = outcomes(lambda _: 200.0, lambda _: 80.0, gap=180, count=count)
    assert found.count("ok") >= 19
    assert "critical" not in found


@pytest.mark.parametrize(
    ("rate", "left", "gap", "count", "outcome"),
    [
        (50.0, 0.0, 3, 1, "critical"),
        (50.0, 0.0, 29, 20, "critical"),
        (0.5, 0.0, 3, 20, "critical"),
        (50.0, 0.05, 3, 20, "critical"),
        # An old PRE, and a loss that leaves an eighth, are reasons to look.
        (50.0, 0.0, 31, 20, "warning"),
        (50.0, 0.18, 3, 20, "warning"),
        (50.0, 0.4, 3, 1, "warning"),
        # Two requests may be missing by chance.
        (0.008, 0.0, 3, 20, "ok"),
    ],
)
def test_next_to_nothing_left_of_fresh_traffic_is_a_rollback(
    rate: float, left: float, gap: int, count: int, outcome: str
) -> None:
    check = check_of(judged(rates(count, lambda _: rate, last=-gap), rates(5, lambda _: rate * left)), RPS)
    assert check.outcome == outcome


def test_idle_traffic_is_not_compared() -> None:
    nothing = {RPS: 0.0, "latency_p95": 0.0, "error_rate": 0.0}
    check = check_of(judged(make_pre(**nothing), make_series(5, **nothing)), RPS)
    assert check.outcome == "skipped"


def day(days_ago: int, ratio: float) -> EarlierDay:
    return EarlierDay(days_ago, {RPS: 180.0 + 10.0 * days_ago}, {RPS: (180.0 + 10.0 * days_ago) * ratio})


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize(
    ("ratios", "left", "outcome"),
    [
        ((), 0.5, "warning"),
        # It halves every day at this hour; today it lost more than that.
        ((0.5, 0.52, 0.47, 0.5), 0.5, "ok"),
        ((0.5, 0.52, 0.47, 0.5), 0.25, "warning"),
        # Days that disagree, or that stay level, excuse nothing.
        ((0.5, 1.4, 1.0, 0.8, 1.2), 0.5, "warning"),
        ((1.0, 1.02, 0.98, 1.0), 0.5, "warning"),
    ],
)
def test_the_same_minutes_of_earlier_days_count_as_far_as_they_predict(
    count: int, ratios: tuple[float, ...], left: float, outcome: str
) -> None:
    window = make_window(10, earlier_days=tuple(day(at + 1, ratio) for at, ratio in enumerate(ratios)))
    pre = rates(count, lambda _: 200.0, last=-20)
    check = check_of(judged(pre, rates(10, lambda _: 200.0 * left), window=window), RPS)
    assert check.outcome == outcome


@pytest.mark.parametrize("count", [6, 15, 30])
@pytest.mark.parametrize("growth", [2.0, 3.0])
@pytest.mark.parametrize("still", [0.96, 1.0, 1.04])
def test_growth_of_earlier_days_that_stays_away_is_no_loss(count: int, growth: float, still: float) -> None:
    window = make_window(10, earlier_days=tuple(day(ago, growth) for ago in range(1, 8)))
    pre, post = rates(count, lambda _: 200.0, last=-2), rates(10, lambda _: 200.0 * still)
    assert check_of(judged(pre, post, window=window), RPS).outcome == "ok"
    lost = rates(10, lambda _: 80.0)
    assert check_of(judged(pre, lost, window=window), RPS).outcome == "warning"


def test_half_of_the_traffic_lost_together_with_errors_is_a_rollback() -> None:
    assert judged(make_pre(), make_series(10, requests_per_sec=22.0)).verdict == WARNING
    assert judged(make_pre(), make_series(10, requests_per_sec=22.0, error_rate=0.02)).verdict == ROLLBACK


def test_the_traffic_of_other_days_is_no_level() -> None:
    # History is of earlier deployments: the fresh sample says what traffic is today.
    history = [
        replace(one, origin="history", collected_at=one.collected_at - timedelta(days=3)) for one in make_pre(10)
    ]
    today = make_pre(1, requests_per_sec=20.0)
    assert judged([*history, *today], make_series(5, requests_per_sec=20.0)).verdict == OK
    assert all(one.collected_at < NOON for one in today)


def test_the_strength_rises_with_the_loss() -> None:
    margins = [
        check_of(judged(make_pre(noisy=False), make_series(10, noisy=False, requests_per_sec=50.0 * left)), RPS).margin
        for left in (1.0, 0.9, 0.8, 0.74, 0.7, 0.5, 0.2)
    ]
    assert None not in margins
    assert margins == sorted(margins, key=lambda margin: margin or 0.0)


def test_the_sentence_says_what_was_expected_where_that_is_not_what_was_before() -> None:
    window = make_window(10, earlier_days=tuple(day(ago, 0.5) for ago in range(1, 6)))
    pre, post = rates(20, lambda _: 200.0, last=-20), rates(10, lambda _: 40.0)
    expected = render(check_of(judged(pre, post, window=window), RPS).fact)
    assert "where 98 were expected" in expected
    assert "before: 19" in expected or "before: 20" in expected
    assert render(check_of(judged(pre, post), RPS).fact).startswith("traffic fell from ")
