import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import JSONField, Value

from scheduler.models import Poller as PollerRow
from scheduler.models import ScheduledJob
from scheduler.poller import Poller, PollerOptions
from scheduler.queue import NewJob, database_now, enqueue
from scheduler.registry import UnknownJobKind
from scheduler.store import JobStore
from scheduler.tests.kinds import Journal, make_job, plain_connection, wait_until
from scheduler.tests.pollers import running_poller

pytestmark = pytest.mark.django_db(transaction=True)


def statuses(*jobs: ScheduledJob) -> list[str]:
    by_id = dict(ScheduledJob.objects.filter(pk__in=[job.pk for job in jobs]).values_list("pk", "status"))
    return [by_id[job.pk] for job in jobs]


def all_done() -> bool:
    return not ScheduledJob.objects.open().exists()


def work_off() -> None:
    """Run a poller until no job is open."""
    with running_poller():
        wait_until(all_done)


@pytest.mark.parametrize(("due_in_s", "notified"), [(3, True), (9.9, True), (60, False)])
def test_sleeping_pollers_are_told_of_what_is_due_before_they_wake(
    journal: Journal, due_in_s: float, notified: bool
) -> None:
    with plain_connection() as listener:
        listener.execute("LISTEN seqpulse_jobs")
        enqueue([NewJob("quick", database_now() + timedelta(seconds=due_in_s))])
        assert bool(list(listener.notifies(timeout=0.5, stop_after=1))) == notified
    assert PollerOptions(poll_s=60, lease_s=600).heartbeat_s < due_in_s or notified


def test_due_jobs_run_and_their_results_are_recorded(journal: Journal) -> None:
    jobs = [make_job() for _ in range(30)]
    work_off()
    assert set(statuses(*jobs)) == {"completed"}
    assert sorted(journal.recorded) == sorted((job.pk, f"result of {job.pk}") for job in jobs)


def test_plain_functions_run_on_threads(journal: Journal) -> None:
    make_job("computing")
    work_off()
    [(_, thread)] = journal.recorded
    assert thread.startswith("worker")


def test_functions_that_call_back_end_their_jobs_once_whatever_they_do(journal: Journal) -> None:
    outcomes = {
        "later": "completed",
        "twice": "completed",
        "raises after its result": "completed",
        "error": "failed",
        "exception": "failed",
        "raises": "failed",
    }
    jobs = [make_job("calling_back", job_metadata={"how": how}) for how in outcomes]
    work_off()
    assert statuses(*jobs) == list(outcomes.values())
    assert sorted(journal.recorded) == [(job.pk, how) for job, how in zip(jobs[:3], outcomes, strict=False)]
    errors = [ScheduledJob.objects.get(pk=job.pk).last_error for job in jobs[3:]]
    assert "404" in errors[0] and "passed on" in errors[1] and "raised" in errors[2]


def test_a_stopping_poller_waits_for_functions_that_call_back(journal: Journal) -> None:
    job = make_job("calling_back", job_metadata={"how": "later"})
    with running_poller():
        wait_until(lambda: job.pk in journal.ran)
    assert statuses(job) == ["completed"]


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
    assert job.started_at is not None and (job.started_at - job.scheduled_at).total_seconds() >= 0


def test_an_enqueued_job_wakes_a_sleeping_poller(journal: Journal) -> None:
    with running_poller(poll_s=3600):
        time.sleep(0.5)
        enqueue([NewJob("quick")])
        wait_until(all_done)
    assert len(journal.recorded) == 1


@pytest.mark.parametrize(
    ("columns", "code", "words"),
    [
        ({"job_type": "raising"}, "raised", "ZeroDivisionError: broken\\0handler"),
        # Text that PostgreSQL does not store as it is.
        ({"job_type": "raising", "phase": "surrogate"}, "raised", "ZeroDivisionError: half a pair"),
        ({"job_type": "nobody_announced_this"}, "unknown_kind", "nobody_announced_this"),
        ({"job_type": "failing", "job_metadata": {"retry": False}}, "http_5xx", "HTTP 503 from the endpoint"),
        ({"job_metadata": Value([1], JSONField())}, "broken_row", "not an object but list"),
    ],
)
def test_a_job_that_no_retry_can_mend_fails_with_words_and_the_others_go_on(
    journal: Journal, columns: dict[str, Any], code: str, words: str
) -> None:
    broken, fine = make_job(**columns), make_job()
    work_off()
    assert statuses(broken, fine) == ["failed", "completed"]
    broken.refresh_from_db()
    assert (broken.error_code, words in broken.last_error) == (code, True), broken.last_error
    assert journal.ran[broken.pk] <= 1


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
    # Twenty heartbeats, so that a pause of the machine does not end the lease.
    with running_poller(lease_s=4), running_poller(lease_s=4):
        wait_until(lambda: journal.ran[job.pk] == 1)
        first = ScheduledJob.objects.get().locked_until
        assert first is not None
        # Over by more than the second after which the other one looks again.
        wait_until(lambda: database_now() > first + timedelta(seconds=1.5))
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


