"""Positions in charts."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from analysis.charts import (
    AFTER_START,
    BEFORE_END,
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Before,
    Span,
    draw,
    is_near,
    overlay,
    scale,
    y_labels,
)
from analysis.judge.types import Check

START = datetime(2026, 2, 13, 10, 0, tzinfo=UTC)
FINISH = START + timedelta(minutes=3)


@dataclass
class FakeSample:
    phase: str
    sequence_index: int
    collected_at: datetime
    latency_p95: float | None = 100.0
    requests_per_sec: float = 10.0


def post(minute: float, value: float | None = 100.0, **kwargs: float) -> FakeSample:
    return FakeSample("post", round(minute), FINISH + timedelta(minutes=minute), value, **kwargs)


def pre(value: float = 100.0) -> FakeSample:
    return FakeSample("pre", 0, START, value)


def span(samples: int = 5, missed: tuple[float, ...] = ()) -> Span:
    return Span(START, FINISH, samples, 60.0, missed)


def found(metric: str, **levels: float) -> Check:
    return Check(metric, "a rule", "warning", "a code", **levels)


def test_what_the_judge_left_out_is_drawn_as_that_and_is_beyond_no_limit():
    window = [pre(), post(1, 900.0), post(2), post(3), post(4, 500.0), post(5)]
    check = replace(found("latency_p95", limit=200.0), details={"samples": 4})
    chart = draw("latency_p95", window, span(), check)
    assert [(point.kind, point.over) for point in chart.post] == [
        ("left-out", False),
        *[("post", False)] * 2,
        ("post", True),
        ("post", False),
    ]
    assert chart.over == 1
    # A check that does not say how many it looked at has looked at all of them.
    assert draw("latency_p95", window, span(), replace(check, details={})).over == 2


@pytest.mark.parametrize(
    ("limits", "drawn"),
    [
        ({"warning_limit": 150.0, "rollback_limit": 300.0}, [("warning", 150.0), ("rollback", 300.0)]),
        ({"warning_limit": 150.0, "rollback_limit": 5000.0}, [("warning", 150.0)]),
        ({}, [("", 150.0)]),
    ],
)
def test_both_limits_are_drawn_where_they_are_near(limits, drawn):
    check = replace(found("latency_p95", limit=150.0), details=limits)
    chart = draw("latency_p95", [pre(), post(1, 200.0), post(2, 210.0)], span(), check)
    assert [(line.name, line.value) for line in chart.limits] == drawn
    assert all(TOP <= float(line.y) <= BOTTOM for line in chart.limits)


IDLE = {"value": None, "requests_per_sec": 0.0}


def test_a_sample_without_requests_is_a_gap_in_the_latency_and_a_point_in_the_traffic():
    window = [pre(), post(1), post(2, **IDLE), post(3, 0.0, requests_per_sec=0.0), post(4), post(5)]
    latency, traffic = (draw(metric, window, span()) for metric in ("latency_p95", "requests_per_sec"))
    assert [point.value for point in latency.post] == [100.0, 100.0, 100.0]
    assert latency.after == 100.0
    assert [line.count(",") for line in latency.lines] == [2]
    assert [point.value for point in traffic.post] == [10.0, 0.0, 0.0, 10.0, 10.0]
    # The same places in time, whether or not the sample at the end has a latency.
    assert [point.x for point in draw("latency_p95", [post(1), post(5, **IDLE)], span()).post] == [latency.post[0].x]


def test_a_window_without_any_latency_is_drawn_empty():
    window = [post(minute, **IDLE) for minute in range(1, 6)]
    chart = draw("latency_p95", window, span(), found("latency_p95", limit=200.0))
    assert (chart.post, chart.lines, chart.before, chart.after, chart.band) == ((), (), None, None, None)
    both = overlay("latency_p95", (span(), window), (span(), [post(1), *window[1:]]))
    assert ([len(trace.points) for trace in (both.mine, both.other)], both.mine.lines) == ([0, 1], ())


def test_samples_before_and_after_stand_on_their_sides_of_the_deployment():
    chart = draw("latency_p95", [pre(), pre(), *(post(minute) for minute in range(1, 6))], span())
    assert all(LEFT < float(point.x) < BEFORE_END for point in chart.pre)
    xs = [float(point.x) for point in chart.post]
    assert xs == sorted(xs)
    assert xs[0] > AFTER_START
    assert xs[-1] <= RIGHT


def test_a_higher_value_stands_higher_and_all_stay_in_the_plot():
    chart = draw("latency_p95", [pre(0.0), post(1, 100.0), post(2, 250.0)], span())
    heights = [float(point.y) for point in (*chart.pre, *chart.post)]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] == BOTTOM
    assert heights[-1] > TOP


def test_the_line_is_broken_where_samples_are_missing():
    chart = draw("latency_p95", [post(1), post(2), post(4), post(5)], span())
    assert [line.count(",") for line in chart.lines] == [2, 2]


def test_a_latency_above_its_limit_is_marked_and_one_on_it_is_not():
    check = found("latency_p95", limit=270.0)
    chart = draw("latency_p95", [pre(900.0), post(1, 270.0), post(2, 270.1)], span(), check)
    assert [point.over for point in chart.post] == [False, True]
    assert not chart.pre[0].over


def test_traffic_is_marked_below_its_limit():
    samples = [post(1, requests_per_sec=7.9), post(2, requests_per_sec=8.0)]
    chart = draw("requests_per_sec", samples, span(), found("requests_per_sec", limit=8.0))
    assert [point.over for point in chart.post] == [True, False]


def test_lost_samples_have_their_place_on_the_axis():
    chart = draw("latency_p95", [post(1), post(3)], span(missed=(120.0,)))
    first, third = (float(point.x) for point in chart.post)
    assert first < float(chart.misses[0]) < third


def test_the_change_of_latency_is_relative():
    chart = draw("latency_p95", [pre(100.0), post(1, 150.0)], span())
    assert chart.change == pytest.approx(0.5)
    assert not chart.points_change


def test_nothing_is_compared_without_a_sample_from_before():
    chart = draw("latency_p95", [post(1)], span())
    assert (chart.before, chart.change, chart.baseline) == (None, None, None)


def earlier() -> Before:
    """One sample of each sort, the left-out one far above all others."""
    old, recent, bad = (FakeSample("baseline", 0, START - timedelta(minutes=ago), value) for ago, value in PAST)
    return Before(history=[old], baseline=[recent], left_out=[bad])


PAST = ((60 * 24, 80.0), (10, 120.0), (5, 9000.0))


def test_what_was_left_out_is_drawn_and_counts_for_nothing():
    chart = draw("latency_p95", [pre(100.0), post(1, 150.0)], span(), earlier=earlier())
    assert [point.kind for point in chart.pre] == ["history", "baseline", "left-out", "pre"]
    assert [point.over for point in chart.pre] == [False] * 4
    assert chart.before == pytest.approx(100.0)
    assert chart.compared == 3
    assert chart.band is not None
    assert (chart.band.low, chart.band.high) == (80.0, 120.0)


def test_everything_from_before_stands_there_in_the_order_of_time():
    chart = draw("latency_p95", [pre(100.0), post(1, 150.0)], span(), earlier=earlier())
    places = [float(point.x) for point in chart.pre]
    assert places == sorted(places)
    assert all(LEFT < place < BEFORE_END for place in places)


def test_before_and_after_are_the_levels_that_the_judge_compared():
    check = found("latency_p95", baseline=110.0, observed=140.0, limit=150.0)
    chart = draw("latency_p95", [pre(100.0), post(1, 250.0), post(2, 130.0)], span(), check)
    assert (chart.before, chart.after) == (110.0, 140.0)


def test_the_band_is_the_spread_that_the_judge_found():
    check = found("latency_p95", baseline=110.0, spread=15.0, limit=150.0)
    chart = draw("latency_p95", [pre(100.0), post(1, 150.0)], span(), check, earlier=earlier())
    assert chart.band is not None
    assert (chart.band.low, chart.band.high) == (95.0, 125.0)
    upper, lower = float(chart.band.y), float(chart.band.y) + float(chart.band.height)
    assert TOP <= upper < float(chart.baseline or 0) < lower <= BOTTOM


def test_one_sample_from_before_has_no_band():
    assert draw("latency_p95", [pre(100.0), post(1, 150.0)], span()).band is None


def test_a_band_stays_in_the_plot_whatever_the_judge_stored():
    for baseline, spread in ((0.0, 1e308), (1.7e308, 1.7e308), (5.0, 100.0), (0.0, 5e-324)):
        check = found("latency_p95", baseline=baseline, spread=spread)
        band = draw("latency_p95", [pre(), post(1)], span(), check).band
        assert band is not None
        assert TOP <= float(band.y) <= float(band.y) + float(band.height) <= BOTTOM + 0.1


@pytest.mark.parametrize("samples", [1, 2, 5, 10, 15, 720])
def test_the_time_axis_has_at_most_four_marks(samples):
    assert 1 <= len(draw("latency_p95", [post(1)], span(samples)).x_ticks) <= 4


def test_the_time_axis_has_its_marks_where_samples_are_due_after_the_settling_time():
    marks = draw("latency_p95", [post(6.5)], replace(span(), settle_s=90)).x_ticks
    assert [mark.label for mark in marks] == ["+210\N{NO-BREAK SPACE}s", "+330\N{NO-BREAK SPACE}s"]


def test_the_settling_time_takes_no_room_from_the_window():
    settled = draw("latency_p95", [post(61), post(64)], replace(span(missed=(3720.0,)), settle_s=3600))
    at_once = draw("latency_p95", [post(1), post(4)], span(missed=(120.0,)))
    assert [point.x for point in settled.post] == [point.x for point in at_once.post]
    assert settled.misses == at_once.misses
    assert [mark.at for mark in settled.x_ticks] == [mark.at for mark in at_once.x_ticks]


@pytest.mark.parametrize("most", [0.0, 5e-324, 1e-9, 0.003, 0.5, 1.0, 3.0, 7.7, 99.0, 301.0, 1e6, 1e22, 1.79e308])
@pytest.mark.parametrize("metric", ["latency_p95", "error_rate"])
def test_every_scale_has_readable_ticks(most, metric):
    top, step = scale([most], ratio=metric == "error_rate")
    labels = [label for _, label in y_labels(top, step, ratio=metric == "error_rate")]
    assert 2 <= len(labels) <= 5
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 9 for label in labels)


@pytest.mark.parametrize(
    ("limit", "values", "expected"),
    [
        (3.0, [1.0, 0.5], True),
        (3.1, [1.0, 0.5], False),
        (0.01, [0.0, 0.0], True),
        (5.0, [], True),
        (None, [1.0], False),
    ],
)
def test_a_limit_far_above_everything_is_not_drawn(limit, values, expected):
    assert is_near(limit, values) is expected
