from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection, transaction

from explain.facts import Fact
from scheduler import operations
from scheduler.fair_share import ClaimLimits
from scheduler.models import ScheduledJob
from scheduler.registry import Job
from scheduler.store import CLAIM, HEARTBEAT, MOST_LOSSES, RELEASE, SNAPSHOT, Failure, JobStore
from scheduler.tests.kinds import Journal, make_job, plain_connection, wait_until
from tests.concurrency import at_once

pytestmark = pytest.mark.django_db(transaction=True)

HTTP_503 = Fact("http_5xx", {"status": 503, "url": "x"})


def claim_one(store: JobStore) -> Job:
    [job] = store.claim(10)[0]
    return job


def test_the_claim_takes_due_jobs_in_the_order_of_their_time(journal: Journal) -> None:
    later, sooner = make_job(due_in_s=-1), make_job(due_in_s=-9)
    make_job(due_in_s=60)
    jobs, touched = JobStore("a", 30).claim(10)
    assert [job.id for job in jobs] == [sooner.pk, later.pk] or {job.id for job in jobs} == {sooner.pk, later.pk}
    assert touched == 2
    assert ScheduledJob.objects.get(pk=sooner.pk).locked_by == "a"


def test_a_limited_claim_takes_the_oldest(journal: Journal) -> None:
    make_job(due_in_s=-1)
    oldest = make_job(due_in_s=-9)
    assert [job.id for job in JobStore("a", 30).claim(1)[0]] == [oldest.pk]


def test_only_the_claim_does_not_wait_for_the_disk(journal: Journal, store: JobStore) -> None:
    def waits() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            return str(cursor.fetchone()[0])

    make_job()
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = local")  # unlike the server of the tests, which never waits
    try:
        with transaction.atomic():
            job = claim_one(store)
            assert waits() == "off"
        with transaction.atomic():
            assert store.complete([(job, "a result")]) == [job.id]
            assert waits() == "local"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET synchronous_commit")


def test_two_claimers_never_get_the_same_job(journal: Journal) -> None:
    for _ in range(200):
        make_job()

    def claim_all(number: int) -> list[int]:
        store, mine = JobStore("abcd"[number], 30), []
        while True:
            jobs, touched = store.claim(7)
            mine += [job.id for job in jobs]
            if not touched:
                return mine

    claimed = [job_id for ids in at_once(4, claim_all) for job_id in ids]
    assert len(claimed) == 200
    assert len(set(claimed)) == 200


def test_a_job_past_its_use_ends_as_expired_and_is_not_run(journal: Journal) -> None:
    job = make_job(due_in_s=-120, expires_in_s=-60)
    jobs, touched = JobStore("a", 30).claim(10)
    assert (jobs, touched) == ([], 1)
    job.refresh_from_db()
    assert (job.status, job.error_code, job.locked_by) == ("expired", "expired", "")
    assert "no poller ran it in time" in job.last_error
    assert job.shown_error == job.last_error
    assert [ended.status for ended in journal.ended] == ["expired"]


def test_completing_records_the_result_and_tells_the_kind(journal: Journal, store: JobStore) -> None:
    job = make_job()
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
    assert frozen.fail([Failure(late, Fact("x"), None)]) == []
    assert journal.recorded == []
    assert ScheduledJob.objects.get(pk=late.id).locked_by == "taker"


def test_a_failed_job_comes_back_after_its_delay_with_the_reason(journal: Journal, store: JobStore) -> None:
    job = make_job("failing")
    before = job.scheduled_at
    [changed] = store.fail([Failure(claim_one(store), HTTP_503, 30.0)])
    job.refresh_from_db()
    assert (changed.status, job.status, job.retry_count) == ("pending", "pending", 1)
    assert 29 < (job.scheduled_at - before).total_seconds() < 60
    assert (job.error_code, job.last_error) == ("http_5xx", "HTTP 503 from x")
    assert job.error_fact == HTTP_503.to_json()
    assert journal.ended == []


def test_a_job_whose_next_try_would_come_too_late_fails_now(journal: Journal, store: JobStore) -> None:
    make_job("failing", expires_in_s=20)
    [changed] = store.fail([Failure(claim_one(store), Fact("timeout"), 30.0)])
    assert changed.status == "failed"
    assert [ended.error_code for ended in journal.ended] == ["timeout"]


def test_recovery_leaves_jobs_alone_whose_lease_still_holds(journal: Journal) -> None:
    make_job()
    claim_one(JobStore("alive", 30))
    assert JobStore("other", 30).recover() == []


def lose(times: int) -> None:
    """Let a job lose that many pollers."""
    doomed, other = JobStore("doomed", 0), JobStore("other", 30)
    for _ in range(times):
        claim_one(doomed)
        other.recover()