def test_a_project_whose_jobs_hang_leaves_room_for_another(journal: Journal) -> None:
    for _ in range(30):
        make_job("held", due_in_s=-10, fair_key=1)
    others = [make_job("held", due_in_s=-5, fair_key=2)] + [make_job(fair_key=2) for _ in range(20)]
    with running_poller(capacity=8):
        wait_until(lambda: set(statuses(*others[1:])) == {"completed"} and journal.ran[others[0].pk] == 1)
        journal.gate.set()
        wait_until(all_done)


def test_a_full_project_does_not_make_the_poller_spin(journal: Journal) -> None:
    for _ in range(30):
        make_job("held", fair_key=1)
    with running_poller(capacity=8, poll_s=5) as poller:
        wait_until(lambda: len(journal.ran) >= 4)
        time.sleep(0.5)
        looks = counted_looks(poller)
        time.sleep(2)
        assert len(looks) <= 10
        journal.gate.set()
        wait_until(all_done)


def counted_looks(poller: Poller) -> list[str]:
    """Grows by one with every query that the poller asks from now on."""
    asked: list[str] = []

    class Counting(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            asked.append(repr(args))
            return original.submit(fn, *args, **kwargs)

    original, poller.database.executor = poller.database.executor, Counting(1)
    return asked


def test_an_idle_poller_asks_one_question_per_fallback_interval(journal: Journal) -> None:
    poll_s = 0.5
    with running_poller(poll_s=poll_s) as poller:
        # What it asks when it begins is over by then.
        wait_until(lambda: poller.heartbeat_at > 0)
        begun = time.monotonic()
        looks = counted_looks(poller)
        time.sleep(2.6)
        asked = len(looks)
        assert 1 <= asked <= (time.monotonic() - begun) / poll_s + 1


def test_a_kind_that_blocks_its_threads_leaves_the_others_theirs(journal: Journal) -> None:
    blocking = [make_job("blocking", due_in_s=-9) for _ in range(6)]
    computing = make_job("computing")
    with running_poller(threads=2):
        wait_until(lambda: statuses(computing) == ["completed"])
        assert sum(journal.ran[job.pk] for job in blocking) == 1
        journal.gate.set()
        wait_until(all_done)


@contextmanager
def full_disk() -> Iterator[None]:
    """No job can be completed: the database says that its disk is full."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left' USING ERRCODE = '53100'; END $$;"
            "CREATE TRIGGER disk_full BEFORE UPDATE ON scheduled_jobs FOR EACH ROW"
            " WHEN (NEW.status = 'completed') EXECUTE FUNCTION disk_full()"
        )
        try:
            yield
        finally:
            cursor.execute("DROP TRIGGER disk_full ON scheduled_jobs; DROP FUNCTION disk_full()")


def test_what_was_measured_survives_a_full_disk(journal: Journal) -> None:
    jobs = [make_job() for _ in range(150)]
    # Full before the poller begins: it may have completed all jobs before anything could be done about it.
    with ExitStack() as disk:
        disk.enter_context(full_disk())
        with running_poller() as poller:
            wait_until(lambda: len(poller.recorder.results) >= 1 and poller.recorder.failures == [])
            time.sleep(1)
            assert set(statuses(*jobs)) == {"running"}
            disk.close()
            wait_until(all_done)
    assert set(statuses(*jobs)) == {"completed"}
    assert set(journal.ran.values()) == {1}


def test_a_poller_that_cannot_write_stops_claiming_more_than_it_can_hold(journal: Journal) -> None:
    for _ in range(60):
        make_job()
    with ExitStack() as disk:
        disk.enter_context(full_disk())
        with running_poller(capacity=20) as poller:
            wait_until(lambda: len(poller.recorder.results) >= 20)
            time.sleep(0.5)
            assert len(poller.held) == 20
            disk.close()
            wait_until(all_done)


@contextmanager
def read_only_database() -> Iterator[None]:
    """New connections to this database cannot write; those of pollers are ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        switch = f'ALTER DATABASE "{cursor.fetchone()[0]}" {{}} default_transaction_read_only'
        cursor.execute(switch.format("SET") + " = on")
        terminate_others(at_least=2)
        try:
            yield
        finally:
            cursor.execute(switch.format("RESET"))


def test_a_poller_waits_while_the_database_cannot_write_and_goes_on_by_itself(journal: Journal) -> None:
    with running_poller(poll_s=3600, lease_s=3600) as poller:
        held = [make_job("held") for _ in range(9)]
        connection.cursor().execute("NOTIFY seqpulse_jobs")
        wait_until(lambda: len(journal.ran) == 9)
        with read_only_database():
            writing = [make_job(name) for name in ("writing", "quick", "slow")]
            wait_until(lambda: not poller.listener.connected)
            # Their results come while nothing can be written.
            journal.gate.set()
            time.sleep(1.5)
            assert set(statuses(*held)) == {"running"}
        wait_until(all_done)
    assert set(statuses(*held, *writing)) == {"completed"}
    # Nothing was done twice, and no attempt was counted.
    assert set(journal.ran.values()) == {1}
    assert not ScheduledJob.objects.filter(retry_count__gt=0).exists()


def test_a_run_that_needs_the_database_is_no_failed_attempt_while_it_cannot_write(journal: Journal) -> None:
    job, late = make_job("writing"), make_job("writing", expires_in_s=2)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION full_now() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'No space left' USING ERRCODE = '53100'; END $$;"
            "CREATE TRIGGER full_now BEFORE INSERT ON running_totals FOR EACH ROW"
            " WHEN (NEW.name = 'written') EXECUTE FUNCTION full_now()"
        )
        try:
            with running_poller():
                wait_until(lambda: statuses(job, late) == ["running", "running"])
                # To have its time end meanwhile is no failure either.
                wait_until(lambda: statuses(late) == ["expired"])
                assert (journal.ran[job.pk], statuses(job)) == (0, ["running"])
                cursor.execute("DROP TRIGGER full_now ON running_totals")
                wait_until(all_done)
        finally:
            cursor.execute("DROP FUNCTION full_now() CASCADE")
    assert statuses(job) == ["completed"]


