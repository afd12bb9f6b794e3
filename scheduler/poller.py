"""The poller: claims due jobs in batches, runs them concurrently, and records their results in batches.

Collections wait on an event loop, `def` handlers compute on threads, and one thread runs all queries about jobs.
docs/architecture/ describes the rules; store.py has the SQL, fair_share.py the fairness, recorder.py the writing.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from django.db import Error, close_old_connections, connections
from django.db.backends.signals import connection_created

from common.batches import together_or_each
from common.database_state import state_of
from explain.facts import Fact
from scheduler.database import WORKER_PREFIX, DatabaseAway, DatabaseThread, is_outage, limit_worker
from scheduler.fair_share import ClaimLimits, FairShare
from scheduler.listener import Listener
from scheduler.queue import LONGEST_SLEEP_S
from scheduler.recorder import Recorder
from scheduler.recurring import plan_recurring
from scheduler.registry import Job, JobError, JobKind, grouped, kind_names, known_kind
from scheduler.store import JobStore, QueueSnapshot
from scheduler.tracing import forget_names
from scheduler.words import describe, facts

logger = structlog.get_logger(__name__)

# Measured: larger batches gained nothing end to end.
CLAIM_BATCH = 200
# Recurring jobs plan themselves; this only repairs a broken chain.
PLAN_RECURRING_EVERY_S = 300.0
# While others hold jobs: seconds between checks whether they live. Without a listener: seconds between claims.
CHECK_OTHERS_S = 1.0
POLL_WITHOUT_LISTENER_S = 1.0
# Due jobs that cannot be claimed are in another poller's uncommitted claim.
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.1
LONGEST_ERROR_PAUSE_S = 1.0
# A run that needs the database pauses for so long while it is out.
OUTAGE_PAUSE_S = 2.0
# After an outage the other pollers need time to reconnect before their silence means anything.
RECOVER_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class PollerOptions:
    """Options of a poller.

    capacity: concurrent jobs; threads: concurrent `def` handlers; lease_s: seconds until a silent poller's jobs are
    taken over; poll_s: longest sleep between two claims; grace_s: seconds that running jobs may take on SIGTERM before
    they are handed back.
    """

    capacity: int = 1000
    threads: int = 4
    lease_s: float = 30.0
    poll_s: float = 10.0
    grace_s: float = 6.0

    @property
    def thread_places(self) -> int:
        """Return how many jobs of one `def` kind are held: enough to prepare and record them in batches."""
        return self.threads * 32

    @property
    def heartbeat_s(self) -> float:
        """Return the seconds between heartbeats, which also renew the leases."""
        return min(self.poll_s, self.lease_s / 3, LONGEST_SLEEP_S)


class Poller:
    """One poller process. `run()` returns after `stop()`."""

    def __init__(self, options: PollerOptions | None = None) -> None:
        self.options = options or PollerOptions()
        self.host = socket.gethostname()
        self.name = f"{self.host}-{os.getpid()}-{secrets.token_hex(3)}"
        self.store = JobStore(self.name, self.options.lease_s)
        self.database = DatabaseThread()
        self.workers = ThreadPoolExecutor(self.options.threads, thread_name_prefix=WORKER_PREFIX)
        self.fair_share = FairShare(self.options.capacity, self.options.thread_places, has_own_places)
        self.held: dict[int, Job] = {}
        self.unstarted: list[Job] = []
        self.running: set[asyncio.Task[None]] = set()
        self.begun: set[int] = set()  # ids of the Job objects whose kind will call back
        self.gates: dict[str, asyncio.Semaphore] = {}
        self.stopping = self.restricted = self.others_work = False
        self.heartbeat_at = self.recover_at = self.plan_recurring_at = 0.0
        self.connections_seen = 0
        self.empty_claims = 0

    async def run(self) -> None:
        """Work until stop() is called, then let running jobs end, record them and hand back the rest."""
        self.woken, self.stopped = asyncio.Event(), asyncio.Event()
        self.recorder = Recorder(self.store, self.database, self)
        self.listener = Listener(asyncio.get_running_loop(), self.store, self.woken.set)
        logger.info("poller_started", poller=self.name, lease_s=self.options.lease_s, capacity=self.options.capacity)
        connection_created.connect(limit_worker)
        writer = asyncio.create_task(self.recorder.run())
        try:
            await self._work()
            await self._drain()
        finally:
            for task in (writer, *self.running):
                task.cancel()
            self.listener.close()
            with contextlib.suppress(DatabaseAway, Error, TimeoutError):
                handed_back = await asyncio.wait_for(self.database(self._sign_off), 2.0)
                logger.info("poller_stopped", poller=self.name, handed_back=handed_back)
            self.workers.shutdown(wait=False, cancel_futures=True)
            self.database.shutdown()

    def stop(self) -> None:
        """Ask run() to end; called on the loop's thread."""
        self.stopping = True
        self.stopped.set()
        self.woken.set()

    # Claiming

    async def _work(self) -> None:
        errors = 0
        while not self.stopping:
            try:
                wait_s = await self._look()
                errors = 0
            except Exception as error:
                # No error may end the poller: its jobs would have to wait for others to take them over.
                wait_s = min(0.25 * 2**errors, LONGEST_ERROR_PAUSE_S)
                if is_outage(error):
                    logger.error("database_away", state=state_of(error), error=str(error).strip(), next_try_s=wait_s)
                else:
                    logger.exception("looking_failed", next_try_s=wait_s)
                errors = min(errors + 1, 10)
                # The answer to a claim may be lost: the next heartbeat finds out, before anything else is claimed.
                self.heartbeat_at = 0.0
                self.recover_at = time.monotonic() + RECOVER_AFTER_S
            # After an error, notifications do not shorten the pause.
            event = self.stopped if errors else self.woken
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), wait_s)
            self.woken.clear()

    async def _look(self) -> float:
        """Claim and start due jobs; return the seconds until the next round."""
        reconnected = self.connections_seen not in (0, self.database.connections)
        if reconnected:
            # To another server, or to one that has lost what it had committed last: find out what it says of us.
            self.heartbeat_at, self.recover_at = 0.0, time.monotonic() + RECOVER_AFTER_S
            forget_names()
        if reconnected or self.listener.wanted:
            await self._connect_listener()
        now = time.monotonic()
        limits = self.fair_share.limits(kind_names(), CLAIM_BATCH)
        # Before anything that may fail: without heartbeats others would take over what is held.
        snapshot = await self._heartbeat(limits) if now >= self.heartbeat_at else None
        await self._start()
        if now >= self.plan_recurring_at:
            await self.database(plan_recurring)
            self.plan_recurring_at = now + PLAN_RECURRING_EVERY_S
        if self.others_work and now >= self.recover_at:
            self.recover_at = now + CHECK_OTHERS_S
            snapshot = None if await self._recover() else snapshot
        if limits is None:
            return min(self._until_heartbeat(), CHECK_OTHERS_S)  # the end of a job wakes us
        touched = 0
        if snapshot is None or is_due(snapshot):
            touched = await self._claim(limits)
            if touched == limits.limit:
                self.others_work = True  # assume so
                return 0
            limits = self.fair_share.limits(kind_names(), CLAIM_BATCH) or limits
            snapshot = await self.database(self.store.snapshot, limits)
        self.restricted = limits.restricted
        return self._sleep_for(snapshot, touched)

    def _sleep_for(self, snapshot: QueueSnapshot, touched: int) -> float:
        self.others_work = snapshot.elsewhere
        longest = self._until_heartbeat()
        if self.others_work:
            longest = min(longest, CHECK_OTHERS_S)
        if not self.listener.connected:
            longest = min(longest, POLL_WITHOUT_LISTENER_S)
        if snapshot.next_due_s is None:
            return longest
        if snapshot.next_due_s > 0:
            return min(max(snapshot.next_due_s, SHORTEST_PAUSE_S), longest)
        self.empty_claims = 0 if touched else self.empty_claims + 1
        return min(SHORTEST_PAUSE_S * float(2 ** min(self.empty_claims, 10)), LONGEST_PAUSE_S)

    def _until_heartbeat(self) -> float:
        return max(self.heartbeat_at - time.monotonic(), SHORTEST_PAUSE_S)

    async def _heartbeat(self, limits: ClaimLimits | None) -> QueueSnapshot | None:
        """Write the heartbeat; return what there is to wait for, None where that has changed."""
        held = list(self.held.values())
        # Set before: a run that is handed back meanwhile asks for another.
        self.heartbeat_at = time.monotonic() + self.options.heartbeat_s
        snapshot = await self.database(self._heartbeat_and_register, held, limits)
        self.others_work = snapshot.elsewhere
        if not snapshot.unknown:
            return snapshot
        await self.database(self._drop_unknown, held)
        return None

    def _heartbeat_and_register(self, held: list[Job], limits: ClaimLimits | None) -> QueueSnapshot:
        snapshot = self.store.heartbeat(held, limits) if limits is not None else self.store.heartbeat(held)
        if not snapshot.alive:
            self.store.register(self.host, os.getpid())
        return snapshot

    async def _connect_listener(self) -> None:
        # First register: without a session lock, others must not conclude from it that we are gone.
        await self.database(self.store.register, self.host, os.getpid())
        self.listener.close()
        await self.database(self.listener.connect)
        self.listener.watch()
        self.connections_seen = self.database.connections

    def _drop_unknown(self, held: list[Job]) -> None:
        """Hand back jobs that are ours in the table but not held.

        The answer to their claim was lost, or the database has gone back to a time before their end.
        """
        dropped = self.store.release(keep=held)
        if dropped:
            logger.warning("unknown_claim_released", jobs=dropped)

    async def _recover(self) -> bool:
        recovered = await self.database(self.store.recover)
        for job in recovered:
            logger.warning("job_recovered", job_id=job.id, job_type=job.job_type, status=job.status)
        return bool(recovered)

    async def _claim(self, limits: ClaimLimits) -> int:
        jobs, touched = await self.database(self.store.claim, limits.limit, limits)
        for job in jobs:
            self._take(job)
        await self._start()
        return touched

    # Holding

    def _take(self, job: Job) -> None:
        if job.id in self.held:  # an earlier run, taken over by another poller and handed back, still continues
            self.fair_share.remove(self.held[job.id])
        self.held[job.id] = job
        self.fair_share.add(job)
        self.unstarted.append(job)

    def drop(self, jobs: Sequence[Job], *, may_have_woken: bool) -> None:
        """Forget jobs that are written, or not ours any more."""
        for job in jobs:
            if self.held.get(job.id) is job:
                del self.held[job.id]
                self.fair_share.remove(job)
        if may_have_woken or self.restricted or self.fair_share.free("") <= len(jobs):
            self.woken.set()

    def was_taken_over(self, jobs: Sequence[Job]) -> None:
        """Stop relying on our session lock if jobs were taken over within their lease: others could take it."""
        young = time.monotonic() - self.options.lease_s / 2
        steady = self.listener.connected and self.database.connections == self.connections_seen
        if steady and any(job.claimed_monotonic > max(self.listener.since, young) for job in jobs):
            logger.warning("session_lock_distrusted", poller=self.name)
            self.listener.lock_is_trusted = False
            self.listener.close()
            self.woken.set()

    # Running

    async def _start(self) -> None:
        """Prepare the claimed jobs by kind and start them."""
        for name, batch in grouped(self.unstarted, lambda job: job.job_type).items():
            ready: list[tuple[Job, Any]] = []
            kind = known_kind(name)
            broken = [job for job in batch if job.defect]
            sound = [job for job in batch if not job.defect]
            if kind is not None and sound:
                prepared, unprepared = await self.database(prepare_each, kind, sound)
                ready = [(job, prepared[job.id]) for job in sound if job.id in prepared]
                for job, problem in unprepared:
                    self.recorder.failed([job], Fact("cannot_prepare", {"error": describe(problem)}))
            # Only now: if preparing failed because of an outage of the database, they wait for the next round.
            started = {id(job) for job in batch}
            self.unstarted = [job for job in self.unstarted if id(job) not in started]
            for job in broken:
                self.recorder.failed([job], Fact("broken_row", {"problem": job.defect}), retry=False)
            if kind is None:
                self.recorder.failed(sound, unknown(name), retry=False)
                continue
            for job, load in ready:
                if kind.calls_back:
                    self._begin(kind, job, load)
                    continue
                task = asyncio.create_task(self._run(kind, job, load))
                self.running.add(task)
                task.add_done_callback(self.running.discard)

    def _begin(self, kind: JobKind, job: Job, prepared: Any) -> None:
        """Begin a job of a kind that calls back: without a task, which costs as much as a request."""
        ended = partial(self._called_back, job)
        self.begun.add(id(job))
        try:
            kind.run(job, prepared, ended)
        except Exception as error:
            ended(error)

    def _called_back(self, job: Job, result: Any) -> None:
        if id(job) in self.begun:
            self.begun.discard(id(job))
            self._ended(job, result)

    async def _run(self, kind: JobKind, job: Job, prepared: Any) -> None:
        try:
            async with self._gate(kind):
                result = await self._result(kind, job, prepared)
        except HandBack:
            # The next heartbeat hands back what is not held, and so does the end of the poller.
            self.drop([job], may_have_woken=True)
            self.heartbeat_at = 0.0
            return
        except Exception as error:
            result = error
        self._ended(job, result)

    def _ended(self, job: Job, result: Any) -> None:
        """Pass on the result of a run, or the exception that ended it."""
        if isinstance(result, JobError):
            self.recorder.failed([job], result.fact, retry=result.retry)
        elif isinstance(result, Exception):
            logger.error("job_raised", exc_info=result, **facts(job))
            self.recorder.failed([job], Fact("raised", {"error": describe(result)}))
        else:
            self.recorder.succeeded(job, result)

    async def _result(self, kind: JobKind, job: Job, prepared: Any) -> Any:
        """Return the result of the run, which is repeated while the database is out: that is no failed attempt.

        Raises: HandBack when the poller stops or the job's time is over, besides what the run raises.
        """
        while True:
            try:
                if not kind.on_thread:
                    return await kind.run(job, prepared)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self.workers, run_on_thread, kind, job, prepared)
            except Exception as error:
                if not is_outage(error):
                    raise
                logger.warning("run_waits_for_database", **facts(job), error=str(error).strip())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), OUTAGE_PAUSE_S)
            if self.stopping or job.is_over():
                raise HandBack

    def _gate(self, kind: JobKind) -> contextlib.AbstractAsyncContextManager[Any]:
        if kind.max_concurrency is None:
            return contextlib.nullcontext()
        return self.gates.setdefault(kind.name, asyncio.Semaphore(kind.max_concurrency))

    # Ending

    async def _drain(self) -> None:
        logger.info("poller_stopping", poller=self.name, held=len(self.held))
        deadline = time.monotonic() + self.options.grace_s
        if self.running:
            await asyncio.wait(set(self.running), timeout=self.options.grace_s)
        while self.begun or not self.recorder.empty:
            late_s = time.monotonic() - deadline
            if late_s > 1 or (late_s > 0 and self.recorder.empty):
                break
            self.recorder.unwritten.set()
            await asyncio.sleep(0.01)

    def _sign_off(self) -> int:
        handed_back = self.store.release()
        self.store.unregister()
        connections.close_all()
        return handed_back


