from __future__ import annotations

from datetime import timedelta

import pytest

from analysis.judge.quality import assess
from analysis.judge.types import Quality
from analysis.tests.samples import FINISH, make_miss, make_post, make_pre, make_sample, make_window
from explain.rendering import render
from projects.policy import FixedPolicy

ENOUGH = FixedPolicy().min_quality


def codes(quality: Quality) -> set[str]:
    return {issue.code for issue in quality.issues}


def message(quality: Quality, code: str) -> str:
    return next(render(issue.fact) for issue in quality.issues if issue.code == code)


def test_a_full_window_with_pre_has_no_issues() -> None:
    assert assess(make_pre(), make_post(), make_window()) == Quality(score=1.0)


@pytest.mark.parametrize(("count", "enough"), [(1, False), (2, False), (3, True), (4, True)])
def test_few_post_samples_are_named_and_one_or_two_are_not_enough(count: int, enough: bool) -> None:
    window = make_window(evaluated_at=FINISH + timedelta(seconds=60 * count))
    quality = assess(make_pre(), make_post(count), window)
    assert codes(quality) == {"few_post_samples"}
    assert (quality.score >= ENOUGH) is enough
    assert str(count) in message(quality, "few_post_samples")


def test_a_plan_of_three_samples_does_not_miss_five() -> None:
    assert assess(make_pre(), make_post(3), make_window(expected=3)).issues == ()


def test_a_long_window_that_lost_samples_is_incomplete() -> None:
    quality = assess(make_pre(), make_post(7), make_window(expected=10, evaluated_at=FINISH + timedelta(minutes=10)))
    assert codes(quality) == {"incomplete_window"}
    assert "7 of 10" in message(quality, "incomplete_window")


def test_a_window_that_still_runs_is_not_called_incomplete() -> None:
    window = make_window(expected=10, final=False, evaluated_at=FINISH + timedelta(minutes=7))
    assert assess(make_pre(), make_post(7), window).issues == ()


def test_no_pre_says_why_it_is_missing() -> None:
    miss = make_miss(0, "refused", phase="pre")
    quality = assess([], make_post(), make_window(misses=(miss,)))
    assert codes(quality) == {"no_pre", "failed_collections"}
    assert "connection refused" in message(quality, "no_pre")
    assert quality.score < ENOUGH


def test_no_post_leaves_nothing_of_the_score() -> None:
    quality = assess(make_pre(), [], make_window())
    assert codes(quality) == {"no_post"}
    assert quality.score == 0.0


@pytest.mark.parametrize(("distance", "is_gap"), [(60, False), (108, False), (108.1, True), (120, True)])
def test_a_gap_is_more_than_one_point_eight_intervals(distance: float, is_gap: bool) -> None:
    post = [make_sample(0), make_sample(60), make_sample(120), make_sample(180), make_sample(180 + distance)]
    window = make_window(evaluated_at=FINISH + timedelta(seconds=400))
    assert ("gap" in codes(assess(make_pre(), post, window))) is is_gap


def test_a_gap_is_measured_in_the_windows_own_interval() -> None:
    post = [make_sample(second) for second in (0, 1, 2, 3, 5)]
    quality = assess(make_pre(), post, make_window(interval_s=1.0))
    assert "gap" in codes(quality)


def test_a_late_first_sample_is_a_gap_too() -> None:
    post = make_post(7)[2:]
    quality = assess(make_pre(), post, make_window(evaluated_at=FINISH + timedelta(seconds=400)))
    assert "gap" in codes(quality)


def test_samples_in_any_order_have_no_gaps() -> None:
    post = make_post()
    assert assess(make_pre(), [post[3], post[0], post[4], post[2], post[1]], make_window()).issues == ()


def test_post_older_than_pre_is_not_enough_for_a_verdict() -> None:
    pre = [make_sample(90, origin="pre")]
    quality = assess(pre, make_post(), make_window())
    assert codes(quality) == {"post_before_pre"}
    assert "2 of 5" in message(quality, "post_before_pre")
    assert quality.score < ENOUGH


def test_samples_from_the_future_are_not_enough_for_a_verdict() -> None:
    quality = assess(make_pre(), make_post(), make_window(evaluated_at=FINISH + timedelta(seconds=200)))
    assert codes(quality) == {"future_samples"}
    assert "1 sample " in message(quality, "future_samples")
    assert quality.score < ENOUGH


def test_clocks_may_differ_by_some_seconds() -> None:
    assert assess(make_pre(), make_post(), make_window(evaluated_at=FINISH + timedelta(seconds=236))).issues == ()


@pytest.mark.parametrize(("age_s", "stale"), [(300, False), (301, True)])
def test_post_is_stale_after_a_whole_window(age_s: int, stale: bool) -> None:
    window = make_window(evaluated_at=FINISH + timedelta(seconds=240 + age_s))
    assert ("stale_samples" in codes(assess(make_pre(), make_post(), window))) is stale


@pytest.mark.parametrize(("age_s", "stale"), [(1800, False), (1801, True)])
def test_pre_is_stale_half_an_hour_before_the_deployment(age_s: int, stale: bool) -> None:
    pre = [make_sample(-90 - age_s, origin="pre")]
    assert ("stale_samples" in codes(assess(pre, make_post(), make_window()))) is stale


def test_expired_and_failed_collections_are_told_apart_with_reasons() -> None:
    misses = (make_miss(1, "expired"), make_miss(2, "http_5xx"), make_miss(3, "timeout"), make_miss(4, "timeout"))
    quality = assess(make_pre(), make_post(), make_window(misses=misses))
    assert codes(quality) == {"expired_jobs", "failed_collections"}
    assert message(quality, "failed_collections").endswith("no answer in time (2), HTTP 5xx (1)")


def test_the_score_never_leaves_its_range() -> None:
    misses = tuple(make_miss(index, "expired") for index in range(15))
    assert assess([], [], make_window(misses=misses)).score == 0.0


def test_without_a_time_of_evaluation_nothing_is_future_or_stale() -> None:
    assert assess(make_pre(), make_post(), make_window(evaluated_at=None)).issues == ()
