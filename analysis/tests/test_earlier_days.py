"""The levels of the same minutes of earlier days: found in one query, without what was judged bad."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from analysis.earlier_days import DAYS_USED, OLDEST_DAY, load_earlier_days, times_of_day
from analysis.evidence import load_evidence
from analysis.judge.types import EarlierDay, Sample
from analysis.services import give_feedback
from analysis.tests.factories import make_verdict
from analysis.tests.plans import plans_of
from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from metrics import partitions
from metrics.levels import SLOT, aggregate
from metrics.models import MetricLevel, MetricSample
from metrics.tests.factories import HEALTHY
from projects.models import Environment
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db
# The trigger; the deployment takes an hour and is observed for ten minutes.
START = datetime(2031, 5, 17, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def deployed(environment: Environment, **columns: Any) -> Deployment:
    values = {"started_at": START, "finished_at": START + HOUR, "window_samples": 10, **columns}
    return make_deployment(environment=environment, state="finished", **values)


def level(environment: Environment, start: datetime, **metrics: Any) -> MetricLevel:
    return MetricLevel.objects.create(environment=environment, start=start, samples=5, **{**HEALTHY, **metrics})


def levels(environment: Environment, days_ago: int, *, before: float, after: float) -> None:
    """Levels of the traffic in the quarters of an hour around the minutes of the trigger and of the window."""
    for number in (-2, -1, 0, 1):
        level(environment, START - days_ago * DAY + number * SLOT, requests_per_sec=before)
        level(environment, START + HOUR - days_ago * DAY + (number + 1) * SLOT, requests_per_sec=after)


def days_of(deployment: Deployment) -> dict[int, tuple[float | None, float | None]]:
    """The traffic before and after, by days ago."""
    window = load_evidence([deployment], START + 2 * HOUR)[deployment.pk].window
    metric = "requests_per_sec"
    return {day.days_ago: (day.before.get(metric), day.after.get(metric)) for day in window.earlier_days}


def test_earlier_days_show_the_levels_of_the_same_minutes(environment: Environment) -> None:
    levels(environment, 1, before=100.0, after=50.0)
    levels(environment, 7, before=80.0, after=20.0)
    assert days_of(deployed(environment)) == {1: (100.0, 50.0), 7: (80.0, 20.0)}


def test_a_level_is_the_mean_of_its_slots_and_absent_where_none_has_the_metric(environment: Environment) -> None:
    for at in (START - 2 * SLOT, START + HOUR):
        level(environment, at - DAY, requests_per_sec=10.0, latency_p95=None)
    level(environment, START - SLOT - DAY, requests_per_sec=20.0, latency_p95=None)
    deployment = deployed(environment)
    [day] = load_evidence([deployment], START + 2 * HOUR)[deployment.pk].window.earlier_days
    assert day.before["requests_per_sec"] == 15.0
    assert "latency_p95" not in day.before
    assert day.after == {
        name: value for name, value in {**HEALTHY, "requests_per_sec": 10.0}.items() if name in day.after
    }


def test_custom_metrics_have_levels_too(environment: Environment) -> None:
    given: list[dict[str, float] | None] = [{"jobs": 10.0}, {"jobs": 20.0, "backlog": 7.0}, None]
    for number, custom in enumerate(given, -2):
        level(environment, START - DAY + number * SLOT, custom_metrics=custom)
    level(environment, START + HOUR - DAY)
    deployment = deployed(environment)
    [day] = load_evidence([deployment], START + 2 * HOUR)[deployment.pk].window.earlier_days
    assert day.before == {**HEALTHY, "jobs": 15.0, "backlog": 7.0}
    assert day.after.keys() == HEALTHY.keys()


def test_the_minutes_are_those_of_the_samples() -> None:
    def samples(*minutes: float) -> list[Sample]:
        return [Sample(START + timedelta(minutes=minute), 1.0, 1.0, 0.0, 0.1, 0.1) for minute in minutes]

    deployment = Deployment(started_at=START, finished_at=START + HOUR)
    times = times_of_day(deployment, samples(-30, -10, 0), samples(61, 63, 71), START + 2 * HOUR)
    assert times.before == (START - timedelta(minutes=30), START)
    # Too short a time is widened around its middle.
    assert times.after == (START + timedelta(minutes=58.5), START + timedelta(minutes=73.5))
    nothing = times_of_day(deployment, [], [], START + 2 * HOUR)
    assert nothing.before == (START - timedelta(minutes=7.5), START + timedelta(minutes=7.5))
    assert nothing.after == (START + HOUR, START + 2 * HOUR)


def test_a_day_without_one_of_the_levels_is_left_out_and_older_ones_take_its_place(environment: Environment) -> None:
    level(environment, START - DAY)
    level(environment, START + HOUR - 2 * DAY)
    for days_ago in range(3, OLDEST_DAY + 3):
        levels(environment, days_ago, before=1.0, after=2.0)
    assert list(days_of(deployed(environment))) == list(range(3, 3 + DAYS_USED))


def test_the_hours_of_the_same_day_are_no_earlier_day(environment: Environment) -> None:
    levels(environment, 0, before=1.0, after=2.0)
    assert days_of(deployed(environment)) == {}


@pytest.mark.parametrize(
    ("verdict", "conclusive", "marked_wrong", "used"),
    [
        ("ok", True, False, True),
        ("ok", True, True, False),
        ("ok", False, False, False),
        ("warning", True, False, False),
        ("rollback_recommended", True, False, False),
        ("", True, False, False),
    ],
)
def test_only_the_windows_of_good_deployments_feed_earlier_days(
    environment: Environment, verdict: str, conclusive: bool, marked_wrong: bool, used: bool
) -> None:
    levels(environment, 1, before=10.0, after=10.0)
    # Observed for five of the minutes; they alone are left out.
    at = START + HOUR - DAY
    earlier = deployed(environment, started_at=at, finished_at=at, window_samples=4)
    if verdict:
        make_verdict(earlier, verdict=verdict, conclusive=conclusive)
        if marked_wrong:
            give_feedback(earlier.verdict, right=False, by=None)
    MetricLevel.objects.filter(start=at).update(requests_per_sec=70.0)
    assert days_of(deployed(environment)) == {1: (10.0, 30.0 if used else 10.0)}


def test_a_window_excluded_later_feeds_no_earlier_day(environment: Environment) -> None:
    levels(environment, 1, before=10.0, after=10.0)
    deployment = deployed(environment)
    assert days_of(deployment) == {1: (10.0, 10.0)}
    environment.excluded_windows.create(starts_at=START - DAY - HOUR, ends_at=START - DAY + HOUR / 2)
    assert days_of(deployment) == {}


def test_settling_belongs_to_the_window(environment: Environment) -> None:
    levels(environment, 1, before=10.0, after=10.0)
    deployed(
        environment, started_at=START - DAY - HOUR, finished_at=START - DAY - HOUR, window_samples=1, settle_s=5000
    )
    assert days_of(deployed(environment)) == {}


def test_another_environments_levels_are_never_used(environment: Environment) -> None:
    levels(make_environment(), 1, before=1.0, after=2.0)
    assert days_of(deployed(environment)) == {}


def test_the_days_of_all_deployments_are_one_query(
    environment: Environment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other = make_environment()
    levels(environment, 1, before=1.0, after=2.0)
    levels(other, 2, before=3.0, after=4.0)
    times = times_of_day(deployed(environment), [], [], START + HOUR + timedelta(minutes=10))
    with django_assert_num_queries(1):
        found = load_earlier_days([(environment.pk, times), (other.pk, times), (0, times)])
    assert [[day.days_ago for day in days] for days in found] == [[1], [2], []]
    with django_assert_num_queries(0):
        assert load_earlier_days([]) == []


def test_a_level_has_as_many_digits_as_are_stored(environment: Environment) -> None:
    levels(environment, 1, before=1 / 3, after=123456.789)
    assert days_of(deployed(environment)) == {1: (0.333333, 123457.0)}


def test_earlier_days_are_found_by_indexes() -> None:
    environment = make_environment()
    environments = [environment, *(make_environment() for _ in range(5))]
    MetricLevel.objects.bulk_create(
        MetricLevel(environment=one, start=START - number * SLOT, samples=5, **HEALTHY)
        for one in environments
        for number in range(30 * 288)
    )
    for number in range(400):
        at = START - number * 2 * HOUR
        make_deployment(environment=environments[number % 6], state="finished", started_at=at)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE metric_levels, deployments")
    times = times_of_day(Deployment(started_at=START, finished_at=START), [], [], START + timedelta(minutes=10))
    with plans_of("metric_levels") as plans:
        [days] = load_earlier_days([(environment.pk, times)])
    assert len(days) == DAYS_USED
    [plan] = plans
    assert "Index Scan" in plan
    assert "Seq Scan on metric_levels" not in plan
    assert "Seq Scan on deployments" not in plan
    assert isinstance(days[0], EarlierDay)


def test_a_sample_becomes_part_of_what_later_days_expect(environment: Environment) -> None:
    """From a stored sample to the evidence of the next day, by the poller's own steps."""
    for begin in (START - DAY, START + HOUR - DAY):
        for minute in range(-10, 10):
            at = begin + timedelta(minutes=minute)
            partitions.ensure_days({at.date()})
            MetricSample.objects.create(environment=environment, phase="baseline", collected_at=at, **HEALTHY)
    aggregate(START)
    assert days_of(deployed(environment)) == {1: (42.0, 42.0)}