class HandBack(Exception):
    """A run that waits for the database is given up without a result: as if its job had not been claimed."""


def is_due(snapshot: QueueSnapshot) -> bool:
    return snapshot.next_due_s is not None and snapshot.next_due_s <= 0


def has_own_places(job_type: str) -> bool:
    kind = known_kind(job_type)
    return kind is not None and (kind.on_thread or kind.apart)


def unknown(name: str) -> Fact:
    return Fact("unknown_kind", {"name": name, "known": ", ".join(sorted(kind_names())) or "–"})


def run_on_thread(kind: JobKind, job: Job, prepared: Any) -> Any:
    """Run a `def` handler with a live connection."""
    close_old_connections()
    try:
        return kind.run(job, prepared)
    finally:
        close_old_connections()


def prepare_each(kind: JobKind, jobs: Sequence[Job]) -> tuple[dict[int, Any], list[tuple[Job, Exception]]]:
    """Return the prepared argument of each job; a job that cannot be prepared fails alone, not with its batch."""
    ready: dict[int, Any] = dict.fromkeys(job.id for job in jobs)
    broken: list[tuple[Job, Exception]] = []

    def failed(job: Job, error: Exception) -> None:
        del ready[job.id]
        broken.append((job, error))

    for prepared in together_or_each(kind.prepare, jobs, failed, stops=is_outage):
        ready |= prepared
    return ready, broken
