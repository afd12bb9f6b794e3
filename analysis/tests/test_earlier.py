"""What earlier days, and PRE's own course, let one expect."""

import math

import pytest

from analysis.judge.adaptive.earlier import Shift, combined, course, line_through, of_earlier_days
from analysis.judge.types import EarlierDay

RPS = "requests_per_sec"


def days(*ratios: float) -> list[EarlierDay]:
    return [EarlierDay(at + 1, {RPS: 200.0}, {RPS: 200.0 * ratio}) for at, ratio in enumerate(ratios)]


@pytest.mark.parametrize(
    ("ratios", "ratio", "most_error"),
    [
        ((0.5, 0.52, 0.48, 0.5), 0.5, 0.1),
        ((0.5,), 0.5, 0.2),
        ((2.0, 2.1, 1.9), 2.0, 0.1),
        # One incident among good days hardly matters.
        ((0.5, 0.5, 0.5, 0.01, 0.5, 0.5, 0.5), 0.5, 0.25),
    ],
)
def test_days_that_agree_predict(ratios: tuple[float, ...], ratio: float, most_error: float) -> None:
    shift = of_earlier_days(days(*ratios), RPS)
    assert shift is not None
    assert math.exp(shift.change) == pytest.approx(ratio, rel=0.03)
    assert shift.error < most_error


@pytest.mark.parametrize("ratios", [(), (1.0,), (0.5, 2.0), (0.6, 1.5, 1.0, 0.7, 1.3)])
def test_days_that_disagree_or_show_no_change_predict_nothing(ratios: tuple[float, ...]) -> None:
    assert of_earlier_days(days(*ratios), RPS) is None
    assert of_earlier_days(days(0.5, 0.5), "cpu_usage") is None


def test_what_is_known_better_counts_more() -> None:
    shift = combined(Shift(0.0, 0.1), Shift(-0.6, 0.2), None)
    assert shift.change == pytest.approx(-0.12)
    assert shift.error < 0.1
    assert combined(None) == Shift()


def test_a_clear_slope_goes_on_and_an_unclear_one_does_not() -> None:
    minutes = [float(minute) for minute in range(-70, -40)]
    falling = line_through([5.0 - 0.01 * minute for minute in minutes], minutes, spread=0.03, rho=0.3)
    clear = course(falling.slope, falling.slope_error, 60.0)
    assert clear.change == pytest.approx(-0.6, abs=0.05)
    unclear = course(falling.slope, 2.0 * abs(falling.slope), 60.0)
    assert abs(unclear.change) < 0.1
    assert unclear.error > clear.error


def test_one_outlier_makes_no_slope() -> None:
    minutes = [float(minute) for minute in range(20)]
    line = line_through([5.0] * 19 + [1.0], minutes, spread=0.05, rho=0.3)
    assert abs(line.slope) < 2.0 * line.slope_error


def test_the_less_is_known_the_older_a_level_is() -> None:
    errors = [course(0.0, math.inf, minutes).error for minutes in (0.0, 5.0, 60.0, 180.0)]
    assert errors == sorted(errors)
    assert errors[0] == 0.0
    assert errors[-1] > 0.4
