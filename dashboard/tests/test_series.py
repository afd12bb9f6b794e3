"""Buckets, markers and the geometry of continuous charts, without a database."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.judge.types import METRICS
from dashboard.environments.chart import BOTTOM, ROOM, TOP, Frame, Mark, markers_of, timeline, timelines, x_ticks, zones
from dashboard.environments.series import (
    DEFAULT_RANGE,
    LARGEST,
    RANGES,
    Bucket,
    Level,
    begin_of,
    merged,
    range_for,
    range_of,
    rows_of,
    runs_of,
    times_of,
)
from dashboard.labels import VERDICTS

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
FRAME = Frame(START, START + timedelta(hours=1))
VALUES = st.floats(min_value=0.0, max_value=LARGEST)


def bucket(seconds: float, *values: float, lasted_s: float = 0.0) -> Bucket:
    """A bucket of these samples, which begins so many seconds after START; the same for every metric."""
    at = START + timedelta(seconds=seconds)
    level = Level(min(values), min(max(math.fsum(values) / len(values), min(values)), max(values)), max(values))
    last = at + timedelta(seconds=lasted_s)
    return Bucket(at, len(values), at, last, dict.fromkeys(METRICS, level))


BUCKETS = st.lists(st.lists(VALUES, min_size=1, max_size=5), min_size=1, max_size=30).map(
    lambda groups: [bucket(60 * place, *values) for place, values in enumerate(groups)]
)


@pytest.mark.parametrize("one", RANGES)
def test_a_range_has_about_three_hundred_buckets_and_a_table_that_can_be_read(one):
    assert 200 <= one.seconds / one.bucket_s <= 400
    assert 10 <= one.seconds / one.row_s <= 31
    assert one.row_s % one.bucket_s == 0


@pytest.mark.parametrize("value", [None, "", "2h", "1H", "30d ", "\u0667d", "\x00", "1h,6h"])
def test_a_range_that_is_none_is_the_default(value):
    assert range_of(value) is DEFAULT_RANGE


def test_every_range_can_be_asked_for():
    assert [range_of(one.name) for one in RANGES] == list(RANGES)


@given(BUCKETS)
def test_merging_keeps_every_sample_and_the_extremes(buckets):
    whole = merged(buckets, buckets[0].start)
    assert whole.count == sum(one.count for one in buckets)
    assert (whole.first, whole.last) == (buckets[0].first, buckets[-1].last)
    for metric in METRICS:
        level = whole.levels[metric]
        assert level.low == min(one.levels[metric].low for one in buckets)
        assert level.high == max(one.levels[metric].high for one in buckets)
        assert level.low <= level.mean <= level.high


@given(BUCKETS, st.sampled_from([60, 300, 3600]))
def test_the_rows_of_the_table_lose_nothing_and_stay_in_order(buckets, seconds):
    rows = rows_of(buckets, seconds)
    assert sum(row.count for row in rows) == sum(one.count for one in buckets)
    starts = [row.start for row in rows]
    assert starts == sorted(set(starts))
    assert all(row.start <= row.first for row in rows)


def test_the_mean_of_rows_weighs_every_sample_the_same():
    (row,) = rows_of([bucket(0, 10.0), bucket(60, 40.0, 40.0, 40.0)], 3600)
    assert row.levels["latency_p95"].mean == pytest.approx(32.5)


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)), st.sampled_from(RANGES))  # noqa: DTZ001
def test_buckets_begin_at_the_same_instants_from_one_look_to_the_next(moment, one):
    at = moment.replace(tzinfo=UTC)
    begin = begin_of(at, one.bucket_s)
    assert begin <= at < begin + timedelta(seconds=one.bucket_s)
    assert begin_of(begin, one.bucket_s) == begin


def test_a_line_ends_where_no_samples_came():
    runs = runs_of([bucket(0, 1), bucket(60, 1), bucket(168, 1), bucket(277, 1)], 60)
    assert [len(run) for run in runs] == [3, 1]


def test_a_gap_is_counted_from_the_last_sample_of_a_bucket():
    assert len(runs_of([bucket(0, 1, 1, lasted_s=50), bucket(150, 1)], 60)) == 1
    assert len(runs_of([bucket(0, 1, 1), bucket(150, 1)], 60)) == 2


@given(BUCKETS)
def test_everything_that_is_drawn_lies_in_the_plot(buckets):
    for chart in timelines(buckets, FRAME, interval_s=60, limits={"latency_p95": 300.0}):
        for points in (*chart.areas, *chart.lines):
            for pair in points.split(" "):
                x, y = map(float, pair.split(","))
                assert 0 <= x <= 1000
                assert TOP - 0.1 <= y <= BOTTOM + 0.1
        assert chart.total is not None
        assert chart.total.low <= chart.total.mean <= chart.total.high


def test_a_spike_of_one_sample_stays_visible():
    chart = timeline("latency_p95", [bucket(0, 100.0), bucket(60, *[100.0] * 59, 900.0)], FRAME, interval_s=60)
    (area,) = chart.areas
    assert min(float(pair.split(",")[1]) for pair in area.split(" ")) < TOP + 15
    assert chart.total is not None
    assert chart.total.high == 900.0


def test_a_bucket_between_two_gaps_is_a_dot():
    chart = timeline("latency_p95", [bucket(0, 1.0), bucket(600, 1.0), bucket(660, 1.0)], FRAME, interval_s=60)
    assert (len(chart.dots), len(chart.lines)) == (1, 1)


def test_without_samples_there_are_axes_and_nothing_else():
    chart = timeline("error_rate", [], FRAME, interval_s=60, limit=0.05)
    assert (chart.areas, chart.lines, chart.dots, chart.total, chart.latest) == ((), (), (), None, None)
    assert len(chart.y_ticks) >= 2


@pytest.mark.parametrize(("limit", "drawn"), [(90.0, True), (300.0, True), (301.0, False)])
def test_a_limit_far_above_everything_is_named_and_not_drawn(limit, drawn):
    chart = timeline("latency_p95", [bucket(0, 100.0), bucket(60, 50.0)], FRAME, interval_s=60, limit=limit)
    assert chart.limit is not None
    assert chart.limit.value == limit
    assert (chart.limit.y is not None) is drawn


@pytest.mark.parametrize("one", RANGES)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_the_time_axis_has_a_few_marks_at_round_times(one, zone):
    until = datetime(2026, 3, 20, 10, 17, 33, tzinfo=ZoneInfo(zone))
    ticks = x_ticks(Frame.before(until, one.span))
    assert 4 <= len(ticks) <= 8
    assert all((tick.moment.minute % 10, tick.moment.second) == (0, 0) for tick in ticks)
    if one.seconds > 86400:
        assert {tick.moment.hour for tick in ticks} == {0}


@pytest.mark.parametrize("one", RANGES)
@pytest.mark.parametrize("minutes", [0, 30, 90, 600])
@pytest.mark.parametrize("change", [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)])
def test_a_range_is_as_long_as_ever_where_the_clock_is_changed(one, minutes, change):
    paris = ZoneInfo("Europe/Paris")
    until = (change + timedelta(minutes=minutes)).astimezone(paris)
    frame = Frame.before(until, one.span)
    assert frame.until.timestamp() - frame.since.timestamp() == one.seconds
    assert frame.since.tzinfo is paris
    assert frame.place(until) == 100
    for part in (0.25, 0.5, 0.75):
        assert frame.place(until.astimezone(UTC) - part * one.span) == pytest.approx(100 - 100 * part)
    ticks = x_ticks(frame)
    places = [float(tick.at.rstrip("%")) for tick in ticks]
    assert 4 <= len(ticks) <= 8
    assert places == sorted(set(places))
    assert all((tick.moment.minute % 10, tick.moment.second) == (0, 0) for tick in ticks)
    if one.seconds > 86400:
        assert {tick.moment.hour for tick in ticks} == {0}


def test_windows_are_cut_to_the_frame():
    hour = timedelta(hours=1)
    windows = [
        (START - hour, START + hour / 2, "incident"),
        (START + hour / 2, START + 9 * hour, ""),
        (START - 2 * hour, START - hour, "long ago"),
    ]
    assert [(zone.x, zone.width) for zone in zones(windows, FRAME)] == [("0.00%", "50.00%"), ("50.00%", "50.00%")]


def mark(place: float, verdict: str = "ok") -> Mark:
    return Mark(place, START, VERDICTS[verdict], place)


def test_marks_next_to_each_other_become_one_at_the_place_of_the_gravest():
    close = [mark(10), mark(11, "rollback_recommended"), mark(12, "rollback_recommended"), mark(13, "warning")]
    markers = markers_of([mark(12 + ROOM), *close])
    assert [(marker.gravest.deployment, marker.count) for marker in markers] == [(12, 4), (12 + ROOM, 1)]
    assert markers[0].x == "12.00%"


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=100), st.sampled_from([*VERDICTS])), max_size=200))
def test_markers_count_every_deployment_and_keep_their_distance(marks):
    given_marks = [mark(*each) for each in marks]
    markers = markers_of(given_marks)
    assert sum(marker.count for marker in markers) == len(marks)
    places = [marker.gravest.place for marker in markers]
    assert all(later - earlier >= ROOM for earlier, later in pairwise(places))
    gravest = {key for key in ("critical", "warning", "ok") if any(one.status.key == key for one in given_marks)}
    shown = {marker.gravest.status.key for marker in markers}
    # Trouble is never hidden behind what went well.
    assert ("critical" in shown) == ("critical" in gravest)


@pytest.mark.parametrize(
    ("since", "until", "name"),
    [
        ("0", "3600", "1h"),
        ("0", "3601", "6h"),
        ("0", str(30 * 86400), "30d"),
        *((wrong, "3600", None) for wrong in (None, "", "x", "3599", "7200", "-99999999999999", "1e3", "²")),
        ("0", str(31 * 86400), None),
        ("0", "9" * 30, None),
    ],
)
def test_times_to_zoom_to(since: str | None, until: str, name: str | None) -> None:
    between = times_of(since, until)
    assert (between and range_for(between[1] - between[0]).name) == name
