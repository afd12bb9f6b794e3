"""From a window to the jobs that observe it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

# However short the interval, a busy machine may start a job this much late.
SHORTEST_USE_S = 3.0


@dataclass(frozen=True, slots=True)
class PlannedSample:
    """One POST sample: its place in the window (1 … n), when it is due, and until when it still says what it should."""

    sequence_index: int
    scheduled_at: datetime
    expires_at: datetime


def post_samples(finished_at: datetime, count: int, interval_s: float) -> list[PlannedSample]:
    """The samples of a window: number i is due at finish + i intervals and of use until the next one is due.

    The first one comes an interval after finish, not at finish: an endpoint reports the last minute, which would be a
    minute of the old version.
    """
    due = [finished_at + timedelta(seconds=index * interval_s) for index in range(1, count + 1)]
    return [PlannedSample(index, at, at + of_use(interval_s)) for index, at in enumerate(due, start=1)]


def of_use(interval_s: float) -> timedelta:
    """For how long after its time a sample is still taken."""
    return timedelta(seconds=max(interval_s, SHORTEST_USE_S))


def analysis_due_at(finished_at: datetime, count: int, interval_s: float) -> datetime:
    """When to judge at the latest: when the last sample can no longer come. Mostly it is woken long before."""
    return finished_at + timedelta(seconds=count * interval_s) + of_use(interval_s)


def pre_sample_expires_at(started_at: datetime, count: int, interval_s: float) -> datetime:
    """Until when a sample from before the deployment is tried for: one window."""
    return started_at + of_use(count * interval_s)
