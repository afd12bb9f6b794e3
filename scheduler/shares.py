"""How much of a poller each project may have at once. Pure.

A lane is what one project has of one kind of job. It may hold as many places as are still free, and no more: alone it
gets half of them, two greedy lanes get a third each, and a newcomer always finds room, while nobody is held back as
long as there is plenty. (Dynamic queue thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6, 1998.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from scheduler.registry import Job

EVENT_LOOP = ""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a poller may claim: up to `limit` jobs, none of the full kinds, none from the full lanes."""

    limit: int
    full_kinds: list[str]
    full_lanes: list[str]

    @property
    def restricted(self) -> bool:
        """Whether there may be due jobs that this opening leaves alone."""
        return bool(self.full_kinds or self.full_lanes)


def lane_of(job_type: str, fair_key: int | None) -> str:
    """The lane's name, as CLAIM in scheduler/store.py writes it; "" for jobs that share with nobody."""
    return "" if fair_key is None else f"{job_type}:{fair_key}"


class Shares:
    """The jobs that a poller holds, counted by pool and by lane.

    What waits on the event loop shares one pool of `capacity` places. Each kind that runs on threads has a pool of
    `thread_places`, so that no kind keeps another from being claimed; a claim may exceed these by its batch, because
    which kinds it gets is not known beforehand. on_thread: whether jobs of this kind run on threads.
    """

    def __init__(self, capacity: int, thread_places: int, on_thread: Callable[[str], bool]) -> None:
        self.capacity = capacity
        self.thread_places = thread_places
        self.on_thread = on_thread
        self.pools: dict[str, str] = {}
        self.used: Counter[str] = Counter()
        self.lanes: Counter[str] = Counter()

    def pool_of(self, job_type: str) -> str:
        pool = self.pools.get(job_type)
        if pool is None:
            pool = self.pools[job_type] = job_type if self.on_thread(job_type) else EVENT_LOOP
        return pool

    def free(self, pool: str) -> int:
        return (self.capacity if pool == EVENT_LOOP else self.thread_places) - self.used[pool]

    def add(self, job: Job) -> None:
        self.used[self.pool_of(job.job_type)] += 1
        if lane := lane_of(job.job_type, job.fair_key):
            self.lanes[lane] += 1

    def remove(self, job: Job) -> None:
        self.used[self.pool_of(job.job_type)] -= 1
        if lane := lane_of(job.job_type, job.fair_key):
            self.lanes[lane] -= 1
            if not self.lanes[lane]:
                del self.lanes[lane]

    def opening(self, kinds: list[str], most: int) -> Opening | None:
        """What to claim next, `most` jobs at the most; kinds: all there are. None: there is no place left."""
        full_kinds = [name for name in kinds if self.free(self.pool_of(name)) <= 0]
        if kinds and len(full_kinds) == len(kinds):
            return None
        places = self.free(EVENT_LOOP)
        if places <= 0:
            places = self.thread_places
        full_lanes = [
            lane for lane, held in self.lanes.items() if held >= self.free(self.pool_of(lane.rpartition(":")[0]))
        ]
        # Half of the free places: one claim must not give all of them to the lane that happens to come first.
        return Opening(min(most, (places + 1) // 2), full_kinds, full_lanes)