def test_a_job_that_keeps_losing_its_poller_fails_in_the_end(journal: Journal) -> None:
    job = make_job()
    lose(MOST_LOSSES - 1)
    assert not journal.ended
    lose(1)
    job.refresh_from_db()
    # Its own tries are another matter.
    assert job.retry_count == 0
    assert (job.status, job.error_code) == ("failed", "poller_lost")
    assert "doomed" in job.last_error
    assert [ended.status for ended in journal.ended] == ["failed"]


def test_losses_are_counted_from_the_last_time_that_a_retry_was_asked_for(journal: Journal) -> None:
    job = make_job()
    lose(MOST_LOSSES)
    operations.retry([job.pk])
    lose(1)
    job.refresh_from_db()
    assert job.status == "pending"


def execute(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.mark.parametrize("history", ["{}", "17", '"text"', "[1, null]"])
def test_a_history_that_is_none_keeps_no_job_from_being_taken_back(journal: Journal, history: str) -> None:
    odd, sound = make_job(), make_job()
    execute("UPDATE scheduled_jobs SET history = %s WHERE id = %s", history, odd.pk)
    JobStore("doomed", 0).claim(10)
    assert {job.id for job in JobStore("other", 30).recover()} == {odd.pk, sound.pk}
    JobStore("doomed", 30).claim(10)
    odd.refresh_from_db()
    assert odd.history[-1]["code"] == "poller_lost"


DEEP = "repeat('[', 3000) || repeat(']', 3000)"


@pytest.mark.parametrize(
    ("change", "defect"),
    [
        ("scheduled_at = '-infinity'", Fact("broken_times")),
        ("expires_at = '20000-01-01'", Fact("broken_times")),
        ("scheduled_at = '4000-01-01 BC'", Fact("broken_times")),
        ("job_metadata = '[1]'", Fact("metadata_no_object", {"type": "list"})),
        ("job_metadata = 'null'", Fact("metadata_no_object", {"type": "NoneType"})),
        (f"job_metadata = ({DEEP})::jsonb", Fact("broken_metadata", {"problem": Fact("json_depth")})),
    ],
)
def test_a_value_that_cannot_be_used_is_a_defect_of_its_row_alone(store: JobStore, change: str, defect: Fact) -> None:
    odd, sound = make_job(), make_job()
    execute(f"UPDATE scheduled_jobs SET {change} WHERE id = %s", odd.pk)  # noqa: S608  (one of the above)
    assert {job.id: job.defect for job in store.claim(10)[0]} == {sound.pk: None, odd.pk: defect}


def test_a_job_of_use_for_ever_never_expires(journal: Journal) -> None:
    job = make_job()
    execute("UPDATE scheduled_jobs SET expires_at = 'infinity' WHERE id = %s", job.pk)
    claimed = claim_one(JobStore("a", 30))
    assert (claimed.expires_at, claimed.defect) == (None, None)


def test_a_heartbeat_renews_only_the_leases_of_jobs_that_the_poller_knows(journal: Journal) -> None:
    known, forgotten = make_job(), make_job()
    store = JobStore("a", 0)
    held = [job for job in store.claim(10)[0] if job.id == known.pk]
    assert JobStore("a", 30).heartbeat(held).unknown
    recovered = JobStore("b", 30).recover()
    assert [job.id for job in recovered] == [forgotten.pk]


def test_released_jobs_are_due_again_at_once(store: JobStore) -> None:
    job = make_job()
    claim_one(store)
    assert store.release() == 1
    assert claim_one(JobStore("b", 30)).id == job.pk


def test_the_heartbeat_returns_when_the_next_job_is_due(store: JobStore) -> None:
    store.register("host", 1)
    assert store.heartbeat([]).next_due_s is None
    make_job(due_in_s=5)
    snapshot = store.heartbeat([])
    assert snapshot.alive and snapshot.next_due_s is not None and 4 < snapshot.next_due_s <= 5


def make_large_table() -> None:
    """Fifty thousand ended jobs, a hundred that are due, a thousand that will be."""
    execute(
        "INSERT INTO scheduled_jobs (job_type, phase, sequence_index, scheduled_at, status, retry_count,"
        " last_error, error_code, job_metadata, locked_by) SELECT 'quick', '', 0, now() - n * interval '1 second',"
        " CASE WHEN n % 500 = 0 OR n < 0 THEN 'pending' ELSE 'completed' END, 0, '', '', '{}', ''"
        " FROM generate_series(-1000, 50000) AS n".replace("%", "%%")
    )
    execute("ANALYZE scheduled_jobs")


PARAMETERS = {
    "limit": 100,
    "owner": "a",
    "lease": 30,
    "full_kinds": ["other"],
    "full_queues": ["quick:1"],
    "held": [1],
    "since": [datetime.now(UTC)],
    "clock": 0.0,
}


def test_the_partial_indexes_serve_what_pollers_ask() -> None:
    make_large_table()
    served = {CLAIM: "jobs_due", "SELECT" + SNAPSHOT: "jobs_due", HEARTBEAT: "jobs_due", RELEASE: "jobs_running"}
    for statement, index in served.items():
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + statement, PARAMETERS)
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert index in plan, statement
        assert "Seq Scan on scheduled_jobs" not in plan, statement


