"""Levels: what comes and goes, what is over, how old PRE is, and the words of latency, cpu and memory."""

from dataclasses import replace
from datetime import timedelta

import pytest

from analysis.judge.adaptive.levels import Series, contrast
from analysis.judge.types import OK, ROLLBACK, WARNING, EarlierDay, Sample
from analysis.tests.adaptive_samples import check_of, judged, judged_early, make_pre, make_series, make_window
from explain.rendering import render

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("post", [5, 10, 15])
def test_latency_that_alternates_is_found_whatever_the_number_of_pre_samples(post: int, first: int) -> None:
    after = make_series(post, noisy=False, latency_p95=lambda i: 900.0 if i % 2 == first else 120.0)
    verdicts = {judged(make_pre(pre, noisy=False, latency_p95=120.0), after).verdict for pre in (3, 6, 8, 15, 30)}
    assert len(verdicts) == 1
    assert OK not in verdicts


@pytest.mark.parametrize("bad", [(2,), (1, 2)])
def test_one_run_of_slow_samples_in_the_middle_is_no_alternation(bad: tuple[int, ...]) -> None:
    assert judged(make_pre(), make_series(10, latency_p95=lambda i: 900.0 if i in bad else 118.0)).verdict == OK


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((31, 273, 2144, 873, 34), WARNING),
        ((31, 273, 2144, 873, 900), ROLLBACK),
        ((900, 900, 900, 900, 900, 900, 900, 900, 900, 30), WARNING),
        ((900, 900, 900, 900, 900, 900, 900, 900, 900, 900), ROLLBACK),
    ],
)
def test_what_is_over_before_the_end_is_not_rolled_back(values: tuple[float, ...], verdict: str) -> None:
    post = make_series(len(values), noisy=False, latency_p95=lambda i: values[i])
    assert judged(make_pre(latency_p95=29.0), post).verdict == verdict


def test_a_latency_that_comes_down_is_no_early_verdict() -> None:
    values = (31.0, 273.0, 2144.0, 873.0)
    pre = make_pre(latency_p95=29.0)
    for count in range(1, 5):
        assert judged_early(pre, make_series(count, noisy=False, latency_p95=lambda i: values[i])) is None
    assert judged_early(pre, make_series(6, latency_p95=900.0)) is not None


def _aged(samples: list[Sample], minutes: float) -> list[Sample]:
    return [replace(sample, collected_at=sample.collected_at - timedelta(minutes=minutes)) for sample in samples]


def test_an_old_pre_says_less_about_the_level() -> None:
    pre, post = make_pre(), make_series(10, latency_p95=165.0)
    fresh = judged(pre, post)
    old = judged(_aged(pre, 240.0), post)
    assert (check_of(old, "latency_p95").margin or 0.0) < (check_of(fresh, "latency_p95").margin or 0.0)
    assert fresh.verdict == WARNING
    assert judged(_aged(pre, 240.0), make_series(10, latency_p95=700.0)).verdict == ROLLBACK


def test_the_error_of_an_effect_grows_with_the_age_of_pre() -> None:
    series = Series([0.0] * 10, [-float(i) for i in range(10, 0, -1)], [0.0] * 4, [1.0, 2.0, 3.0, 4.0], [0.0] * 2)
    errors = [
        contrast(replace(series, age=age), sign=1.0, prior_noise=0.1, wander=0.01).whole_error
        for age in (0.0, 60.0, 180.0, 360.0, 9_999.0)
    ]
    assert errors == sorted(errors)
    assert errors[-1] == errors[-2]


def test_metrics_that_are_constantly_0_are_not_measured() -> None:
    zero = {"cpu_usage": 0.0, "memory_usage": 0.0}
    for before, after in ((zero, zero), (zero, {}), ({}, zero)):
        verdict = judged(make_pre(**before), make_series(5, **after))
        assert verdict.verdict == OK
        for metric in zero:
            check = check_of(verdict, metric)
            assert check.outcome == "skipped"
            assert "constantly 0" in render(check.fact)


def test_a_check_that_passed_beyond_its_limit_says_why() -> None:
    # Three times the traffic, and a p95 that the load explains.
    pre = make_pre(noisy=False, requests_per_sec=50.0, cpu_usage=0.3)
    post = make_series(10, noisy=False, requests_per_sec=150.0, cpu_usage=0.75, latency_p95=190.0)
    check = check_of(judged(pre, post), "latency_p95")
    assert check.outcome == "ok"
    assert (check.share or 0.0) > (check.tolerance or 0.0)
    assert "passed, because the traffic explains" in render(check.fact)
    # One PRE sample of a service whose cpu scatters widely, as its history shows.
    wild = make_series(20, start=-3000, origin="history", cpu_usage=lambda i: 0.1 if i % 2 else 0.7)
    check = check_of(judged([*make_pre(1, cpu_usage=0.4), *wild], make_series(5, cpu_usage=0.6)), "cpu_usage")
    assert check.outcome == "ok"
    assert "passed, because the service scatters by as much" in render(check.fact)


def test_no_sentence_says_rose_where_its_numbers_do_not() -> None:
    # A service whose latency follows its load, and stays as it was at half of the load.
    loads = [30.0 + 5.0 * (i % 10) for i in range(30)]
    pre = make_pre(30, noisy=False, requests_per_sec=lambda i: loads[i], latency_p95=lambda i: 118 * loads[i] / 50)
    post = make_series(10, noisy=False, requests_per_sec=25.0, latency_p95=118.0)
    check = check_of(judged(pre, post), "latency_p95")
    sentence = render(check.fact)
    assert check.observed is not None
    assert check.baseline is not None
    assert "rose" not in sentence or check.observed > check.baseline


def test_a_rise_at_this_hour_of_every_day_is_expected() -> None:
    def day(days_ago: int, after: float) -> EarlierDay:
        before = {"requests_per_sec": 50.0, "latency_p95": 118.0, "cpu_usage": 0.3}
        return EarlierDay(days_ago, before, {**before, "latency_p95": 118.0 * after, "cpu_usage": 0.3 * after})

    post = make_series(10, latency_p95=210.0, cpu_usage=0.52)
    for after, verdict in ((1.8, OK), (1.0, WARNING)):
        days = tuple(day(i, after) for i in range(1, 8))
        assert judged(make_pre(cpu_usage=0.3), post, window=make_window(earlier_days=days)).verdict == verdict
