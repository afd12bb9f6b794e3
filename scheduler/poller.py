"""The poller: claims due jobs in batches, runs them at the same time, records what they brought in batches.

One event loop for what waits (collections), threads for what computes (`def` handlers), one thread that alone speaks
to the database about jobs. DESIGN §4 has the rules; scheduler/store.py has the SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection, connections

from scheduler.listener import Listener
from scheduler.recurring import plan_recurring
from scheduler.registry import Job, JobError, JobKind, UnknownJobKind, kind_of
from scheduler.store import Failure, JobStore, Tick, grouped

T = TypeVar("T")
logger = structlog.get_logger(__name__)

# Larger batches gained nothing end to end (CHOICES, "The job table, measured").
CLAIM_BATCH = 200
WRITE_BATCH = 100
WRITE_AFTER_S = 0.03
MAX_ERROR_CHARS = 2000
# Recurring work plans itself; this only mends a chain that was broken.
PLAN_RECURRING_EVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class PollerOptions:
    """capacity: jobs at once; threads: `def` handlers at once; lease_s: seconds until a silent poller's jobs are taken
    over; poll_s: the longest sleep between two looks at the table; grace_s: how long running jobs may take to end on
    SIGTERM before they are handed back."""

    capacity: int = 2000
    threads: int = 4
    lease_s: float = 30.0
    poll_s: float = 10.0
    grace_s: float = 7.0


class Poller:
    """One poller process. `run()` returns after `stop()`."""

    def __init__(self, options: PollerOptions | None = None) -> None:
        self.options = options or PollerOptions()
        self.host = socket.gethostname()
        self.name = f"{self.host}-{os.getpid()}-{secrets.token_hex(3)}"
        self.store = JobStore(self.name, self.options.lease_s)
        self.database = ThreadPoolExecutor(1, thread_name_prefix="database")
        self.workers = ThreadPoolExecutor(self.options.threads, thread_name_prefix="worker")
        self.held: set[int] = set()
        self.unstarted: list[Job] = []
        self.running: set[asyncio.Task[None]] = set()
        self.results: list[tuple[Job, Any]] = []
        self.failures: list[Failure] = []
        self.plan_recurring_at = 0.0
        self.stopping = False

    async def run(self) -> None:
        """Works until stop() is called, then lets running jobs end, records them and hands back the rest."""
        loop = asyncio.get_running_loop()
        self.woken = asyncio.Event()
        self.unwritten = asyncio.Event()
        self.listener = Listener(loop, self.woken.set)
        logger.info("poller_started", poller=self.name, lease_s=self.options.lease_s)
        writer = asyncio.create_task(self._write_forever())
        renewer = asyncio.create_task(self._renew_forever())
        try:
            await self._claim_forever()
            await self._drain(writer)
        finally:
            for task in (writer, renewer, *self.running):
                task.cancel()
            self.listener.close()
            with contextlib.suppress(DatabaseError, InterfaceError):
                handed_back = await self._on_database(self._sign_off)
                logger.info("poller_stopped", poller=self.name, handed_back=handed_back)
            self.workers.shutdown(wait=False, cancel_futures=True)
            self.database.shutdown(wait=True)

    def stop(self) -> None:
        """Asks run() to end; to be called on the loop's thread."""
        self.stopping = True
        self.woken.set()

    # Claiming

    async def _claim_forever(self) -> None:
        pause = 0.5
        while not self.stopping:
            try:
                wait_s = await self._look()
                pause = 0.5
            except (OperationalError, InterfaceError) as error:
                logger.error("database_away", error=str(error).strip(), next_try_s=pause)
                wait_s, pause = pause, min(pause * 2, 5.0)
            except DatabaseError as error:
                logger.error("claim_failed", error=str(error).strip(), next_try_s=pause)
                wait_s, pause = pause, min(pause * 2, 5.0)
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.woken.wait(), wait_s)
            self.woken.clear()

    async def _look(self) -> float:
        """One round: recover, claim and start what is due; returns for how long there is nothing more to do."""
        if not self.listener.connected:
            await self._on_database(self.listener.connect)
            self.listener.watch()
        await self._start()
        if time.monotonic() >= self.plan_recurring_at:
            await self._on_database(plan_recurring)
            self.plan_recurring_at = time.monotonic() + PLAN_RECURRING_EVERY_S
        tick = await self._on_database(self._tick)
        if tick.lapsed:
            for job in await self._on_database(self.store.recover):
                logger.warning("job_recovered", job_id=job.id, job_type=job.job_type, status=job.status)
            tick = await self._on_database(self._tick)
        due = tick.next_due_s is not None and tick.next_due_s <= 0
        while due and not self.stopping:
            free = self.options.capacity - len(self.running)
            if free <= 0:
                # A job that ends wakes us; a pause keeps that from meaning one claim per job.
                return 0.02
            limit = min(free, CLAIM_BATCH)
            jobs, touched = await self._on_database(self.store.claim, limit)
            now = time.monotonic()
            self.unstarted += [replace(job, claimed_monotonic=now) for job in jobs]
            self.held.update(job.id for job in jobs)
            await self._start()
            due = touched == limit
            if not due:
                tick = await self._on_database(self._tick)
        if tick.next_due_s is None:
            return self.options.poll_s
        return min(max(tick.next_due_s, 0.002), self.options.poll_s)

    def _tick(self) -> Tick:
        tick = self.store.tick(self.held.copy())
        if not tick.alive:
            self.store.register(self.host, os.getpid())
        return tick

    async def _start(self) -> None:
        """Loads what the claimed jobs need, kind by kind, and sets them running."""
        for name, batch in grouped(self.unstarted, lambda job: job.job_type).items():
            prepared: dict[int, Any] = {}
            try:
                kind = kind_of(name)
            except UnknownJobKind as error:
                self._failed(batch, "unknown_kind", str(error), retry=False)
            else:
                prepared, unprepared = await self._on_database(prepare_each, kind, batch)
                for job, problem in unprepared:
                    self._failed([job], "cannot_prepare", describe(problem))
            # Only now: where preparing failed for want of a database, they wait for the next round.
            self.unstarted = [job for job in self.unstarted if job.job_type != name]
            for job in batch:
                if job.id in prepared:
                    task = asyncio.create_task(self._run(kind, job, prepared[job.id]))
                    self.running.add(task)
                    task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if len(self.running) >= self.options.capacity:
            self.woken.set()
        self.running.discard(task)

    # Running

    async def _run(self, kind: JobKind, job: Job, prepared: Any) -> None:
        try:
            if inspect.iscoroutinefunction(kind.run):
                result = await kind.run(job, prepared)
            else:
                loop = asyncio.get_running_loop()
                result = await loop.run_in_executor(self.workers, run_on_thread, kind, job, prepared)
        except JobError as error:
            self._failed([job], error.code, str(error), retry=error.retry)
        except Exception as error:
            logger.exception("job_raised", **facts(job))
            self._failed([job], "raised", describe(error))
        else:
            self.results.append((job, result))
            self.unwritten.set()

    def _failed(self, jobs: Sequence[Job], code: str, message: str, *, retry: bool = True) -> None:
        for job in jobs:
            delay = None
            with contextlib.suppress(UnknownJobKind):
                delay = kind_of(job.job_type).retry.delay_after(job.retry_count) if retry else None
            # NUL has no place in a PostgreSQL text.
            self.failures.append(Failure(job, code, message.replace("\0", "\\0")[:MAX_ERROR_CHARS], delay))
        self.unwritten.set()

    # Recording

    async def _write_forever(self) -> None:
        """Writes results by number or after a moment; keeps them while the database is away."""
        while True:
            await self.unwritten.wait()
            if len(self.results) < WRITE_BATCH:
                await asyncio.sleep(WRITE_AFTER_S)
            self.unwritten.clear()
            while self.results or self.failures:
                try:
                    await self._write_batch()
                except (OperationalError, InterfaceError) as error:
                    logger.error("database_away", error=str(error).strip(), unwritten=len(self.results))
                    await asyncio.sleep(0.5)

    async def _write_batch(self) -> None:
        done, failed = self.results[:WRITE_BATCH], self.failures[:WRITE_BATCH]
        if done:
            ours, refused = await self._on_database(complete_each, self.store, done)
            del self.results[: len(done)]
            self.held.difference_update(job.id for job, _ in done)
            for job, error in refused:
                self._failed([job], "cannot_record", describe(error))
            self._log_completed(done, set(ours))
        if failed:
            changed = {job.id: job for job in await self._on_database(self.store.fail, failed)}
            del self.failures[: len(failed)]
            self.held.difference_update(failure.job.id for failure in failed)
            for failure in failed:
                status = changed[failure.job.id].status if failure.job.id in changed else "taken_over"
                logger.warning(
                    "job_failed", **facts(failure.job), status=status, code=failure.code, error=failure.message
                )
        if failed or any(kind_of(job.job_type).ended for job, _ in done):
            # What just ended may have made another job due.
            self.woken.set()

    def _log_completed(self, done: Sequence[tuple[Job, Any]], ours: set[int]) -> None:
        for job, _ in done:
            if job.id in ours:
                logger.info("job_completed", **facts(job))
            else:
                logger.warning("job_discarded", **facts(job), reason="another poller had taken it over")

    # Living and ending

    async def _renew_forever(self) -> None:
        """Renews leases in time, also while nothing else makes us look at the table."""
        while True:
            await asyncio.sleep(self.options.lease_s / 3)
            if self.running:
                with contextlib.suppress(DatabaseError, InterfaceError):
                    await self._on_database(self._tick)

    async def _drain(self, writer: asyncio.Task[None]) -> None:
        logger.info("poller_stopping", poller=self.name, running=len(self.running))
        deadline = time.monotonic() + self.options.grace_s
        if self.running:
            await asyncio.wait(set(self.running), timeout=self.options.grace_s)
        while (self.results or self.failures) and time.monotonic() < deadline + 1:
            self.unwritten.set()
            await asyncio.sleep(0.01)

    def _sign_off(self) -> int:
        handed_back = self.store.release()
        self.store.unregister()
        connections.close_all()
        return handed_back

    async def _on_database(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.database, on_database_thread, work, args)


