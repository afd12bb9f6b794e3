"""Operations of staff on jobs."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from scheduler import operations
from scheduler.models import ScheduledJob
from scheduler.store import JobStore
from scheduler.tests.kinds import Journal, make_job

pytestmark = pytest.mark.django_db


def ended(status: str = "failed", *, days_ago: float = 0, **columns: Any) -> ScheduledJob:
    finished_at = timezone.now() - timedelta(days=days_ago)
    return make_job("quick", status=status, finished_at=finished_at, **columns)


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_an_ended_job_is_due_again_with_all_its_retries(journal: Journal, status: str) -> None:
    job = ended(status, retry_count=3, error_code="timeout", last_error="no answer", expires_in_s=60)
    assert operations.retry([job.pk], by="ann") == [operations.Outcome(job.pk, done=True)]
    job.refresh_from_db()
    assert (job.status, job.retry_count, job.finished_at) == ("pending", 0, None)
    assert job.history is not None
    assert (job.history[0]["event"], job.history[0]["error"]) == ("retried", "by ann")
    assert [claimed.id for claimed in JobStore("a", 30).claim(10)[0]] == [job.pk]


def test_a_job_whose_time_is_over_is_not_retried(journal: Journal) -> None:
    job = ended("expired", expires_in_s=-60)
    [outcome] = operations.retry([job.pk])
    assert not outcome.done
    assert "its time is over" in outcome.words
    job.refresh_from_db()
    assert job.status == "expired"


@pytest.mark.parametrize("status", ["pending", "running", "completed"])
def test_only_what_ended_badly_is_retried(journal: Journal, status: str) -> None:
    job = make_job(status=status)
    [outcome] = operations.retry([job.pk])
    assert (outcome.done, status in outcome.words) == (False, True)


def test_cancelling_tells_the_kind(journal: Journal) -> None:
    job = make_job()
    assert operations.cancel([job.pk], by="ann")[0].done
    job.refresh_from_db()
    assert (job.status, job.last_error) == ("cancelled", "cancelled by ann")
    assert [(one.id, one.status) for one in journal.ended] == [(job.pk, "cancelled")]


def test_what_runs_or_has_ended_is_not_cancelled(journal: Journal) -> None:
    running, done = make_job(status="running"), ended("completed")
    words = [outcome.words for outcome in operations.cancel([running.pk, done.pk, 999_999_999])]
    assert words == ["it is running and ends by itself", "it has ended already: completed", "there is no such job"]


def test_pruning_deletes_what_ended_long_ago_and_nothing_else(journal: Journal) -> None:
    old = [ended(status, days_ago=31) for status in ("completed", "failed", "cancelled", "expired")]
    kept = [ended(days_ago=29), make_job(due_in_s=-40 * 86400)]
    assert operations.prune(30, dry_run=True) == len(old)
    assert operations.prune(30) == len(old)
    assert set(ScheduledJob.objects.values_list("pk", flat=True)) == {job.pk for job in kept}


def test_ticks_are_pruned_long_before_other_jobs(journal: Journal) -> None:
    def tick(status: str, hours_ago: float, fair_key: int | None) -> ScheduledJob:
        job = ended(status, days_ago=hours_ago / 24)
        ScheduledJob.objects.filter(pk=job.pk).update(unique_key=f"tick:{job.pk}", fair_key=fair_key)
        return job

    over = [tick("completed", 2, 1), tick("completed", 2, None), tick("failed", 25, 1), tick("expired", 25, 1)]
    kept = [tick("completed", 0.5, 1), tick("failed", 23, 1), tick("failed", 25, None), ended("completed", days_ago=3)]
    assert operations.prune_ticks() == len(over)
    assert set(ScheduledJob.objects.values_list("pk", flat=True)) == {job.pk for job in kept}


def test_the_summary_tells_what_is_late_and_stuck(journal: Journal) -> None:
    make_job(due_in_s=-300)
    make_job(due_in_s=300)
    ended("failed")
    found = operations.summary()
    assert (found["kinds"]["quick"]["pending"], found["kinds"]["quick"]["failed"]) == (2, 1)
    assert 290 < found["kinds"]["quick"]["late_s"] < 400
    assert len(found["stuck"]) == 1


def test_the_command_shows_the_same_for_people_and_machines(journal: Journal) -> None:
    make_job(due_in_s=-300)
    for arguments, expected in (((), "stuck: quick"), (("--json",), '"stuck"')):
        out = StringIO()
        call_command("jobs", *arguments, stdout=out)
        assert expected in out.getvalue()


def test_the_command_refuses_with_words_and_an_exit_code(journal: Journal) -> None:
    fine, over = ended("failed"), ended("expired", expires_in_s=-60)
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("jobs", "retry", str(fine.pk), str(over.pk), "--json", stdout=out)
    assert [outcome["done"] for outcome in json.loads(out.getvalue())] == [True, False]


def test_the_prune_command_says_how_many(journal: Journal) -> None:
    ended(days_ago=31)
    out = StringIO()
    call_command("prune_jobs", "--older-than", "30", "--dry-run", stdout=out)
    assert out.getvalue().strip() == "1 jobs would be deleted"
    assert ScheduledJob.objects.count() == 1
