"""The page of an environment as a browser without JavaScript gets it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from analysis.judge.types import METRICS
from analysis.tests.plans import assert_few_partitions_by_index, plans_of
from dashboard.environments.chart import Frame
from dashboard.environments.queries import buckets_of, environment_page, limits_of
from dashboard.environments.series import RANGES, begin_of, range_of
from dashboard.tests import scenes
from dashboard.tests.pages import address, elements, has, markup, parsed, project_page_of, queries_of, shows, words
from dashboard.tests.planted import plant
from deployments.models import Deployment, State
from metrics import partitions
from metrics.baseline import KIND, key_of, number_of
from metrics.models import MEASURED, Alert, MetricSample, Phase
from metrics.storing import store
from projects.baselines import exclude_window
from projects.models import Environment, Freeze
from projects.services import set_policy
from scheduler.health import health
from tests.factories import (
    HEALTHY,
    make_deployment,
    make_environment,
    make_job,
    make_poller,
    make_row,
    make_sample,
    make_verdict,
)

pytestmark = pytest.mark.django_db


def path_of(environment: Environment, suffix: str = "") -> str:
    return f"/dashboard/environments/{environment.pk}/{suffix}"


def show(client: Client, environment: Environment, name: str = "1h") -> Any:
    response = client.get(path_of(environment), {"range": name})
    assert response.status_code == 200
    return response


def sample(environment: Environment, ago: timedelta, **values: Any) -> None:
    at = timezone.now() - ago
    partitions.ensure_days({partitions.utc_day(at)})
    MetricSample.objects.create(
        environment=environment, **{"phase": Phase.BASELINE, "collected_at": at, **HEALTHY, **values}
    )


def test_all_phases_are_drawn_as_one_line(browser_of, environment):
    scenes.with_baseline(environment)
    page = show(browser_of, environment)
    assert len(elements(page, ".timeline-plot")) == 5
    # 25 of the baseline, one before and five after the deployment.
    assert "31 samples" in words(page)


def test_samples_without_any_metric_are_not_drawn(browser_of, environment):
    sample(environment, timedelta(minutes=5), **dict.fromkeys(MEASURED))
    assert "0 samples" in words(show(browser_of, environment))


def test_samples_are_drawn_with_what_they_have(browser_of, environment):
    sample(environment, timedelta(minutes=5), cpu_usage=None)
    page = show(browser_of, environment)
    assert "1 sample" in words(page)


def test_samples_without_requests_have_no_latency_and_leave_a_gap(browser_of, environment):
    for minutes, rate, latency in ((50, 40.0, 100.0), (30, 0.0, None), (20, 0.0, 0.0), (10, 40.0, 120.0)):
        sample(environment, timedelta(minutes=minutes), requests_per_sec=rate, latency_p95=latency)
    page = environment_page(environment, range_of("1h"))
    total = {chart.metric: chart.total for chart in page.charts}["latency_p95"]
    assert total is not None
    assert (total.low, total.high, page.samples) == (100.0, 120.0, 4)
    assert [row.levels["latency_p95"] is None for row in page.rows] == [False, True, True, False]
    rows = [words(row) for row in elements(show(browser_of, environment), '#timeline-table tr:has(th[scope="row"])')]
    assert ["100 ms" in row or "120 ms" in row for row in rows] == [True, False, False, True]
    assert "0 req/s (0 req/s – 0 req/s) –" in rows[1]


def test_buckets_hold_lowest_mean_and_highest_of_their_samples(environment, time_machine):
    # One of them lies a second before the end of its bucket, whenever it is made.
    time_machine.move_to(timezone.now(), tick=False)
    now = timezone.now()
    start = begin_of(now - timedelta(hours=3), 300)
    for seconds, value in ((1, 100.0), (100, 200.0), (299, 900.0), (301, 50.0)):
        sample(environment, now - start - timedelta(seconds=seconds), latency_p95=value)
    sample(environment, now - start - timedelta(seconds=200), requests_per_sec=0.0, latency_p95=None)
    frame = Frame(now - timedelta(days=1), now)
    first, second = buckets_of(environment, frame, 300)
    assert (first.start, first.count, second.count) == (start, 4, 1)
    level = first.levels["latency_p95"]
    assert (level.low, level.mean, level.high) == (100.0, 400.0, 900.0)
    assert second.levels["latency_p95"].mean == 50.0


def test_a_bucket_in_which_a_deployment_begins_is_split_there(environment, time_machine):
    time_machine.move_to(timezone.now(), tick=False)
    now = timezone.now()
    begun = begin_of(now - timedelta(hours=3), 300) + timedelta(seconds=120)
    make_deployment(environment=environment, started_at=begun)
    for seconds, errors in ((-700, 0.0), (-400, 0.0), (-60, 0.0), (-1, 0.0), (0, 0.4), (60, 0.4), (200, 0.4)):
        sample(environment, now - begun - timedelta(seconds=seconds), error_rate=errors)
    page = environment_page(environment, range_of("24h"))
    chart = next(chart for chart in page.charts if chart.metric == "error_rate")
    before, after = chart.lines
    assert len({point.split(",")[1] for point in before.split()}) == 1  # it climbs nowhere, least of all before
    assert len({point.split(",")[1] for point in after.split()}) == 1
    [marker] = page.markers
    assert all(float(point.split(",")[0]) < marker.gravest.place * 10 for point in before.split())
    assert page.samples == 7


def test_a_canarys_share_of_the_traffic_is_no_dip_of_the_environments(environment):
    sample(environment, timedelta(minutes=9), requests_per_sec=40.0)
    canary = make_deployment(environment=environment, control={"endpoint": "https://old.example/m"})
    other = make_deployment(environment=environment, state=State.FINISHED)
    for deployment, rate in ((canary, 4.0), (other, 42.0)):
        make_sample(deployment, requests_per_sec=rate, collected_at=timezone.now() - timedelta(minutes=5))
    traffic, latency, *_ = environment_page(environment, range_of("1h")).charts
    assert (traffic.total.low, traffic.total.high) == (40.0, 42.0)
    assert latency.total is not None


@pytest.mark.parametrize(("minutes", "shown"), [(5, 10), (20, 21), (29, 30.45), (40, 60)])
def test_a_new_environment_opens_on_the_time_of_its_own(environment, browser_of, minutes, shown):
    for ago in (1, minutes):
        sample(environment, timedelta(minutes=ago))
    page = environment_page(environment, range_of("1h"), fitted=True)
    assert page.frame.seconds / 60 == pytest.approx(shown, abs=0.1)
    assert environment_page(environment, range_of("1h")).frame.seconds == 3600
    live = parsed(browser_of.get(f"/dashboard/environments/{environment.pk}/")).xpath("//*[@id='live']")[0]
    assert live.get("hx-get").endswith("/live/")


@pytest.mark.parametrize("value", [1e308, 1.7e308, 5e-324, 0.0])
def test_values_no_service_has_do_not_break_the_page(browser_of, environment, value):
    for minutes in range(1, 20):
        sample(environment, timedelta(minutes=minutes), **dict.fromkeys(METRICS, value if minutes % 2 else 1.0))
    for one in RANGES:
        show(browser_of, environment, one.name)


def test_only_the_time_that_was_asked_for_is_shown(browser_of, environment):
    for hours in (0.5, 5, 20, 100, 600):
        sample(environment, timedelta(hours=hours))
    found = {
        one.name: re.findall(r"(\d+) samples?\b", words(show(browser_of, environment, one.name)))[0] for one in RANGES
    }
    assert found == {"1h": "1", "6h": "2", "24h": "3", "7d": "4", "30d": "5"}


def test_another_environments_samples_are_not_shown(browser_of, environment):
    other = make_environment(project=environment.project, metrics_endpoint="https://a.example/m")
    sample(other, timedelta(minutes=1))
    make_deployment(environment=other, branch="of-the-other")
    shows(show(browser_of, environment), "No samples in this time", without=["of-the-other"])


def test_deployments_are_marked_and_linked(browser_of, environment):
    sample(environment, timedelta(minutes=1))
    now = timezone.now()
    early = make_deployment(environment=environment, state=State.FINISHED, started_at=now - timedelta(minutes=50))
    make_verdict(early, verdict="rollback_recommended")
    late = make_deployment(environment=environment, started_at=now - timedelta(minutes=10))
    page = show(browser_of, environment)
    (lane,) = elements(page, ".timeline-lane")
    assert elements(lane, f'.critical[href="{address(early)}"]')
    assert elements(lane, f'.info[href="{address(late)}"]')
    assert "#1: Rollback recommended" in markup(lane)
    assert len(elements(page, ".timeline-mark.critical")) == 5


def test_many_deployments_become_few_marks_that_count_them(browser_of, environment):
    sample(environment, timedelta(minutes=1))
    now = timezone.now()
    for minutes in range(120):
        made = make_deployment(
            environment=environment, state=State.FINISHED, started_at=now - timedelta(hours=3, minutes=minutes)
        )
        make_verdict(made, verdict="warning" if minutes == 60 else "ok")
    page = environment_page(Environment.objects.select_related("project").get(), range_of("30d"))
    (marker,) = page.markers
    assert (marker.count, marker.gravest.status.key) == (120, "warning")
    has(show(browser_of, environment, "30d"), 'aria-label="120 deployments; the gravest, #61: Warning, ')


def test_times_taken_out_of_the_baseline_are_hatched(browser_of, environment):
    sample(environment, timedelta(minutes=1))
    now = timezone.now()
    exclude_window(environment, now - timedelta(minutes=40), now - timedelta(minutes=20), reason="load test")
    exclude_window(environment, now - timedelta(hours=9), now - timedelta(hours=8), reason="long ago")
    page = show(browser_of, environment).content.decode()
    assert page.count('class="timeline-zone" fill="url(#hatch)"><title>') == 5
    has(page, "load test", without=["long ago"])


@pytest.mark.parametrize(
    ("policy", "limits"),
    [
        ({}, {}),
        ({"limits": {"latency_p95": 200, "requests_per_sec": 5}}, {"latency_p95": 200, "requests_per_sec": 5}),
        (
            {"kind": "fixed"},
            {"latency_p95": 270.0, "error_rate": 0.009, "cpu_usage": 0.72, "memory_usage": 0.72},
        ),
    ],
)
def test_absolute_limits_of_the_policy_become_lines(browser_of, environment, policy, limits):
    set_policy(environment, policy, source="dashboard")
    sample(environment, timedelta(minutes=1))
    found = Environment.objects.select_related("project").get(pk=environment.pk)
    page = environment_page(found, range_of("1h"))
    assert limits_of(page.policy) == pytest.approx(limits)
    drawn = {chart.metric: chart.limit.value for chart in page.charts if chart.limit}
    assert drawn == pytest.approx(limits)


def test_a_policy_that_cannot_be_read_has_no_limits(browser_of, environment):
    Environment.objects.filter(pk=environment.pk).update(policy={"kind": "of another version"})
    sample(environment, timedelta(minutes=1))
    assert 'class="limit-line"/><' not in show(browser_of, environment).content.decode().replace("</svg>", "")


def test_the_table_holds_what_the_charts_show(browser_of, environment):
    now = timezone.now()
    hour = begin_of(now - timedelta(hours=2), 3600)
    for minutes, value in ((5, 100.0), (50, 300.0)):
        sample(environment, now - hour - timedelta(minutes=minutes), latency_p95=value)
    (row,) = elements(show(browser_of, environment, "24h"), '#timeline-table tr:has(th[scope="row"])')
    assert "2 42.0 req/s (42.0 req/s – 42.0 req/s) 200 ms (100 ms – 300 ms)" in words(row)


@pytest.mark.parametrize(
    ("age", "expected"),
    [(None, "24h"), (timedelta(minutes=50), "1h"), (timedelta(hours=2), "6h"), (timedelta(days=3), "7d")],
)
def test_it_opens_at_the_shortest_range_with_samples(browser_of, environment, age, expected):
    if age is not None:
        store([make_row(environment, timezone.now() - one) for one in (age, timedelta(days=6))])
    [current] = elements(browser_of.get(path_of(environment)), ".tabs [aria-current]")
    assert current.get("href").endswith(f"?range={expected}")
    assert elements(browser_of.get(path_of(environment), {"range": "30d"}), '.tabs [href$="30d"][aria-current]')


def test_the_page_says_where_samples_are_kept_for_less_than_the_range(browser_of, environment):
    sample(environment, timedelta(minutes=1))
    assert "are kept for 7 days" in words(show(browser_of, environment, "30d"))
    assert "are kept for" not in words(show(browser_of, environment, "7d"))


def test_only_the_last_hour_keeps_itself_up_to_date(browser_of, environment):
    live = {
        one.name: 'data-live="running"' in show(browser_of, environment, one.name).content.decode() for one in RANGES
    }
    assert live == {"1h": True, "6h": False, "24h": False, "7d": False, "30d": False}
    has(browser_of.get(path_of(environment, "live/"), {"range": "1h"}), 'data-live="running"', without=["<html"])


@pytest.mark.parametrize("value", ["", "x", "-1", "\x00", "9" * 4000, "1h\n"])
def test_a_range_that_is_none_falls_back(browser_of, environment, value):
    assert browser_of.get(path_of(environment), {"range": value}).status_code == 200


def test_pages_lead_to_the_environment(browser_of, environment):
    deployment = scenes.judged(environment)
    for path in ("/dashboard/", project_page_of(environment), address(deployment)):
        assert f'href="{path_of(environment)}"' in browser_of.get(path).content.decode()


def test_the_page_takes_a_fixed_number_of_queries(browser_of, environment):
    # Session, user; environment, samples, excluded windows, alerts, deployments in the range and the latest.
    # And the findings of bad ones.
    for expected in (10, 11, 11):
        assert queries_of(browser_of, path_of(environment), range="24h") == expected
        scenes.with_baseline(environment, **scenes.BROKEN)


def test_samples_come_from_indexes_of_the_days_that_are_shown(browser_of, environment):
    now = timezone.now()
    for days in range(12):
        store(
            [make_row(environment, now - timedelta(days=days - 6, minutes=4 * n), sequence_index=n) for n in range(150)]
        )
    columns = ", ".join(f'"{field.column}"' for field in MetricSample._meta.fields[1:] if field.name != "environment")
    with connection.cursor() as cursor:
        # Samples of few environments are rightly read without an index.
        cursor.execute(
            f"INSERT INTO metric_samples (environment_id, {columns}) "  # noqa: S608
            f"SELECT environment_id + other, {columns} FROM metric_samples, generate_series(1, 30) AS other"
        )
        cursor.execute("ANALYZE metric_samples")
    with plans_of("metric_samples") as plans:
        show(browser_of, environment, "24h")
    assert len(plans) == 1
    assert_few_partitions_by_index(plans)
    with plans_of("metric_samples") as plans:
        assert browser_of.get(path_of(environment)).status_code == 200
    assert len(plans) == 2
    assert_few_partitions_by_index(plans)


def test_a_long_history_of_deployments_is_read_by_index(browser_of, environment):
    plant([environment])
    with plans_of('FROM "deployments"') as plans:
        show(browser_of, environment, "7d")
    assert Deployment.objects.count() == 20000
    assert len(plans) == 2
    for plan in plans:
        shows(plan, without=["Seq Scan on deployments"])


def test_without_samples_the_page_says_what_is_known_of_poller_and_endpoint(browser_of, environment):
    environment.metrics_endpoint = "https://metrics.example/m"
    environment.save()
    health.forget()
    shows(show(browser_of, environment), "Poller none has been heard of", "Last collection none yet", "not planned yet")
    make_poller("one")
    every = environment.effective_baseline_interval_s
    number = number_of(environment.pk, every, timezone.now())
    for place, columns in {
        -1: {"status": "failed", "last_error": "the endpoint answered HTTP 404", "finished_at": timezone.now()},
        1: {"status": "pending"},
    }.items():
        make_job(unique_key=key_of(environment.pk, every, number + place), job_type=KIND, **columns)
    health.forget()
    page = show(browser_of, environment)
    shows(page, "Poller at work, last heard of just now", "the endpoint answered HTTP 404", without=["not planned yet"])
    health.forget()


def test_a_freeze_is_on_the_page(browser_of, environment):
    assert "frozen" not in words(browser_of.get(path_of(environment)))
    Freeze.objects.create(team=environment.project.team, reason="Black Friday")
    shown = words(browser_of.get(path_of(environment)))
    assert "Deployments are frozen: Black Friday . Freezes" in shown


def test_alerts_are_drawn_for_as_long_as_they_fired(browser_of, environment):
    now = timezone.now()
    sample(environment, timedelta(minutes=3))
    fired = {
        "Checkout": ("critical", 50, None),
        "Latency": ("warning", 40, 20),
        "Over": ("critical", 600, 500),
        "Info": ("ignored", 30, None),
    }
    for name, (level, since, until) in fired.items():
        Alert.objects.create(
            environment=environment,
            fingerprint=name,
            name=name,
            level=level,
            starts_at=now - timedelta(minutes=since),
            ends_at=None if until is None else now - timedelta(minutes=until),
            seen_at=now,
        )
    bars = elements(show(browser_of, environment, "1h"), "rect.lane-alert title")
    assert [re.split(r"[:,]", words(bar))[1].strip() for bar in bars] == ["Latency", "Checkout"]
    assert "firing" in words(bars[1])