def on_database_thread(work: Callable[..., T], args: tuple[Any, ...]) -> T:
    """Runs work with the thread's connection; a broken one is dropped, so that the next call opens a new one."""
    try:
        return work(*args)
    except (OperationalError, InterfaceError):
        connection.close()
        raise


def run_on_thread(kind: JobKind, job: Job, prepared: Any) -> Any:
    """Runs a `def` handler with a connection that is known to be alive."""
    close_old_connections()
    try:
        return kind.run(job, prepared)
    finally:
        close_old_connections()


def prepare_each(kind: JobKind, jobs: Sequence[Job]) -> tuple[dict[int, Any], list[tuple[Job, Exception]]]:
    """What each job's run takes; a job that cannot be prepared fails alone, not with its batch."""
    try:
        prepared = kind.prepare(jobs)
        return {job.id: prepared.get(job.id) for job in jobs}, []
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if len(jobs) == 1:
            return {}, [(jobs[0], error)]
    ready: dict[int, Any] = {}
    broken: list[tuple[Job, Exception]] = []
    for job in jobs:
        one, failed = prepare_each(kind, [job])
        ready.update(one)
        broken.extend(failed)
    return ready, broken


def complete_each(store: JobStore, done: Sequence[tuple[Job, Any]]) -> tuple[list[int], list[tuple[Job, Exception]]]:
    """Completes the runs together, or, where one cannot be recorded, each by itself, so that only that one fails."""
    try:
        return store.complete(done), []
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if len(done) == 1:
            return [], [(done[0][0], error)]
    ours: list[int] = []
    refused: list[tuple[Job, Exception]] = []
    for item in done:
        one, failed = complete_each(store, [item])
        ours.extend(one)
        refused.extend(failed)
    return ours, refused


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def facts(job: Job) -> dict[str, Any]:
    """What every log line about a job says of it. lag_ms: how late it was claimed; duration_ms: since then."""
    return {
        "job_id": job.id,
        "job_type": job.job_type,
        "deployment_id": job.deployment_id,
        "phase": job.phase,
        "sequence_index": job.sequence_index,
        "lag_ms": round((job.claimed_at - job.scheduled_at).total_seconds() * 1000, 1),
        "duration_ms": round((time.monotonic() - job.claimed_monotonic) * 1000, 1),
    }
