"""The partitions of metric_samples: created ahead, read only where needed, dropped without blocking others."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from structlog.testing import capture_logs

from deployments.tests.factories import make_deployment
from metrics import partitions
from metrics.models import MEASURED, Group, MetricSample, SamplePlace
from metrics.payload import METRICS
from metrics.storing import store
from metrics.tests.factories import make_row, make_samples
from projects.models import Environment
from tests.concurrency import at_once, in_background
from tests.processes import wait_for

FAR = datetime(2031, 5, 17, 12, tzinfo=UTC)


@pytest.fixture
def far_day(transactional_db: None) -> Iterator[date]:
    """A day that is not made ahead; gone afterwards, as a truncated table keeps its partitions."""
    day = partitions.utc_day(FAR)
    yield day
    partitions._known.discard(day)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {partitions.name_of(day)}")


@pytest.fixture
def last_day(transactional_db: None) -> partitions.Partition:
    """The last of the days made ahead, which is not there."""
    partitions.make_ahead()
    partition = partitions.partitions()[-1]
    partitions._known.clear()
    partitions.drop(partition)
    return partition


def names() -> list[str]:
    return [partition.name for partition in partitions.partitions()]


@contextmanager
def own_connection() -> Iterator[psycopg.Connection[Any]]:
    """Another session in the tests' database."""
    known = connection.get_connection_params()
    names = ("host", "port", "dbname", "user", "password")
    with psycopg.connect(**{name: known[name] for name in names if known.get(name)}) as link:
        yield link


@pytest.mark.django_db
def test_two_weeks_are_there_ahead_and_making_them_again_changes_nothing() -> None:
    partitions.make_ahead()
    today = partitions.utc_day(timezone.now())
    ends = max(partition.until for partition in partitions.partitions())
    assert ends >= partitions.begin_of(today + timedelta(days=partitions.DAYS_AHEAD))
    before = names()
    assert partitions.make_ahead() == []
    assert names() == before


@pytest.mark.django_db
def test_days_follow_each_other_without_a_gap() -> None:
    partitions.make_ahead()
    found = partitions.partitions()
    assert found[0].since is None
    assert [one.until for one in found[:-1]] == [one.since for one in found[1:]]


@pytest.mark.django_db
def test_storing_a_sample_creates_the_missing_day(environment: Environment) -> None:
    assert store([make_row(environment, FAR)]) == 1
    assert partitions.name_of(partitions.utc_day(FAR)) in names()


def test_a_day_whose_making_was_rolled_back_is_made_again(far_day: date, environment: Environment) -> None:
    with transaction.atomic():
        store([make_row(environment, FAR)])
        transaction.set_rollback(True)
    assert partitions.name_of(far_day) not in names()
    assert store([make_row(environment, FAR)]) == 1


def test_a_day_that_a_failover_has_lost_is_made_again(far_day: date, environment: Environment) -> None:
    store([make_row(environment, FAR)])
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {partitions.name_of(far_day)}")
    connection.close()
    with transaction.atomic():
        assert store([make_row(environment, FAR)]) == 1


def test_a_day_created_concurrently_is_created_once(far_day: date) -> None:
    made = at_once(4, lambda _: partitions.ensure_days({far_day}))
    assert sorted(map(len, made)) == [0, 0, 0, 1]


@pytest.mark.django_db
def test_a_place_has_one_sample_whatever_its_time() -> None:
    deployment = make_deployment()
    for days in (0, 0, 1):
        at = timezone.now() + timedelta(days=days)
        row = make_row(deployment.environment, at, deployment_id=deployment.pk, phase="post", sequence_index=3)
        store([row, row])
    assert MetricSample.objects.count() == SamplePlace.objects.count() == 1


@pytest.mark.django_db
def test_baseline_samples_take_no_place(environment: Environment) -> None:
    now = timezone.now()
    assert store([make_row(environment, now + timedelta(minutes=minute)) for minute in range(3)]) == 3
    assert not SamplePlace.objects.exists()


def test_two_writers_of_the_same_places_leave_one_sample_each(transactional_db: None) -> None:
    deployment = make_deployment()

    def write(number: int) -> int:
        samples = [
            make_row(
                deployment.environment,
                timezone.now() + timedelta(seconds=index, milliseconds=number),
                deployment_id=deployment.pk,
                phase="post",
                sequence_index=index,
            )
            for index in range(50)
        ]
        return store(samples[:: 1 if number % 2 else -1])

    assert sum(at_once(4, write)) == MetricSample.objects.count() == 50


@pytest.mark.django_db
def test_deleting_a_deployment_takes_its_samples_and_places_along() -> None:
    deployment = make_deployment(state="finished")
    make_samples(deployment)
    SamplePlace.objects.create(
        deployment=deployment, environment_id=deployment.environment_id, phase="post", sequence_index=1
    )
    deployment.delete()
    assert not MetricSample.objects.exists()
    assert not SamplePlace.objects.exists()


@pytest.mark.django_db
def test_a_deployments_samples_are_read_from_the_partitions_of_its_days_only() -> None:
    partitions.make_ahead()
    at = timezone.now() + timedelta(days=5)
    finished = make_deployment(state="finished", started_at=at)
    plan = MetricSample.objects.of(finished).explain()
    expected = {partitions.name_of(partitions.utc_day(at + timedelta(minutes=minutes))) for minutes in (-60, 0, 66)}
    read = {name for name in names() if name in plan}
    assert read <= expected
    assert partitions.name_of(partitions.utc_day(at)) in read
    # Of one that may still get samples, nothing older is read.
    running = make_deployment(started_at=at)
    read = {name for name in names() if name in MetricSample.objects.of(running).explain()}
    assert names()[0] not in read
    assert names()[-1] in read


