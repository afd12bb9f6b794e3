from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connections

from scheduler.models import Poller as PollerRow
from scheduler.models import ScheduledJob
from scheduler.poller import Poller, PollerOptions
from scheduler.queue import NewJob, enqueue
from scheduler.registry import UnknownJobKind
from scheduler.tests.kinds import Journal, announced_kinds, make_job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def journal() -> Iterator[Journal]:
    with announced_kinds() as journal:
        yield journal
        journal.gate.set()


@contextmanager
def running_poller(**options: float) -> Iterator[Poller]:
    """A poller at work in a thread of its own; stopped, and its thread joined, at the end."""
    poller = Poller(PollerOptions(**{"poll_s": 0.2, **options}))  # type: ignore[arg-type]
    loops: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        loops.append(asyncio.get_running_loop())
        await poller.run()

    def target() -> None:
        try:
            asyncio.run(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=target)
    thread.start()
    wait_until(lambda: PollerRow.objects.filter(name=poller.name).exists())
    try:
        yield poller
    finally:
        loops[0].call_soon_threadsafe(poller.stop)
        thread.join(30)
        assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def statuses(*jobs: ScheduledJob) -> list[str]:
    by_id = dict(ScheduledJob.objects.filter(pk__in=[job.pk for job in jobs]).values_list("pk", "status"))
    return [by_id[job.pk] for job in jobs]


def all_done() -> bool:
    return not ScheduledJob.objects.open().exists()


def test_due_jobs_run_and_their_results_are_recorded(journal: Journal) -> None:
    jobs = [make_job() for _ in range(30)]
    with running_poller():
        wait_until(all_done)
    assert set(statuses(*jobs)) == {"completed"}
    assert sorted(journal.recorded) == sorted((job.pk, f"result of {job.pk}") for job in jobs)


def test_plain_functions_run_on_threads(journal: Journal) -> None:
    make_job("computing")
    with running_poller():
        wait_until(all_done)
    [(_, thread)] = journal.recorded
    assert thread.startswith("worker")


def test_two_pollers_never_run_one_job_twice(journal: Journal) -> None:
    jobs = [make_job() for _ in range(600)]
    with running_poller(), running_poller():
        wait_until(all_done)
    assert set(journal.ran.values()) == {1}
    assert len(journal.ran) == len(journal.recorded) == len(jobs)


def test_a_job_in_the_future_is_run_when_it_is_due(journal: Journal) -> None:
    make_job(due_in_s=0.8)
    with running_poller(poll_s=10):
        assert not journal.ran
        wait_until(all_done)
    job = ScheduledJob.objects.get()
    assert job.started_at is not None
    assert job.started_at >= job.scheduled_at


def test_an_enqueued_job_wakes_a_sleeping_poller(journal: Journal) -> None:
    with running_poller(poll_s=3600):
        time.sleep(0.5)
        enqueue([NewJob("quick")])
        wait_until(all_done)
    assert len(journal.recorded) == 1


def test_a_job_that_raises_fails_with_words_and_the_others_go_on(journal: Journal) -> None:
    broken, fine = make_job("raising"), make_job()
    with running_poller():
        wait_until(all_done)
    assert statuses(broken, fine) == ["failed", "completed"]
    broken.refresh_from_db()
    assert broken.last_error == "ZeroDivisionError: broken\\0handler"


def test_a_job_of_an_unknown_kind_fails_with_words(journal: Journal) -> None:
    job = make_job("nobody_announced_this")
    with running_poller():
        wait_until(all_done)
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "unknown_kind")
    assert "nobody_announced_this" in job.last_error


def test_an_unknown_kind_is_refused_when_it_is_enqueued(journal: Journal) -> None:
    with pytest.raises(UnknownJobKind, match="nobody_announced_this"):
        enqueue([NewJob("quick"), NewJob("nobody_announced_this")])
    assert not ScheduledJob.objects.exists()


def test_a_failing_job_waits_for_its_next_try(journal: Journal) -> None:
    job = make_job("failing")
    with running_poller():
        wait_until(lambda: ScheduledJob.objects.get().retry_count == 1)
    job.refresh_from_db()
    assert (job.status, job.last_error) == ("pending", "HTTP 503 from the endpoint")


def test_a_failure_that_retrying_cannot_mend_is_final(journal: Journal) -> None:
    job = make_job("failing", job_metadata={"retry": False})
    with running_poller():
        wait_until(all_done)
    assert (statuses(job), journal.ran[job.pk]) == (["failed"], 1)


@pytest.mark.parametrize("defect", ["unrecordable", "unpreparable"])
def test_one_defective_job_does_not_stop_its_batch(journal: Journal, defect: str) -> None:
    jobs = [make_job() for _ in range(20)]
    broken = make_job(job_metadata={defect: True})
    with running_poller():
        wait_until(lambda: set(statuses(*jobs)) == {"completed"} and statuses(broken) == ["pending"])
    broken.refresh_from_db()
    assert "this one cannot be" in broken.last_error


def test_stopping_lets_running_jobs_end(journal: Journal) -> None:
    job = make_job("slow")
    with running_poller():
        wait_until(lambda: journal.ran[job.pk] == 1)
    assert statuses(job) == ["completed"]
    assert not PollerRow.objects.exists()


def test_stopping_hands_back_what_does_not_end(journal: Journal) -> None:
    job = make_job("held")
    with running_poller(grace_s=0.2):
        wait_until(lambda: journal.ran[job.pk] == 1)
    job.refresh_from_db()
    assert (job.status, job.locked_by, job.retry_count) == ("pending", "", 0)


def test_leases_of_long_jobs_are_renewed(journal: Journal) -> None:
    job = make_job("held")
    with running_poller(lease_s=0.6), running_poller(lease_s=0.6):
        wait_until(lambda: journal.ran[job.pk] == 1)
        time.sleep(2)
        journal.gate.set()
        wait_until(all_done)
    assert (journal.ran[job.pk], statuses(job)) == (1, ["completed"])


def test_no_more_jobs_run_at_once_than_the_capacity(journal: Journal) -> None:
    for _ in range(9):
        make_job("held")
    with running_poller(capacity=4):
        wait_until(lambda: len(journal.ran) == 4)
        time.sleep(0.3)
        assert len(journal.ran) == 4
        journal.gate.set()
        wait_until(all_done)
    assert len(journal.ran) == 9
