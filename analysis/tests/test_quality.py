from datetime import timedelta
from typing import Any

import pytest

from analysis.judge.quality import assess
from analysis.judge.types import Quality, Sample, Window
from analysis.tests.samples import FINISH, make_miss, make_post, make_pre, make_sample, make_window
from explain.rendering import render
from projects.policy import FixedPolicy

ENOUGH = FixedPolicy().min_quality


def codes(quality: Quality) -> set[str]:
    return {issue.code for issue in quality.issues}


def message(quality: Quality, code: str) -> str:
    return next(render(issue.fact) for issue in quality.issues if issue.code == code)


def after(seconds: float, **window: Any) -> Window:
    """The window, judged so many seconds after finish."""
    return make_window(evaluated_at=FINISH + timedelta(seconds=seconds), **window)


POST = make_post()
REFUSED_BEFORE = make_miss(0, "refused", phase="pre")
EXPIRED = tuple(make_miss(index, "expired") for index in range(15))


@pytest.mark.parametrize(
    ("pre", "post", "window", "found", "words"),
    [
        pytest.param(make_pre(), POST, make_window(), [], "", id="a full window with PRE"),
        pytest.param(make_pre(), make_post(3), make_window(expected=3), [], "", id="a plan of three samples"),
        pytest.param(make_pre(), [POST[i] for i in (3, 0, 4, 2, 1)], make_window(), [], "", id="in any order"),
        pytest.param(make_pre(), make_post(7), after(420, expected=10, final=False), [], "", id="still running"),
        pytest.param(make_pre(), POST, after(236), [], "", id="clocks that differ by some seconds"),
        pytest.param(make_pre(), POST, make_window(evaluated_at=None), [], "", id="no time of evaluation"),
        (make_pre(), make_post(7), after(600, expected=10), ["incomplete_window"], "7 of 10"),
        (make_pre(), [], make_window(), ["no_post"], ""),
        ([], POST, make_window(misses=(REFUSED_BEFORE,)), ["no_pre", "failed_collections"], "connection refused"),
        ([make_sample(90, origin="pre")], POST, make_window(), ["post_before_pre"], "2 of 5"),
        (make_pre(), POST, after(200), ["future_samples"], "1 sample "),
        # A gap is measured in the window's own interval, and before the first sample as well.
        (make_pre(), [make_sample(second) for second in (0, 1, 2, 3, 5)], after(6, interval_s=1.0), ["gap"], ""),
        (make_pre(), make_post(7)[2:], after(400), ["gap"], ""),
        pytest.param(make_pre(), make_post(7)[2:], after(400, settle_s=120), [], "", id="after the settling time"),
    ],
)
def test_each_issue_is_named(
    pre: list[Sample], post: list[Sample], window: Window, found: list[str], words: str
) -> None:
    quality = assess(pre, post, window)
    assert codes(quality) == set(found)
    assert not found or words in message(quality, found[0])
    assert quality.issues or quality.score == 1.0
    if {*found} & {"no_post", "no_pre", "post_before_pre", "future_samples"}:
        assert quality.score < ENOUGH


def test_no_post_leaves_nothing_of_the_score_and_it_never_leaves_its_range() -> None:
    assert assess(make_pre(), [], make_window()).score == 0.0
    assert assess([], [], make_window(misses=EXPIRED)).score == 0.0


@pytest.mark.parametrize(("count", "enough"), [(1, False), (2, False), (3, True), (4, True)])
def test_few_post_samples_are_named_and_one_or_two_are_not_enough(count: int, enough: bool) -> None:
    window = make_window(evaluated_at=FINISH + timedelta(seconds=60 * count))
    quality = assess(make_pre(), make_post(count), window)
    assert codes(quality) == {"few_post_samples"}
    assert (quality.score >= ENOUGH) is enough
    assert str(count) in message(quality, "few_post_samples")


@pytest.mark.parametrize(("distance", "is_gap"), [(60, False), (108, False), (108.1, True), (120, True)])
def test_a_gap_is_more_than_one_point_eight_intervals(distance: float, is_gap: bool) -> None:
    post = [make_sample(0), make_sample(60), make_sample(120), make_sample(180), make_sample(180 + distance)]
    window = make_window(evaluated_at=FINISH + timedelta(seconds=400))
    assert ("gap" in codes(assess(make_pre(), post, window))) is is_gap


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


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ({"latency_p95": 0.12}, True),
        ({"latency_p95": [0.1, 0.1, 0.9, 0.1, 1.0]}, False),
        ({"latency_p95": 120.0}, False),
        ({"latency_p95": 0.12, "cpu_usage": 0.01}, False),
        ({"latency_p95": 0.12, "requests_per_sec": 0.0}, False),
    ],
)
def test_a_p95_below_a_millisecond_on_a_busy_service_looks_like_seconds(levels: dict[str, Any], told: bool) -> None:
    quality = assess([], make_post(5, **levels), make_window())
    assert ("looks_like_seconds" in codes(quality)) is told
