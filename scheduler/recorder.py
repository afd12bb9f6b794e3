"""Write the results of runs in batches. No measurement is dropped while its job is still ours."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import structlog

from common.database_state import state_of
from explain.facts import Fact
from scheduler.database import DatabaseAway, DatabaseThread, connection_lost
from scheduler.registry import Ended, Job, UnknownJobKind, grouped, kind_of
from scheduler.store import Failure, JobStore
from scheduler.words import describe, facts, facts_of_many, stored

logger = structlog.get_logger(__name__)

# Measured: 1.5 times the collections per second of batches of 100, with a busy database.
WRITE_BATCH = 400
WRITE_AFTER_S = 0.03
LONGEST_PAUSE_S = 5.0
# After so many refusals in a row the problem is the database, not the rows.
GIVE_UP_AFTER = 3


class Holder(Protocol):
    """The holder of the recorded jobs: the poller."""

    def drop(self, jobs: Sequence[Job], *, may_have_woken: bool) -> None:
        """Forget these jobs; may_have_woken: their end may have made other jobs due."""

    def was_taken_over(self, jobs: Sequence[Job]) -> None:
        """Note that another poller has taken these over."""


@dataclass
class Recorded:
    """Outcome of a batch of results.

    settled: written, or not ours any more (then not in `ours`); refused: can never be recorded; put_off: the database
    could not store them now, for the reason in `problem`.
    """

    settled: list[tuple[Job, Any]] = field(default_factory=list)
    ours: list[int] = field(default_factory=list)
    refused: list[tuple[Job, Exception]] = field(default_factory=list)
    put_off: list[tuple[Job, Any]] = field(default_factory=list)
    problem: Exception | None = None

    def add(self, other: Self) -> None:
        self.settled += other.settled
        self.ours += other.ours
        self.refused += other.refused
        self.put_off += other.put_off
        self.problem = other.problem or self.problem


class Recorder:
    """Collect results and failures on the event loop and write them by number or after a short time."""

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
        """Note failed runs; the kind's retry policy decides when to retry."""
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
        """Write until cancelled; keep results that cannot be written and retry with growing pauses."""
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
        """Write one batch; return False if nothing of it could be written."""
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
        # New results are appended. Postponed ones go to the end as well, so that the others have their turn.
        self.results[: len(done)] = []
        self.results.extend(outcome.put_off)
        for job, error in outcome.refused:
            self.failed([job], Fact("cannot_record", {"error": describe(error)}))
        settled = [job for job, _ in outcome.settled]
        self.holder.drop(settled, may_have_woken=any(kind_of(job.job_type).on_finished for job in settled))
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
        self.holder.drop([failure.job for failure in settled], may_have_woken=True)
        return bool(settled)

    def _tell(self, settled: Sequence[Job], outcome: Recorded) -> None:
        ours = set(outcome.ours)
        for name, jobs in grouped([job for job in settled if job.id in ours], lambda job: job.job_type).items():
            logger.info("jobs_completed", job_type=name, **facts_of_many(jobs))
        lost = [job for job in settled if job.id not in ours]
        if lost:
            logger.warning(
                "results_discarded",
                reason="not ours any more: taken over, or undone in the database",
                **facts_of_many(lost),
            )
            self.holder.was_taken_over(lost)
        if outcome.problem is not None:
            logger.error("put_off", error=describe(outcome.problem), results=len(outcome.put_off))


def complete_each(store: JobStore, done: Sequence[tuple[Job, Any]]) -> Recorded:
    """Complete the runs together or, if that is refused, each separately, so that one does not block the others."""
    # The guard costs round trips, so it is used only if the first attempt failed.
    attempts = (False, True) if len(done) > 1 else (True,)
    for guarded in attempts:
        try:
            return Recorded(settled=list(done), ours=store.complete(done, guarded=guarded))
        except Exception as error:
            if connection_lost(error):
                raise
            problem: Exception = error
    if len(done) == 1:
        if state_of(problem) is not None:
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
    """Write the failures together, or each separately.

    Returns: changed jobs, postponed failures, and the reason.
    """
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
