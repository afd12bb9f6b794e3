"""Aggregate samples to buckets for charts. Pure; dashboard/environments/queries.py fills them by SQL.

A bucket keeps the lowest and the highest value beside the mean, so that a spike of one sample stays visible.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Larger values, which an endpoint may report, would overflow in SQL.
LARGEST = 1e150
# A gap is more than this many intervals without a sample.
GAP_INTERVALS = 1.8
# Buckets start at multiples of their length since then, so that they are stable between refreshes.
ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)
EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Range:
    """A selectable time range, with the seconds of its buckets and of the rows of its table."""

    name: str
    seconds: int
    bucket_s: int
    row_s: int

    @property
    def span(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    @property
    def days(self) -> float:
        return self.seconds / 86400


MINUTE, HOUR, DAY = 60, 3600, 86400
RANGES = (
    Range("1h", HOUR, 15, 5 * MINUTE),
    Range("6h", 6 * HOUR, MINUTE, 15 * MINUTE),
    Range("24h", DAY, 5 * MINUTE, HOUR),
    Range("7d", 7 * DAY, 30 * MINUTE, 6 * HOUR),
    Range("30d", 30 * DAY, 2 * HOUR, DAY),
)
DEFAULT_RANGE = RANGES[2]


@dataclass(frozen=True, slots=True)
class Level:
    """One metric in one bucket, in its unit: low <= mean <= high."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """Samples of a period. first, last: times of its first and last sample; levels: by metric, None where
    no sample has one (no latency without requests). part: number of the deployments of the chart that had begun: a
    period in which one began has two buckets, because what came before it must not be mixed with what came after."""

    start: datetime
    count: int
    first: datetime
    last: datetime
    levels: dict[str, Level | None]
    part: int = 0

    @property
    def middle(self) -> datetime:
        return self.first + (self.last - self.first) / 2


def range_of(value: str | None) -> Range:
    """Return the range named in the URL, else the default."""
    return next((one for one in RANGES if one.name == value), DEFAULT_RANGE)


def times_of(since: str | None, until: str | None) -> tuple[datetime, datetime] | None:
    """Return the times that a chart was zoomed to, in seconds since 1970; None where these are none."""
    try:
        begin, end = (datetime.fromtimestamp(int(text or ""), UTC) for text in (since, until))
    except (ValueError, OverflowError, OSError):
        return None
    return (begin, end) if timedelta(minutes=1) <= end - begin <= RANGES[-1].span else None


def range_for(span: timedelta) -> Range:
    """Return the shortest range that is as long: its buckets fit."""
    return next((one for one in RANGES if one.span >= span), RANGES[-1])


def merged(buckets: Sequence[Bucket], start: datetime) -> Bucket:
    """Merge one or more buckets, in order of time, to one that starts at `start`; keeps all samples and extremes."""
    count = sum(bucket.count for bucket in buckets)
    levels: dict[str, Level | None] = {}
    for metric in buckets[0].levels:
        parts = [(level, bucket.count) for bucket in buckets if (level := bucket.levels[metric]) is not None]
        if not parts:
            levels[metric] = None
            continue
        low, high = min(part.low for part, _ in parts), max(part.high for part, _ in parts)
        weight = sum(number for _, number in parts)
        mean = math.fsum(part.mean * (number / weight) for part, number in parts)
        # Rounding must not move the mean outside the measured range.
        levels[metric] = Level(low, min(max(mean, low), high), high)
    return Bucket(start, count, buckets[0].first, buckets[-1].last, levels)


def rows_of(buckets: Iterable[Bucket], row_s: int) -> list[Bucket]:
    """Return the samples in longer buckets, for the table."""
    groups: dict[datetime, list[Bucket]] = {}
    for bucket in buckets:
        groups.setdefault(begin_of(bucket.start, row_s), []).append(bucket)
    return [merged(group, start) for start, group in groups.items()]


def begin_of(moment: datetime, seconds: int) -> datetime:
    """Return the start of the bucket of this length that contains a time."""
    passed = (moment - ORIGIN).total_seconds()
    return ORIGIN + timedelta(seconds=math.floor(passed / seconds) * seconds)


def runs_of(buckets: Sequence[Bucket], interval_s: float) -> list[list[Bucket]]:
    """Return runs of buckets without a gap or a deployment in between. interval_s: usual seconds between samples.

    A line over a deployment would rise, or fall, before it.
    """
    runs: list[list[Bucket]] = []
    for bucket in buckets:
        apart = (bucket.first - runs[-1][-1].last).total_seconds() if runs else math.inf
        if apart > GAP_INTERVALS * interval_s + EPSILON or bucket.part != runs[-1][-1].part:
            runs.append([])
        runs[-1].append(bucket)
    return runs