@pytest.mark.parametrize("reconnected", [True, False], ids=["reconnected", "behind-a-pooler"])
def test_a_poller_hands_back_what_the_table_says_it_runs_and_it_does_not(journal: Journal, reconnected: bool) -> None:
    """The database has gone back to a time before the end of a job."""
    job = make_job()
    # A pooler hides that another server answers: then the next heartbeat finds out.
    with running_poller(poll_s=3600 if reconnected else 1, lease_s=3600) as poller:
        wait_until(all_done)
        ScheduledJob.objects.update(
            status="running", locked_by=poller.name, locked_until=database_now() + timedelta(hours=1), finished_at=None
        )
        if reconnected:
            terminate_others(at_least=2)
        wait_until(all_done, 3)
    assert (statuses(job), journal.ran[job.pk]) == (["completed"], 2)


def terminate_others(at_least: int) -> None:
    """Ends all connections to this database but ours, once there are so many."""
    others = " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with connection.cursor() as cursor:

        def there() -> bool:
            cursor.execute("SELECT count(*)" + others)
            return bool(cursor.fetchone()[0] >= at_least)

        wait_until(there)
        cursor.execute("SELECT pg_terminate_backend(pid)" + others)


def test_lost_connections_lose_no_job_and_run_none_twice(journal: Journal) -> None:
    for _ in range(300):
        make_job("slow")
    with running_poller(capacity=40):
        for _ in range(5):
            terminate_others(at_least=2)
            time.sleep(0.3)
        wait_until(all_done, 40)
    assert ScheduledJob.objects.filter(status="completed").count() == 300
    assert len(journal.ran) == 300


def test_a_poller_hears_of_work_again_after_its_connections_were_lost(journal: Journal) -> None:
    with running_poller(poll_s=3600) as poller:
        wait_until(lambda: poller.listener.connected)
        terminate_others(at_least=2)
        wait_until(lambda: PollerRow.objects.filter(session_locked=True).exists())
        time.sleep(0.3)
        enqueue([NewJob("quick")])
        wait_until(all_done)


def test_an_idle_poller_takes_over_from_a_dead_one_within_seconds(journal: Journal) -> None:
    job = make_job()
    dead = JobStore("dead", 3600)
    dead.register("host", 1)
    PollerRow.objects.update(session_locked=True)
    dead.claim(1)
    with running_poller(poll_s=3600, lease_s=3600):
        wait_until(all_done)
    assert statuses(job) == ["completed"]
