"""Totals: exact under concurrency and crashes, and never falling."""

import threading
from contextlib import suppress

import pytest
from django.db import transaction

from common import totals
from common.totals import Measure
from explain.facts import Fact
from scheduler.models import RunningTotal, ScheduledJob
from scheduler.queue import announce_ended
from scheduler.registry import Ended, Job
from scheduler.store import Failure, JobStore
from scheduler.tests.kinds import make_job
from tests.concurrency import in_background

COUNT = Measure("test_things_total", "Things.", ("kind",))
DELAY = Measure("test_delay_seconds", "Delays.", ("kind",), buckets=(0.1, 1, 10))

pytestmark = pytest.mark.django_db(transaction=True)


def total(name: str, *labels: str, part: str = "") -> float:
    return totals.read().get(name, {}).get((labels, part), 0.0)


def test_what_is_rolled_back_is_not_counted() -> None:
    with transaction.atomic():
        COUNT.add({("a",): 1})
        transaction.set_rollback(True)
    assert total("test_things_total", "a") == 0


def test_what_is_gathered_is_written_once_at_the_end_and_not_after_an_exception() -> None:
    with totals.gathered():
        for _ in range(3):
            COUNT.add({("a",): 1})
        DELAY.observe([(("a",), 0.5)])
        assert totals.read() == {}
    assert RunningTotal.objects.count() == 3
    assert total("test_things_total", "a") == 3
    with suppress(ZeroDivisionError), totals.gathered():
        COUNT.add({("a",): 1})
        raise ZeroDivisionError
    COUNT.add({("a",): 1})
    assert total("test_things_total", "a") == 4


def test_a_histogram_holds_each_value_at_its_bound_and_their_sum() -> None:
    DELAY.observe([(("a",), 0.1), (("a",), 0.5), (("a",), 99), (("b",), 2)])
    assert totals.read()["test_delay_seconds"] == {
        (("a",), "0.1"): 1,
        (("a",), "1"): 1,
        (("a",), "+Inf"): 1,
        (("a",), "sum"): pytest.approx(99.6),
        (("b",), "10"): 1,
        (("b",), "sum"): 2,
    }


def test_folding_keeps_every_sum_and_leaves_one_row_each() -> None:
    for _ in range(50):
        COUNT.add({("a",): 1, ("b",): 2})
    assert RunningTotal.objects.count() == 100
    assert totals.fold() == 2
    assert (total("test_things_total", "a"), total("test_things_total", "b")) == (50, 100)


def test_counting_while_folding_loses_and_doubles_nothing() -> None:
    stop = threading.Event()
    seen: list[float] = []

    def count() -> None:
        for _ in range(200):
            COUNT.add({("a",): 1})

    def fold() -> None:
        while not stop.is_set():
            totals.fold()
            seen.append(total("test_things_total", "a"))

    folders = [in_background(fold) for _ in range(2)]
    for writer in [in_background(count) for _ in range(3)]:
        writer.result(60)
    stop.set()
    for folder in folders:
        folder.result(60)
    totals.fold()
    assert total("test_things_total", "a") == 600
    assert seen, "nothing was folded meanwhile"
    assert max(seen) <= 600


def test_the_ends_of_jobs_stay_counted_when_the_jobs_are_deleted(store: JobStore, claimed: Job) -> None:
    store.complete([(claimed, "done")])
    ScheduledJob.objects.all().delete()
    assert total("seqpulse_scheduler_jobs_ended_total", "quick", "completed") == 1
    assert total("seqpulse_scheduler_job_start_delay_seconds", "quick", part="sum") == pytest.approx(3, abs=1)
    assert total("seqpulse_scheduler_job_start_delay_seconds", "quick", part="5") == 1


def test_a_try_that_failed_counts_as_retried_and_the_last_one_as_failed(store: JobStore, claimed: Job) -> None:
    store.fail([Failure(claimed, Fact("http_5xx"), delay_s=0.0)])
    [retried] = store.claim(10)[0]
    store.fail([Failure(retried, Fact("http_5xx"), delay_s=None)])
    assert total("seqpulse_scheduler_jobs_retried_total", "quick") == 1
    assert total("seqpulse_scheduler_jobs_ended_total", "quick", "failed") == 1


def test_a_result_that_comes_after_a_take_over_is_not_counted(store: JobStore, claimed: Job) -> None:
    ScheduledJob.objects.update(locked_by="b")
    store.complete([(claimed, "late")])
    store.fail([Failure(claimed, Fact("raised"), delay_s=None)])
    assert totals.read() == {}


def test_expired_and_cancelled_jobs_are_counted_as_such(store: JobStore) -> None:
    late = make_job(due_in_s=-9, expires_in_s=-1)
    store.claim(10)
    announce_ended([Ended(late.pk, "quick", "cancelled", None, 0, "cancelled")])
    ended = "seqpulse_scheduler_jobs_ended_total"
    assert total(ended, "quick", "expired") == 1
    assert total(ended, "quick", "cancelled") == 1
