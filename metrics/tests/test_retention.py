"""Old samples are removed by plan and counted by project; verdicts stay."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any, TypeVar

import pytest
from django.core.management import call_command
from django.db import connection
from structlog.testing import capture_logs

from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from metrics import partitions, retention
from metrics.levels import aggregate
from metrics.models import MetricLevel, MetricSample, SamplePlace
from metrics.retention import NO_PROJECT, Swept, sweep
from metrics.storing import Sample, store
from metrics.tests.factories import HEALTHY, make_row
from projects.models import Environment
from projects.tests.factories import make_environment, make_project
from scheduler.queue import NewJob, enqueue
from tests.concurrency import at_once, in_background

# Beyond what is made ahead, so that each day is a partition of its own.
NOW = datetime(2031, 5, 17, 12, tzinfo=UTC)
DAY = timedelta(days=1)
T = TypeVar("T")


@pytest.fixture(autouse=True)
def database(transactional_db: None) -> Iterator[None]:
    """Sweeps run outside any transaction; the partitions they leave are gone afterwards."""
    before = {partition.name for partition in partitions.partitions()}
    yield
    partitions._known.clear()
    with connection.cursor() as cursor:
        for name in [one.name for one in partitions.partitions() if one.name not in before]:
            cursor.execute(f"DROP TABLE {name}")
    # In 2031 those of today were over.
    partitions.make_ahead()


def environment_on(plan: str, **project: int) -> Environment:
    return make_environment(project=make_project(plan=plan, **project))


def fill(environment: Environment, *ages_days: float, each: int = 1) -> None:
    store(
        [
            make_row(environment, NOW - age * DAY + timedelta(seconds=number))
            for age in ages_days
            for number in range(each)
        ]
    )


def ages(environment: Environment) -> list[int]:
    times = MetricSample.objects.filter(environment=environment).values_list("collected_at", flat=True)
    return sorted({round((NOW - time) / DAY) for time in times})


def days_with_a_partition() -> set[str]:
    return {one.name for one in partitions.partitions()}


def test_each_project_keeps_what_its_plan_gives() -> None:
    free, pro, own = environment_on("free"), environment_on("pro"), environment_on("pro", retention_days=2)
    for environment in (free, pro, own):
        fill(environment, 1, 6, 8, 29, 31)
    sweep(now=NOW)
    assert (ages(free), ages(pro), ages(own)) == ([1, 6], [1, 6, 8, 29], [1])


def test_days_that_no_plan_needs_go_as_a_whole_and_others_do_not() -> None:
    fill(environment_on("pro"), 1, 29, 40)
    fill(environment_on("free"), 29)
    swept = sweep(now=NOW)
    # Those that are there ahead are of days long before 2031.
    assert [name for name in swept.partitions if "_2031" in name] == [partitions.name_of((NOW - 40 * DAY).date())]
    assert partitions.name_of((NOW - 29 * DAY).date()) in days_with_a_partition()
    assert partitions.left_over() == []


def test_more_than_a_batch_goes_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    free = environment_on("free")
    fill(environment_on("pro"), 9)
    fill(free, 9, each=35)
    steps: list[str] = []
    swept = sweep(now=NOW, say=steps.append)
    assert ages(free) == []
    assert swept.samples == {free.project_id: 35}
    assert [step.split()[1] for step in steps if "older than" in step] == ["10", "20", "30", "35"]


def test_a_dry_run_counts_the_same_and_removes_nothing() -> None:
    free, pro = environment_on("free"), environment_on("pro")
    fill(free, 1, 9, 40)
    fill(pro, 1, 40)
    planned = sweep(now=NOW, dry_run=True)
    assert (ages(free), ages(pro)) == ([1, 9, 40], [1, 40])
    done = sweep(now=NOW)
    assert (planned.samples, planned.partitions) == (done.samples, done.partitions)
    assert done.samples == {free.project_id: 2, pro.project_id: 1}
    assert sweep(now=NOW).samples == {}


def test_samples_whose_project_is_gone_go_too() -> None:
    gone = environment_on("pro")
    fill(gone, 1, 40)
    fill(environment_on("pro"), 1)
    Environment.objects.filter(pk=gone.pk)._raw_delete("default")  # type: ignore[attr-defined]
    assert sweep(now=NOW).samples == {NO_PROJECT: 1}


def test_what_was_interrupted_after_the_detach_is_dropped_by_the_next_run() -> None:
    fill(environment_on("free"), 20)
    name = partitions.name_of((NOW - 20 * DAY).date())
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE metric_samples DETACH PARTITION {name} CONCURRENTLY")
    assert partitions.left_over() == [name]
    sweep(now=NOW)
    assert partitions.left_over() == []


def observed(environment: Environment, age_days: float, **columns: Any) -> Deployment:
    """A deployment whose finish is so many days ago, with the samples of its five minutes and their places."""
    finished_at = NOW - age_days * DAY
    values = {
        "state": "analyzed",
        "started_at": finished_at - timedelta(minutes=1),
        "finished_at": finished_at,
        **columns,
    }
    deployment = make_deployment(environment=environment, **values)
    store(rows_of(deployment))
    return deployment


def rows_of(deployment: Deployment) -> list[Sample]:
    begin = deployment.finished_at or deployment.started_at
    return [
        make_row(
            deployment.environment,
            begin + timedelta(minutes=number),
            deployment_id=deployment.pk,
            phase="post",
            sequence_index=number,
        )
        for number in range(1, 6)
    ]


def with_places() -> set[int]:
    return set(SamplePlace.objects.values_list("deployment_id", flat=True))


def test_places_go_with_the_samples_of_their_deployments() -> None:
    free, pro = environment_on("free"), environment_on("pro")
    gone, fresh, kept, over = observed(free, 8), observed(free, 6), observed(pro, 8), observed(pro, 31)
    abandoned = observed(free, 8, state="abandoned", finished_at=None, started_at=NOW - 8 * DAY)
    planned = sweep(now=NOW, dry_run=True)
    assert with_places() == {one.pk for one in (gone, fresh, kept, over, abandoned)}
    with capture_logs() as logs:
        swept = sweep(now=NOW)
    assert with_places() == {fresh.pk, kept.pk}
    assert planned.places == swept.places == 15
    assert [line["places"] for line in logs if line["event"] == "sample_places_expired"] == [15]
    assert sweep(now=NOW).places == 0


def test_places_of_deployments_that_were_deleted_by_hand_go() -> None:
    deployment = observed(environment_on("free"), 1)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM deployments WHERE id = %s", [deployment.pk])
    assert with_places() == {deployment.pk}
    assert sweep(now=NOW).places == 5
    assert with_places() == set()


def test_places_of_deployments_for_which_something_may_still_come_stay() -> None:
    free = environment_on("free")
    unjudged, open_job = observed(free, 8, state="finished"), observed(free, 8)
    enqueue([NewJob("post_collect", NOW, open_job.pk, "post", sequence_index=5)])
    sweep(now=NOW)
    assert with_places() == {unjudged.pk, open_job.pk}


@pytest.mark.parametrize(("age", "left"), [(6, 5), (7, 3)])
def test_a_job_that_runs_again_never_doubles_a_sample_that_is_still_there(age: int, left: int) -> None:
    deployment = observed(environment_on("free"), age)
    sweep(now=NOW + timedelta(minutes=3))
    assert MetricSample.objects.count() == left
    assert store(rows_of(deployment)) == 0
    assert MetricSample.objects.count() == left


def test_places_go_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    observed(environment_on("free"), 8)
    steps: list[str] = []
    sweep(now=NOW, say=steps.append)
    assert [step.split()[1] for step in steps if step.startswith("sample_places")] == ["2", "4", "5"]


def test_levels_are_kept_for_thirty_days_on_every_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    free, enterprise = environment_on("free"), environment_on("enterprise")
    for environment in (free, enterprise):
        fill(environment, 1, 8, 29, 31)
    aggregate(NOW)
    assert level_ages() == [1, 1, 8, 8, 29, 29]
    sweep(now=NOW)
    assert (ages(free), len(level_ages())) == ([1], 6)
    later = NOW + 23 * DAY
    assert sweep(now=later, dry_run=True).levels == 4
    steps: list[str] = []
    assert sweep(now=later, say=steps.append).levels == 4
    assert [step.split()[1] for step in steps if step.startswith("metric_levels")] == ["2", "4"]
    assert level_ages() == [1, 1]


def level_ages() -> list[int]:
    return sorted(round((NOW - start) / DAY) for start in MetricLevel.objects.values_list("start", flat=True))


def test_of_two_runs_at_once_one_does_the_work_and_the_other_nothing() -> None:
    free = environment_on("free")
    fill(free, 1, 20, 40)
    beside: list[Swept] = []
    said: list[str] = []

    def another_run(_: str) -> None:
        if not beside:
            beside.append(in_background(lambda: sweep(now=NOW, say=said.append)).result())

    swept = sweep(now=NOW, say=another_run)
    assert (beside, said) == ([Swept(busy=True)], ["Another run is at work: nothing done."])
    assert (swept.busy, swept.samples, ages(free)) == (False, {free.project_id: 2}, [1])
    assert not in_background(lambda: sweep(now=NOW)).result().busy


def test_runs_that_begin_at_once_all_end() -> None:
    free = environment_on("free")
    fill(free, *range(1, 40))
    swept = at_once(4, lambda _: sweep(now=NOW))
    assert sum(one.samples.total() for one in swept) == 32
    assert ages(free) == [1, 2, 3, 4, 5, 6, 7]


def test_a_run_that_fails_leaves_the_way_free_for_the_next() -> None:
    fill(environment_on("free"), 20)

    def break_off(_: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        sweep(now=NOW, say=break_off)
    assert not in_background(lambda: sweep(now=NOW)).result().busy


def test_the_command_beside_another_run_says_so_and_is_no_failure() -> None:
    out = StringIO()
    with retention.advisory_lock(retention.LOCK) as taken:
        assert taken
        in_background(lambda: call_command("cleanup_metrics", stdout=out)).result()
    assert out.getvalue() == "Another run is at work: nothing done.\n"


def test_each_project_has_a_line_in_the_log() -> None:
    free = environment_on("free")
    fill(free, 9, each=3)
    with capture_logs() as logs:
        sweep(now=NOW)
    lines = [line for line in logs if line["event"] == "samples_expired"]
    assert [(line["project_id"], line["samples"], line["retention_days"]) for line in lines] == [
        (str(free.project.uuid), 3, 7)
    ]


def test_the_command_says_how_many_of_whom() -> None:
    free = environment_on("free")
    make_environment(project=make_project(plan="enterprise"))
    MetricSample.objects.create(
        environment=free, phase="baseline", collected_at=datetime(2020, 1, 1, tzinfo=UTC), **HEALTHY
    )
    out = StringIO()
    call_command("cleanup_metrics", "--dry-run", stdout=out)
    assert f"{free.project}: 1 samples to be removed" in out.getvalue()
    assert MetricSample.objects.count() == 1
    call_command("cleanup_metrics", stdout=out)
    assert f"{free.project}: 1 samples removed" in out.getvalue()
    assert not MetricSample.objects.exists()