def test_open_jobs_are_found_without_reading_the_ended_ones() -> None:
    make_large_table()
    plan = ScheduledJob.objects.open().filter(job_type="slow").explain()
    assert "jobs_due" in plan
    assert "Seq Scan" not in plan


def test_the_claim_skips_full_queues_and_kinds(journal: Journal) -> None:
    make_job(fair_key=1)
    other, nobodys = make_job(fair_key=2), make_job()
    make_job("slow", fair_key=2)
    limits = ClaimLimits(10, full_kinds=["slow"], full_queues=["quick:1"])
    assert {job.id for job in JobStore("a", 30).claim(10, limits)[0]} == {other.pk, nobodys.pk}


def test_the_snapshot_shows_what_may_be_claimed_and_whether_others_work(journal: Journal) -> None:
    make_job(fair_key=1)
    make_job(due_in_s=50, fair_key=2)
    store = JobStore("m", 30)
    snapshot = store.snapshot(ClaimLimits(10, [], ["quick:1"]))
    assert snapshot.next_due_s is not None and snapshot.next_due_s > 40
    assert not snapshot.elsewhere
    store.claim(1)
    assert not store.snapshot().elsewhere
    assert JobStore("a", 30).snapshot().elsewhere
    assert JobStore("z", 30).snapshot().elsewhere


def test_a_failure_of_an_earlier_claim_does_not_touch_a_later_one_of_the_same_poller(store: JobStore) -> None:
    make_job()
    earlier = claim_one(store)
    store.release()
    later = claim_one(store)
    assert store.fail([Failure(earlier, Fact("timeout"), None)]) == []
    assert store.complete([(earlier, "late")]) == []
    assert store.complete([(later, "hello")]) == [later.id]


def test_what_a_lost_claim_has_taken_goes_back_at_once(store: JobStore) -> None:
    make_job()
    unknown = make_job()
    held = [job for job in store.claim(10)[0] if job.id != unknown.pk]
    assert store.heartbeat(held).unknown
    assert store.release(keep=held) == 1
    assert not store.heartbeat(held).unknown
    assert claim_one(JobStore("b", 30)).id == unknown.pk


def test_an_earlier_claim_of_the_same_job_is_not_the_one_that_is_held(store: JobStore) -> None:
    job = make_job()
    earlier = claim_one(store)
    store.release()
    later = claim_one(store)
    assert not store.heartbeat([later]).unknown
    # The database goes back to the earlier claim.
    ScheduledJob.objects.filter(pk=job.pk).update(started_at=earlier.claimed_at)
    assert store.heartbeat([later]).unknown
    assert store.release(keep=[later]) == 1


@contextmanager
def session_of(owner: str) -> Iterator[None]:
    """A connection that holds the owner's lock, as its listener does, while the context lasts."""
    with plain_connection() as link:
        link.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [owner])
        yield


def test_jobs_of_a_poller_that_is_gone_are_taken_back_long_before_their_lease_ends(journal: Journal) -> None:
    job = make_job()
    doomed, other = JobStore("doomed", 3600), JobStore("other", 3600)
    doomed.register("host", 1)
    with session_of("doomed"):
        assert doomed.prove_session_lock()
        claim_one(doomed)
        assert other.recover() == []
    # Right after a start of the server locks are not checked.
    wait_until(lambda: [recovered.id for recovered in other.recover()] == [job.pk])
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("pending", "poller_lost")
    assert "doomed" in job.last_error


def test_who_cannot_prove_its_lock_is_not_judged_by_it(journal: Journal) -> None:
    make_job()
    pooled = JobStore("pooled", 3600)
    pooled.register("host", 1)
    assert not pooled.prove_session_lock()
    claim_one(pooled)
    assert JobStore("other", 30).recover() == []


def test_the_history_keeps_the_last_ten_failures(store: JobStore) -> None:
    job = make_job("failing")
    for number in range(12):
        claimed = claim_one(store)
        store.fail([Failure(claimed, Fact("raised", {"error": f"failure {number}"}), 0.0)])
    job.refresh_from_db()
    assert job.history is not None
    assert [entry["error"] for entry in job.history] == [f"failure {number}" for number in range(2, 12)]
    assert {(entry["event"], entry["code"], entry["poller"]) for entry in job.history} == {("put off", "raised", "a")}


def test_an_ended_callback_that_raises_does_not_keep_jobs_from_ending(journal: Journal, store: JobStore) -> None:
    fine, cursed = make_job("cursed"), make_job("cursed", sequence_index=13)
    jobs, _ = store.claim(10)
    assert store.complete([(job, None) for job in jobs]) == sorted([fine.pk, cursed.pk])
    assert [ended.id for ended in journal.ended] == [fine.pk]
