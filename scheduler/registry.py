"""Job kinds: how an app registers its background work without the scheduler knowing the app.

A kind has up to five parts, because a batch of jobs is loaded, run and recorded together:

- `prepare(jobs)` loads what the runs need, with few queries, on the database thread;
- `run(job, prepared)` does the work outside any transaction: `async def` on the event loop, `def` on a thread; or, for
  thousands a second, `run(job, prepared, ended)` begins it on the event loop and has `ended` called with its result;
- `record(done)` writes the results, in the transaction that completes those jobs, and only for jobs still ours;
- `on_finished(jobs)` is called in the transaction that ends jobs, whatever their final status. If it raises, the error
  is logged and its effects are rolled back; the jobs have ended all the same;
- `on_retry(jobs)` is called in the transaction in which a user restarts jobs that had ended.
"""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from explain.errors import ExplainedError
from explain.facts import Fact, Param
from scheduler.retry import RetryPolicy


@dataclass(slots=True)  # not frozen: that makes it four times as slow, thousands of times a second
class Job:
    """A claimed row of scheduled_jobs, as handlers see it. claimed_at: the database's clock at the claim.

    fair_key: its tenant (scheduler/fair_share.py); defect: why the row cannot be run; names: ids for log lines
    (scheduler/tracing.py).
    """

    id: int
    job_type: str
    phase: str
    sequence_index: int
    deployment_id: int | None
    scheduled_at: datetime
    expires_at: datetime | None
    retry_count: int
    metadata: dict[str, Any]
    claimed_at: datetime
    claimed_monotonic: float = 0.0
    fair_key: int | None = None
    defect: Fact | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def is_over(self) -> bool:
        """Return whether expires_at has passed, by the database's clock at the claim and the time since."""
        passed = timedelta(seconds=time.monotonic() - self.claimed_monotonic)
        return self.expires_at is not None and self.claimed_at + passed >= self.expires_at


@dataclass(slots=True)  # not frozen, as Job
class Ended:
    """An ended job: completed, failed, cancelled or expired; error_code says why it was not completed.

    Statements return these fields by `ended_columns`.
    """

    id: int
    job_type: str
    status: str
    deployment_id: int | None
    sequence_index: int
    error_code: str = ""
    fair_key: int | None = None


def ended_columns(table: str) -> str:
    """Return SQL: the columns of a table (or alias) for the fields of Ended, in order."""
    return ", ".join(f"{table}.{field.name}" for field in fields(Ended))


def completed(job: Job) -> Ended:
    """Return the end of a successful run."""
    return Ended(job.id, job.job_type, "completed", job.deployment_id, job.sequence_index, fair_key=job.fair_key)


def grouped(items: Sequence[Any], key: Callable[[Any], str]) -> dict[str, list[Any]]:
    """Group the items by key, in the given order."""
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


class JobError(ExplainedError):
    """A failed run, with a reason for the job's owner.

    code: short and stable, for counting; its text says what to fix; retry: whether another attempt can help.
    """

    def __init__(self, code: str, /, *, retry: bool = True, **params: Param) -> None:
        super().__init__(code, **params)  # type: ignore[arg-type]  # `field` is no parameter of a job's
        self.retry = retry

    @classmethod
    def of(cls, error: ExplainedError, *, retry: bool = True, **more: Param) -> Self:
        """Return the failure of a run by this error; more: further parameters."""
        return cls(error.code, retry=retry, **{**error.fact.params, **more})


RunEnded = Callable[[Any], None]
Run = TypeVar("Run", bound=Callable[..., Any])


def _nothing_to_prepare(jobs: Sequence[Job]) -> Mapping[int, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job and its parts.

    prepare: returns, by job id, the argument of its run; a job without an entry gets None. max_concurrency: how many of
    them one poller runs at the same time; None: limited by the poller only. calls_back: `run` takes a third argument,
    `ended` (RunEnded), and passes it its result or exception, once and on the event loop; max_concurrency does not hold
    for it. on_thread: whether it runs on a thread instead of the event loop. apart: it runs on the event loop without
    taking places of the collections there; it has as many as a kind on threads. external: whether it calls what users
    operate, so that its failures are no trouble of SeqPulse's own.
    """

    name: str
    run: Callable[..., Any]
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    prepare: Callable[[Sequence[Job]], Mapping[int, Any]] = _nothing_to_prepare
    record: Callable[[Sequence[tuple[Job, Any]]], None] | None = None
    on_finished: Callable[[Sequence[Ended]], None] | None = None
    on_retry: Callable[[Sequence[Ended]], None] | None = None
    max_concurrency: int | None = None
    external: bool = False
    apart: bool = False
    calls_back: bool = field(init=False)
    on_thread: bool = field(init=False)

    def __post_init__(self) -> None:
        # Cached, because it is read for every job.
        object.__setattr__(self, "calls_back", len(inspect.signature(self.run).parameters) == 3)
        object.__setattr__(self, "on_thread", not self.calls_back and not inspect.iscoroutinefunction(self.run))


class UnknownJobKind(LookupError):
    """A job type that no app has registered."""


_kinds: dict[str, JobKind] = {}


def job_kind(  # noqa: PLR0913  (by name, and all but the first optional)
    name: str,
    *,
    retry: RetryPolicy | None = None,
    prepare: Callable[[Sequence[Job]], Mapping[int, Any]] = _nothing_to_prepare,
    record: Callable[[Sequence[tuple[Job, Any]]], None] | None = None,
    on_finished: Callable[[Sequence[Ended]], None] | None = None,
    on_retry: Callable[[Sequence[Ended]], None] | None = None,
    max_concurrency: int | None = None,
    external: bool = False,
    apart: bool = False,
) -> Callable[[Run], Run]:
    """Register the decorated function as `run` of a kind.

    Raises: ValueError if the name is taken by another function.
    """

    def register(run: Run) -> Run:
        taken = _kinds.get(name)
        if taken is not None and taken.run.__qualname__ != run.__qualname__:
            raise ValueError(f"job kind {name!r} is announced twice: by {taken.run!r} and {run!r}")
        _kinds[name] = JobKind(
            name, run, retry or RetryPolicy(), prepare, record, on_finished, on_retry, max_concurrency, external, apart
        )
        return run

    return register


def known_kind(name: str) -> JobKind | None:
    """Return the registered kind, else None."""
    return _kinds.get(name)


def kind_names() -> list[str]:
    return list(_kinds)


def external_kinds() -> list[str]:
    """Return the kinds whose failures are those of what users operate."""
    return [kind.name for kind in _kinds.values() if kind.external]


def kind_of(name: str) -> JobKind:
    """Return the registered kind.

    Raises: UnknownJobKind.
    """
    try:
        return _kinds[name]
    except KeyError:
        known = ", ".join(sorted(_kinds)) or "none"
        raise UnknownJobKind(f"no app has announced the job kind {name!r}; known: {known}") from None
