"""Fixtures of the scheduler's tests."""

from collections.abc import Iterator

import pytest

from scheduler.registry import Job
from scheduler.store import JobStore
from scheduler.tests.kinds import Journal, announced_kinds, make_job


@pytest.fixture
def journal() -> Iterator[Journal]:
    """Register the kinds of the tests; yield the journal of what they do."""
    with announced_kinds() as journal:
        yield journal
        journal.gate.set()


@pytest.fixture
def store(journal: Journal) -> JobStore:
    return JobStore("a", 30)


@pytest.fixture
def claimed(store: JobStore) -> Job:
    """Return a job of the kind "quick" that was due three seconds ago and is claimed by `store`."""
    make_job(due_in_s=-3)
    [job] = store.claim(10)[0]
    return job
