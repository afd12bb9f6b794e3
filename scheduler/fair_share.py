"""Fair sharing of a poller's places between tenants (projects). Pure.

A tenant queue holds the jobs of one kind of one tenant. It may take as many places as are still free, and no more:
alone it gets half of them, two busy queues get a third each, and a newcomer always finds room, while no queue is
limited as long as there is plenty. (Dynamic queue thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking
6, 1998.)
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from scheduler.registry import Job

EVENT_LOOP = ""


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """Limits of a claim: up to `limit` jobs, none of the full kinds, none from the full tenant queues."""

    limit: int
    full_kinds: list[str]
    full_queues: list[str]

    @property
    def restricted(self) -> bool:
        """Return whether these limits may exclude due jobs."""
        return bool(self.full_kinds or self.full_queues)


def tenant_queue(job_type: str, fair_key: int | None) -> str:
    """Return the queue's name, as CLAIM in scheduler/store.py writes it; "" for jobs without a tenant."""
    return "" if fair_key is None else f"{job_type}:{fair_key}"


class FairShare:
    """Count the jobs that a poller holds, by pool and by tenant queue.

    Kinds that run on the event loop share one pool of `capacity` places. Each kind that runs on threads, or apart, has
    a pool of `thread_places`, so that no kind blocks another; a claim may exceed these by its batch, because the kinds
    it gets are not known beforehand. has_own_pool: whether it is such a kind.
    """

    def __init__(self, capacity: int, thread_places: int, has_own_pool: Callable[[str], bool]) -> None:
        self.capacity = capacity
        self.thread_places = thread_places
        self.has_own_pool = has_own_pool
        self.pools: dict[str, str] = {}
        self.used: Counter[str] = Counter()
        self.queues: Counter[str] = Counter()

    def pool_of(self, job_type: str) -> str:
        pool = self.pools.get(job_type)
        if pool is None:
            pool = self.pools[job_type] = job_type if self.has_own_pool(job_type) else EVENT_LOOP
        return pool

    def free(self, pool: str) -> int:
        return (self.capacity if pool == EVENT_LOOP else self.thread_places) - self.used[pool]

    def add(self, job: Job) -> None:
        self.used[self.pool_of(job.job_type)] += 1
        if queue := tenant_queue(job.job_type, job.fair_key):
            self.queues[queue] += 1

    def remove(self, job: Job) -> None:
        self.used[self.pool_of(job.job_type)] -= 1
        if queue := tenant_queue(job.job_type, job.fair_key):
            self.queues[queue] -= 1
            if not self.queues[queue]:
                del self.queues[queue]

    def limits(self, kinds: list[str], most: int) -> ClaimLimits | None:
        """Return what to claim next, at most `most` jobs of these kinds; None where no place is free."""
        full_kinds = [name for name in kinds if self.free(self.pool_of(name)) <= 0]
        if kinds and len(full_kinds) == len(kinds):
            return None
        places = self.free(EVENT_LOOP)
        if places <= 0:
            places = self.thread_places
        full_queues = [
            queue for queue, held in self.queues.items() if held >= self.free(self.pool_of(queue.rpartition(":")[0]))
        ]
        # Half of the free places: one claim must not give all of them to the queue that happens to come first.
        return ClaimLimits(min(most, (places + 1) // 2), full_kinds, full_queues)