def test_a_drop_blocks_neither_reader_nor_writer(far_day: date, environment: Environment) -> None:
    store([make_row(environment, FAR)])
    [partition] = [one for one in partitions.partitions() if one.name == partitions.name_of(far_day)]
    with own_connection() as reader, own_connection() as writer:
        reader.execute("SELECT count(*) FROM metric_samples")
        dropping = in_background(lambda: partitions.drop(partition))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%DETACH%' AND wait_event_type = 'Lock'"
        with own_connection() as watcher:
            watcher.autocommit = True
            wait_for(lambda: watcher.execute(waiting).fetchone(), "the detach to wait for the reader")
        writer.execute("SET lock_timeout = '2s'")
        writer.execute(
            "INSERT INTO metric_samples (environment_id, phase, sequence_index, requests_per_sec, latency_p95,"
            " error_rate, cpu_usage, memory_usage, collected_at) VALUES (%s, 'baseline', 0, 1, 1, 0, 0, 0, now())",
            [environment.pk],
        )
        writer.commit()
        reader.rollback()
        assert dropping.result(20)
    assert partition.name not in names()
    assert MetricSample.objects.count() == 1


def test_an_interrupted_drop_is_continued(
    far_day: date, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    store([make_row(environment, FAR)])
    name = partitions.name_of(far_day)
    [partition] = [one for one in partitions.partitions() if one.name == name]
    monkeypatch.setattr(partitions, "DETACH_TIMEOUT_S", 0.2)
    with own_connection() as reader:
        reader.execute("SELECT count(*) FROM metric_samples")
        assert partitions.drop(partition) is False
    [pending] = [one for one in partitions.partitions() if one.name == name]
    assert pending.detaching
    assert partitions.drop(pending) is True
    assert name not in names()
    assert partitions.left_over() == []


def test_a_day_ahead_never_blocks_writers_behind_a_reader(
    last_day: partitions.Partition, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(partitions, "RETRY_AFTER_S", 0.01)
    with own_connection() as reader:
        reader.execute("SELECT count(*) FROM metric_samples")
        with capture_logs() as logs:
            assert partitions.make_ahead() == []
        assert [(line["event"], line["partition"]) for line in logs] == [("partition_postponed", last_day.name)]
        # A writer that needs the day does not wait for the reader.
        assert last_day.since is not None
        assert store([make_row(environment, last_day.since)]) == 1
    assert last_day.name in names()


def test_a_day_ahead_is_tried_again_until_the_reader_is_done(
    last_day: partitions.Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_S", 0.1)
    with own_connection() as reader:
        reader.execute("SELECT count(*) FROM metric_samples")
        monkeypatch.setattr(partitions, "sleep", lambda seconds: reader.rollback())
        assert partitions.make_ahead() == [last_day.name]
    assert partitions.make_ahead() == []


@pytest.mark.django_db
def test_samples_and_their_places_can_be_distributed_by_environment() -> None:
    """Every unique index has environment_id, and nothing in the database refers to another table."""
    tables = ["metric_samples", "sample_places"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text, array_agg(attname::text) FROM pg_index"
            " JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)"
            " WHERE indisunique AND indrelid = ANY(%s::regclass[]) GROUP BY 1",
            [tables],
        )
        columns = dict(cursor.fetchall())
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY(%s::regclass[])", [tables]
        )
        assert cursor.fetchall() == []
    assert set(columns) == {"metric_samples_pkey", "one_sample_per_instant", "sample_places_pkey"}
    assert all("environment_id" in names for names in columns.values())


@pytest.mark.django_db
def test_the_table_has_the_columns_of_the_model() -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_table_description(cursor, MetricSample._meta.db_table)
    assert {(column.name, column.null_ok) for column in found} == {
        (field.column, field.null) for field in MetricSample._meta.concrete_fields
    }


@pytest.mark.django_db
def test_treatment_and_control_have_places_of_their_own() -> None:
    deployment = make_deployment()
    place = {"deployment_id": deployment.pk, "phase": "post", "sequence_index": 3}
    now = timezone.now()
    rows = [make_row(deployment.environment, now, **place, group=group) for group in Group.values]
    assert (store(rows), store(rows)) == (2, 0)


@pytest.mark.django_db
def test_a_sample_without_any_metric_counts_as_missing() -> None:
    deployment = make_deployment(state="finished")
    make_samples(deployment)
    nothing: dict[str, None] = dict.fromkeys(MEASURED)
    MetricSample.objects.filter(phase="post", sequence_index=2).update(**nothing)
    for index, metric in enumerate(METRICS[:2], start=3):
        known = {metric: 5.0}
        MetricSample.objects.filter(phase="post", sequence_index=index).update(**{**nothing, **known})
    MetricSample.objects.filter(phase="post", sequence_index=5).update(**{**nothing, "custom_metrics": {"jobs": 3.0}})
    assert [one.sequence_index for one in MetricSample.objects.of(deployment)] == [0, 1, 3, 4, 5]


@pytest.mark.django_db
def test_samples_of_the_control_group_are_not_those_of_the_deployment() -> None:
    deployment = make_deployment(state="finished")
    make_samples(deployment)
    MetricSample.objects.filter(phase="post", sequence_index=2).update(group=Group.CONTROL)
    assert [one.sequence_index for one in MetricSample.objects.of(deployment)] == [0, 1, 3, 4, 5]


def test_the_migration_can_be_taken_back(transactional_db: None) -> None:
    MigrationExecutor(connection).migrate([("metrics", None)])
    assert "metric_samples" not in connection.introspection.table_names()
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    assert names()
