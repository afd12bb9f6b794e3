from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

from scheduler.models import ScheduledJob
from scheduler.registry import Job
from scheduler.store import CLAIM, Failure, JobStore
from scheduler.tests.kinds import Journal, announced_kinds, make_job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def journal():
    with announced_kinds() as journal:
        yield journal


def claim_one(store: JobStore) -> Job:
    [job] = store.claim(10)[0]
    return job


def test_the_claim_takes_what_is_due_and_nothing_else(journal: Journal) -> None:
    later, sooner = make_job(due_in_s=-1), make_job(due_in_s=-9)
    make_job(due_in_s=60)
    jobs, touched = JobStore("a", 30).claim(10)
    assert {job.id for job in jobs} == {sooner.pk, later.pk}
    assert touched == 2
    assert ScheduledJob.objects.get(pk=sooner.pk).locked_by == "a"


def test_a_limited_claim_takes_the_oldest(journal: Journal) -> None:
    make_job(due_in_s=-1)
    oldest = make_job(due_in_s=-9)
    assert [job.id for job in JobStore("a", 30).claim(1)[0]] == [oldest.pk]


def test_two_claimers_never_get_the_same_job(journal: Journal) -> None:
    for _ in range(200):
        make_job()
    start = threading.Barrier(4)

    def claim_all(name: str) -> list[int]:
        store, mine = JobStore(name, 30), []
        start.wait()
        try:
            while True:
                jobs, touched = store.claim(7)
                mine += [job.id for job in jobs]
                if not touched:
                    return mine
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        claimed = [job_id for ids in pool.map(claim_all, "abcd") for job_id in ids]
    assert len(claimed) == 200
    assert len(set(claimed)) == 200


def test_a_job_past_its_use_ends_as_expired_and_is_not_run(journal: Journal) -> None:
    job = make_job(due_in_s=-120, expires_in_s=-60)
    jobs, touched = JobStore("a", 30).claim(10)
    assert (jobs, touched) == ([], 1)
    job.refresh_from_db()
    assert (job.status, job.error_code, job.locked_by) == ("expired", "expired", "")
    assert "nobody ran it in time" in job.last_error
    assert [ended.status for ended in journal.ended] == ["expired"]


def test_completing_records_the_result_and_tells_the_kind(journal: Journal) -> None:
    job = make_job()
    store = JobStore("a", 30)
    assert store.complete([(claim_one(store), "hello")]) == [job.pk]
    job.refresh_from_db()
    assert (job.status, job.locked_by, job.locked_until) == ("completed", "", None)
    assert journal.recorded == [(job.pk, "hello")]
    assert [ended.status for ended in journal.ended] == ["completed"]


def test_a_late_result_of_a_job_that_was_taken_over_is_discarded(journal: Journal) -> None:
    make_job()
    frozen, taker = JobStore("frozen", 0), JobStore("taker", 30)
    late = claim_one(frozen)
    taker.recover()
    assert claim_one(taker).id == late.id
    assert frozen.complete([(late, "late")]) == []
    assert frozen.fail([Failure(late, "x", "late", None)]) == []
    assert journal.recorded == []
    assert ScheduledJob.objects.get(pk=late.id).locked_by == "taker"


def test_a_failed_job_comes_back_after_its_delay_with_the_reason(journal: Journal) -> None:
    job = make_job("failing")
    store = JobStore("a", 30)
    before = job.scheduled_at
    [changed] = store.fail([Failure(claim_one(store), "http_5xx", "HTTP 503 from x", 30.0)])
    job.refresh_from_db()
    assert (changed.status, job.status, job.retry_count) == ("pending", "pending", 1)
    assert 29 < (job.scheduled_at - before).total_seconds() < 60
    assert (job.error_code, job.last_error) == ("http_5xx", "HTTP 503 from x")
    assert journal.ended == []


def test_a_job_whose_next_try_would_come_too_late_fails_now(journal: Journal) -> None:
    make_job("failing", expires_in_s=20)
    store = JobStore("a", 30)
    [changed] = store.fail([Failure(claim_one(store), "timeout", "no answer", 30.0)])
    assert changed.status == "failed"
    assert [ended.error_code for ended in journal.ended] == ["timeout"]


def test_recovery_leaves_jobs_alone_whose_lease_still_holds(journal: Journal) -> None:
    make_job()
    claim_one(JobStore("alive", 30))
    assert JobStore("other", 30).recover() == []


def test_a_job_that_keeps_losing_its_poller_fails_in_the_end(journal: Journal) -> None:
    job = make_job()
    doomed, other = JobStore("doomed", 0), JobStore("other", 30)
    for _ in range(4):
        claim_one(doomed)
        other.recover()
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "poller_lost")
    assert "doomed" in job.last_error
    assert [ended.status for ended in journal.ended] == ["failed"]


def test_a_tick_renews_only_the_leases_of_jobs_that_the_poller_knows(journal: Journal) -> None:
    known, forgotten = make_job(), make_job()
    store = JobStore("a", 0)
    store.claim(10)
    JobStore("a", 30).tick([known.pk])
    recovered = JobStore("b", 30).recover()
    assert [job.id for job in recovered] == [forgotten.pk]


def test_released_jobs_are_due_again_at_once(journal: Journal) -> None:
    job = make_job()
    store = JobStore("a", 30)
    claim_one(store)
    assert store.release() == 1
    assert claim_one(JobStore("b", 30)).id == job.pk


def test_the_tick_tells_when_the_next_job_is_due(journal: Journal) -> None:
    store = JobStore("a", 30)
    store.register("host", 1)
    assert store.tick([]).next_due_s is None
    make_job(due_in_s=5)
    tick = store.tick([])
    assert tick.alive
    assert tick.next_due_s is not None
    assert 4 < tick.next_due_s <= 5


def test_the_partial_index_serves_the_claim() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO scheduled_jobs (job_type, phase, sequence_index, scheduled_at, status, retry_count,"
            " last_error, error_code, job_metadata, locked_by) SELECT 'quick', '', 0, now() - n * interval '1 second',"
            " CASE WHEN n % 500 = 0 THEN 'pending' ELSE 'completed' END, 0, '', '', '{}', ''"
            " FROM generate_series(1, 50000) AS n"
        )
        cursor.execute("ANALYZE scheduled_jobs")
        cursor.execute("EXPLAIN " + CLAIM, {"limit": 100, "owner": "a", "lease": 30})
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index Scan using jobs_due" in plan
    assert "Seq Scan on scheduled_jobs" not in plan
