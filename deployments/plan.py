"""Plan the jobs that observe a window. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# Seconds by which a busy machine may start a job late, however short the interval.
SHORTEST_USE_S = 3.0


@dataclass(frozen=True, slots=True)
class PlannedSample:
    """One POST sample: its index in the window (1 … n), when it is due and when it expires."""

    sequence_index: int
    scheduled_at: datetime
    expires_at: datetime


def post_samples(start: datetime, count: int, interval_s: float) -> list[PlannedSample]:
    """Return the samples of a window: number i is due at its start + i intervals and expires when the next one is due.

    start: finish, or after the settling time that follows it. The first sample comes an interval later, because an
    endpoint reports the last minute, which would be a minute of the old version, or of its start.
    """
    due = [start + timedelta(seconds=index * interval_s) for index in range(1, count + 1)]
    return [PlannedSample(index, at, at + valid_for(interval_s)) for index, at in enumerate(due, start=1)]


def valid_for(interval_s: float) -> timedelta:
    """Return for how long after its due time a sample is still taken."""
    return timedelta(seconds=max(interval_s, SHORTEST_USE_S))


def analysis_due_at(start: datetime, count: int, interval_s: float) -> datetime:
    """Return when to judge at the latest: when the last sample expires. Usually the analysis is made due earlier."""
    return start + timedelta(seconds=count * interval_s) + valid_for(interval_s)


def pre_sample_expires_at(started_at: datetime, count: int, interval_s: float) -> datetime:
    """Return when the PRE sample expires: after one window."""
    return started_at + valid_for(count * interval_s)
