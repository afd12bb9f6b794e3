"""Levels in slots of five minutes: computed from the samples, each time with the same result."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from deployments.tests.factories import make_deployment
from metrics import levels, partitions
from metrics.levels import aggregate, slot_of
from metrics.models import Group, MetricLevel, MetricSample, Phase
from metrics.tests.factories import HEALTHY
from projects.models import Environment

pytestmark = pytest.mark.django_db
# A slot begins here.
NOW = datetime(2031, 5, 17, 12, tzinfo=UTC)


def sample(environment: Environment, *, minutes_ago: float, **columns: Any) -> None:
    at = NOW - timedelta(minutes=minutes_ago)
    partitions.ensure_days({at.date()})
    values = {"phase": Phase.BASELINE, "collected_at": at, **HEALTHY, **columns}
    MetricSample.objects.create(environment=environment, **values)


def found(environment: Environment, metric: str = "requests_per_sec") -> dict[int, tuple[int, float | None]]:
    """By minutes since the start of the slot: the number of its samples, and the level of the metric."""
    rows = MetricLevel.objects.filter(environment=environment).order_by("start")
    return {round((NOW - row.start).total_seconds() / 60): (row.samples, getattr(row, metric)) for row in rows}


def test_a_complete_slot_has_the_mean_of_its_samples(environment: Environment) -> None:
    for minutes_ago, rate in ((10, 1.0), (6, 3.0), (5, 10.0), (0, 100.0)):
        sample(environment, minutes_ago=minutes_ago, requests_per_sec=rate)
    aggregate(NOW + timedelta(minutes=1))
    assert found(environment) == {10: (2, 2.0), 5: (1, 10.0)}


def test_what_is_of_the_whole_service_feeds_it(environment: Environment) -> None:
    whole = make_deployment(environment=environment, state="finished")
    canary = make_deployment(environment=environment, state="finished", control={"selector": 'version="1"'})
    for number, phase in enumerate(Phase.values):
        own = {} if phase == Phase.BASELINE else {"deployment": whole}
        sample(environment, minutes_ago=4 - number, phase=phase, requests_per_sec=float(number), **own)
    sample(environment, minutes_ago=1, phase=Phase.POST, group=Group.CONTROL, deployment=whole)
    sample(environment, minutes_ago=1, phase=Phase.PRE, requests_per_sec=8.0, deployment=canary)
    # A part of the traffic.
    sample(environment, minutes_ago=2, phase=Phase.POST, requests_per_sec=100.0, deployment=canary)
    aggregate(NOW)
    # Baseline, before and after; not the step, number 2.
    assert Phase.values[2] == Phase.STEP
    assert found(environment) == {5: (4, 3.0)}


def test_only_samples_with_requests_have_a_latency(environment: Environment) -> None:
    for minutes_ago, rate, latency in ((4, 10.0, 120.0), (3, 0.0, 999.0), (2, 0.0, None), (1, 5.0, 0.0)):
        sample(environment, minutes_ago=minutes_ago, requests_per_sec=rate, latency_p95=latency)
    sample(environment, minutes_ago=6, requests_per_sec=0.0, latency_p95=None, cpu_usage=None)
    aggregate(NOW)
    assert found(environment, "latency_p95") == {10: (1, None), 5: (4, 120.0)}
    assert found(environment, "cpu_usage")[10] == (1, None)


def test_custom_metrics_of_the_policy_have_levels(environment: Environment) -> None:
    environment.policy = {"custom_metrics": [{"name": "jobs"}, {"name": "backlog"}, {"name": "absent"}]}
    environment.save()
    odd: list[Any] = [{"jobs": 1, "other": 5}, {"jobs": 3.0, "backlog": -1e300}, {"jobs": "many"}, None]
    for minutes_ago, custom in enumerate(odd, 1):
        sample(environment, minutes_ago=minutes_ago, custom_metrics=custom)
    sample(environment, minutes_ago=6)
    aggregate(NOW)
    custom_levels = list(MetricLevel.objects.order_by("start").values_list("custom_metrics", flat=True))
    assert custom_levels == [None, {"jobs": 2.0, "backlog": -(10**150)}]
    for wrong in ({}, {"custom_metrics": {"name": ["jobs"]}}, {"custom_metrics": "jobs"}):
        MetricLevel.objects.all().delete()
        Environment.objects.update(policy=wrong)
        aggregate(NOW)
        assert MetricLevel.objects.filter(custom_metrics__isnull=True).count() == 2


def test_values_beyond_all_reason_do_not_stop_it(environment: Environment) -> None:
    for minutes_ago in (1, 2, 3):
        sample(environment, minutes_ago=minutes_ago, requests_per_sec=1.7e308)
    aggregate(NOW)
    assert found(environment) == {5: (3, levels.LARGEST)}


def test_running_it_again_changes_nothing_and_writes_nothing(environment: Environment) -> None:
    for minutes_ago in range(1, 120):
        sample(environment, minutes_ago=minutes_ago)
    aggregate(NOW)
    before = list(MetricLevel.objects.order_by("start").values())
    versions = "SELECT array_agg(xmin::text || ctid::text ORDER BY start) FROM metric_levels"
    with connection.cursor() as cursor:
        [written] = cursor.execute(versions).fetchone()
        aggregate(NOW)
        aggregate(NOW + timedelta(minutes=4))
        assert cursor.execute(versions).fetchone() == (written,)
    assert list(MetricLevel.objects.order_by("start").values()) == before


def test_a_sample_that_is_stored_late_is_counted_once(environment: Environment) -> None:
    sample(environment, minutes_ago=4, requests_per_sec=10.0)
    aggregate(NOW)
    sample(environment, minutes_ago=3, requests_per_sec=20.0)
    aggregate(NOW + timedelta(minutes=25))
    aggregate(NOW + timedelta(minutes=30))
    assert found(environment) == {5: (2, 15.0)}


def test_what_was_missed_while_it_did_not_run_is_made_up_for(environment: Environment) -> None:
    sample(environment, minutes_ago=3 * 1440 + 2)
    aggregate(NOW - timedelta(days=3))
    for days in range(3):
        sample(environment, minutes_ago=days * 1440 + 2)
    aggregate(NOW)
    assert list(found(environment)) == [5 + days * 1440 for days in (3, 2, 1, 0)]


def test_an_interrupted_run_is_continued(environment: Environment) -> None:
    for days in (8, 1):
        sample(environment, minutes_ago=days * 1440 + 2)

    class Cut(Exception):
        pass

    def cut(run: Any, sql: str, params: Any, *call: Any) -> Any:
        if "INSERT INTO metric_levels" in sql and params["since"] > NOW - timedelta(days=5):
            raise Cut
        return run(sql, params, *call)

    with connection.execute_wrapper(cut), pytest.raises(Cut):
        aggregate(NOW)
    assert list(found(environment)) == [5 + 8 * 1440]
    aggregate(NOW)
    assert list(found(environment)) == [5 + days * 1440 for days in (8, 1)]


def test_levels_go_with_their_environment(environment: Environment) -> None:
    sample(environment, minutes_ago=2)
    Environment.objects.update(deleting_at=NOW)
    aggregate(NOW)
    assert found(environment) == {}
    Environment.objects.update(deleting_at=None)
    aggregate(NOW)
    environment.delete()
    assert not MetricLevel.objects.exists()


def test_slots_begin_at_multiples_of_five_minutes() -> None:
    assert slot_of(NOW - timedelta(seconds=0.001)) == NOW - timedelta(minutes=5)
    assert slot_of(NOW) == NOW
