"""Writing what runs brought, in batches. Nothing that was measured is dropped while its job is still ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from django.db import OperationalError

from explain.facts import Fact
from scheduler.database import DatabaseAway, DatabaseThread, connection_lost
from scheduler.registry import Ended, Job, UnknownJobKind, grouped, kind_of
from scheduler.store import Failure, JobStore
from scheduler.words import describe, facts, facts_of_many, stored

logger = structlog.get_logger(__name__)

# Half again as many collections a second as with batches of 100, where every round trip waits for a busy server.
WRITE_BATCH = 400
WRITE_AFTER_S = 0.03
LONGEST_PAUSE_S = 5.0
# So many refusals in a row without one success: it is not the rows, it is the database.
GIVE_UP_AFTER = 3


class Holder(Protocol):
    """Whoever holds the jobs that are recorded: the poller."""

    def let_go(self, jobs: Sequence[Job], *, may_have_woken: bool) -> None:
        """These are not ours any more; may_have_woken: their end may have made other jobs due."""

    def was_taken_over(self, jobs: Sequence[Job]) -> None:
        """Another poller has these now."""


class Recorder:
    """Collects results and failures on the event loop and writes them by number or after a moment."""

    def __init__(self, store: JobStore, database: DatabaseThread, holder: Holder) -> None:
        self.store = store
        self.database = database
        self.holder = holder
        self.results: list[tuple[Job, Any]] = []
        self.failures: list[Failure] = []
        self.unwritten = asyncio.Event()

    def succeeded(self, job: Job, result: Any) -> None:
        self.results.append((job, result))
        self.unwritten.set()

    def failed(self, jobs: Sequence[Job], why: Fact, *, retry: bool = True) -> None:
        """Note failed runs; when to try again is the kind's retry policy."""
        for job in jobs:
            delay = None
            with contextlib.suppress(UnknownJobKind):
                delay = kind_of(job.job_type).retry.delay_after(job.retry_count) if retry else None
            self.failures.append(Failure(job, why, delay))
        self.unwritten.set()

    @property
    def empty(self) -> bool:
        return not self.results and not self.failures

    async def run(self) -> None:
        """Writes until it is cancelled; keeps what cannot be written, and tries again after a pause that grows."""
        while True:
            await self.unwritten.wait()
            if len(self.results) < WRITE_BATCH:
                await asyncio.sleep(WRITE_AFTER_S)
            self.unwritten.clear()
            pause = 0.25
            while not self.empty:
                if await self._write():
                    pause = 0.25
                else:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _write(self) -> bool:
        """One batch; False where nothing of it could be written."""
        try:
            done = await self._write_results()
            failed = await self._write_failures()
        except DatabaseAway as error:
            logger.error("database_away", error=str(error), unwritten=len(self.results) + len(self.failures))
            return False
        except Exception:
            logger.exception("writing_failed", unwritten=len(self.results) + len(self.failures))
            return False
        return done or failed

    async def _write_results(self) -> bool:
        done = self.results[:WRITE_BATCH]
        if not done:
            return False
        outcome = await self.database(complete_each, self.store, done)
        # New results only ever come at the end. What was put off goes there as well, so that the rest has its turn.
        self.results[: len(done)] = []
        self.results.extend(outcome.put_off)
        for job, error in outcome.refused:
            self.failed([job], Fact("cannot_record", {"error": describe(error)}))
        settled = [job for job, _ in outcome.settled]
        self.holder.let_go(settled, may_have_woken=any(kind_of(job.job_type).on_finished for job in settled))
        self._tell(settled, outcome)
        return bool(outcome.settled or outcome.refused)

    async def _write_failures(self) -> bool:
        failed = self.failures[:WRITE_BATCH]
        if not failed:
            return False
        changed, put_off, problem = await self.database(fail_each, self.store, failed)
        self.failures[: len(failed)] = []
        self.failures.extend(put_off)
        if problem is not None:
            logger.error("put_off", error=describe(problem), failures=len(put_off))
        late = {id(failure) for failure in put_off}
        settled = [failure for failure in failed if id(failure) not in late]
        status_of = {job.id: job.status for job in changed}
        for failure in settled:
            status = status_of.get(failure.job.id, "taken_over")
            text, _ = stored(failure.why)
            logger.warning("job_failed", **facts(failure.job), status=status, code=failure.why.code, error=text)
        self.holder.let_go([failure.job for failure in settled], may_have_woken=True)
        return bool(settled)

    def _tell(self, settled: Sequence[Job], outcome: Recorded) -> None:
        ours = set(outcome.ours)
        for name, jobs in grouped([job for job in settled if job.id in ours], lambda job: job.job_type).items():
            logger.info("jobs_completed", job_type=name, **facts_of_many(jobs))
        lost = [job for job in settled if job.id not in ours]
        if lost:
            logger.warning("results_discarded", reason="another poller had taken the jobs over", **facts_of_many(lost))
            self.holder.was_taken_over(lost)
        if outcome.problem is not None:
            logger.error("put_off", error=describe(outcome.problem), results=len(outcome.put_off))


@dataclass
class Recorded:
    """What became of a batch of results. settled: written, or not ours any more (then it is not in `ours`); refused:
    cannot be recorded, whoever tries; put_off: the database could not take them now, for the reason in `problem`."""

    settled: list[tuple[Job, Any]] = field(default_factory=list)
    ours: list[int] = field(default_factory=list)
    refused: list[tuple[Job, Exception]] = field(default_factory=list)
    put_off: list[tuple[Job, Any]] = field(default_factory=list)
    problem: Exception | None = None

    def add(self, other: Recorded) -> None:
        self.settled += other.settled
        self.ours += other.ours
        self.refused += other.refused
        self.put_off += other.put_off
        self.problem = other.problem or self.problem


def complete_each(store: JobStore, done: Sequence[tuple[Job, Any]]) -> Recorded:
    """Completes the runs together, or, where that is refused, each by itself: one does not hold up the others."""
    # The guard costs round trips, so it comes in only where the first attempt did not go through.
    attempts = (False, True) if len(done) > 1 else (True,)
    for guarded in attempts:
        try:
            return Recorded(settled=list(done), ours=store.complete(done, guarded=guarded))
        except Exception as error:
            if connection_lost(error):
                raise
            problem: Exception = error
    if len(done) == 1:
        if isinstance(problem, OperationalError):
            return Recorded(put_off=list(done), problem=problem)
        return Recorded(refused=[(done[0][0], problem)])
    outcome = Recorded()
    for place, item in enumerate(done):
        outcome.add(complete_each(store, [item]))
        if len(outcome.put_off) == place + 1 == GIVE_UP_AFTER:
            outcome.put_off += done[GIVE_UP_AFTER:]
            break
    return outcome


def fail_each(store: JobStore, failures: Sequence[Failure]) -> tuple[list[Ended], list[Failure], Exception | None]:
    """Writes the failures together, or each by itself: what was changed, what is put off, and why."""
    try:
        return store.fail(failures), [], None
    except Exception as error:
        if connection_lost(error):
            raise
        problem = error
    if len(failures) == 1:
        return [], list(failures), problem
    changed: list[Ended] = []
    put_off: list[Failure] = []
    for place, failure in enumerate(failures):
        one, late, _ = fail_each(store, [failure])
        changed += one
        put_off += late
        if len(put_off) == place + 1 == GIVE_UP_AFTER:
            put_off += failures[GIVE_UP_AFTER:]
            break
    return changed, put_off, problem
