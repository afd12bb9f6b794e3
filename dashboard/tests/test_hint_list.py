"""Hints across projects: what is filtered is listed and counted, a page at a time, in few queries."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from analysis.models import Hint
from dashboard.hints.code_charts import MOST_CHARTS, draw
from dashboard.hints.queries import HintFilters, counts_by_day, hints_page
from dashboard.keyset import PAGE_SIZE
from dashboard.scope import scope_of
from dashboard.tests.pages import all_rows, has, queries_of, words
from deployments.models import State
from projects.models import Environment
from tests.factories import make_deployment, make_environment, make_hint, make_project

pytestmark = pytest.mark.django_db

HINTS = "/dashboard/hints/"
LATE = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)


@pytest.fixture
def hints(environment: Environment) -> dict[str, Hint]:
    """Create one hint of each kind, by name, oldest first, and equal ones of another team."""
    staging = make_environment(project=environment.project, name="staging")
    indexer = make_environment(project=make_project(team=environment.project.team, name="Indexer"), name="prod")
    theirs = make_environment(project=make_project(name="shop"), name="prod")
    made = {
        "old": hint(environment, 45, severity="info"),
        "cpu": hint(staging, 9, code="cpu_spike", metric="cpu_usage", severity="critical"),
        "slow": hint(indexer, 2),
        "none": hint(indexer, 0.1, code="missing_data", metric="", severity="info", observed=None, threshold=None),
    }
    hint(theirs, 1, code="cpu_spike", metric="cpu_usage", severity="critical")
    return made


def hint(environment: Environment, days: float, **columns: Any) -> Hint:
    """A hint on a deployment of its own, so many days ago."""
    made = make_hint(make_deployment(environment=environment, state=State.FINISHED), **columns)
    Hint.objects.filter(pk=made.pk).update(created_at=timezone.now() - timedelta(days=days))
    return made


def listed(user: User, hints: dict[str, Hint], query: dict[str, str]) -> list[str]:
    """The names of the hints that are listed, through all pages of one."""
    names = {one.pk: name for name, one in hints.items()}
    return [names[one.pk] for one in all_rows(hints_page, HintFilters(query, scope_of(user)), size=1)]


@pytest.mark.parametrize("counted", [1, 1000])
def test_all_that_is_filtered_is_listed_and_nothing_else(user, hints, environment, monkeypatch, counted) -> None:
    monkeypatch.setattr("dashboard.keyset.COUNTED", counted)
    project = str(environment.project.uuid)
    for query, names in (
        ({}, ["none", "slow", "cpu", "old"]),
        ({"severity": "info"}, ["none", "old"]),
        ({"code": "cpu_spike"}, ["cpu"]),
        ({"metric": "latency_p95"}, ["slow", "old"]),
        ({"environment": "prod"}, ["none", "slow", "old"]),
        ({"project": project}, ["cpu", "old"]),
        ({"project": project, "environment": "staging"}, ["cpu"]),
        ({"range": "7d"}, ["none", "slow"]),
        ({"range": "30d", "severity": "critical"}, ["cpu"]),
        ({"code": "memory_growth"}, []),
        ({"code": "no_such_code"}, []),
        ({"project": "x"}, []),
    ):
        assert listed(user, hints, query) == names, query


def test_pages_lead_back_the_way_they_came(user, hints) -> None:
    filters = HintFilters({}, scope_of(user))
    first = hints_page(filters, size=2)
    second = hints_page(filters, first.older, size=2)
    assert (first.newer, second.older) == ("", "")
    assert hints_page(filters, second.newer, size=2).rows == first.rows


def test_a_row_tells_what_was_observed_where_and_when(browser_of, hints) -> None:
    text = words(browser_of.get(HINTS, {"code": "high_latency", "range": "7d"}))
    assert "p95 latency over 300 ms high_latency · p95 latency 480 ms limit 300 ms #1 Indexer prod 2 d ago" in text
    body = browser_of.get(HINTS).content.decode()
    has(body, *(f'href="/dashboard/deployments/{one.deployment.uuid}/#hints-title"' for one in hints.values()))


def test_hints_are_counted_by_code_and_by_day_of_the_person(browser_of, user, environment, time_machine) -> None:
    time_machine.move_to(LATE, tick=False)
    for days, columns in ((0.01, {}), (0.01, {"severity": "critical"}), (1, {}), (3, {"code": "cpu_spike"}), (40, {})):
        hint(environment, days, **columns)
    charts = counts_by_day(HintFilters({}, scope_of(user)))
    assert (charts.days[0], charts.last, len(charts.days)) == (date(2026, 10, 24), date(2026, 11, 22), 30)
    assert [(one.code, one.total) for one in charts.charts] == [("high_latency", 3), ("cpu_spike", 1)]
    assert charts.charts[0].by_day[-2:] == (1, 2)
    assert charts.charts[0].counts == (("critical", 1), ("warning", 2))
    assert (charts.most, charts.total) == (2, 4)
    with timezone.override("Europe/Paris"):
        local = counts_by_day(HintFilters({"range": "24h"}, scope_of(user)))
    assert local.days == (date(2026, 11, 22), date(2026, 11, 23))
    text = words(browser_of.get(HINTS, {"range": "7d"}))
    assert "Day high_latency cpu_spike 2026-11-22 2 0 2026-11-21 1 0 2026-11-20 0 0 2026-11-19 0 1" in text


def test_what_is_counted_is_what_is_filtered(browser_of, hints, environment) -> None:
    answer = browser_of.get(HINTS, {"severity": "critical"})
    assert [(one.code, one.total) for one in answer.context["charts"].charts] == [("cpu_spike", 1)]
    assert len(browser_of.get(HINTS, {"since": "2001-01-01T00:00"}).context["charts"].days) == 90
    assert browser_of.get(HINTS, {"since": "2001-01-01T00:00", "until": "2001-01-02T00:00"}).status_code == 200


def test_rare_codes_share_a_strip() -> None:
    day = date(2026, 1, 1)
    drawn = draw([(day, f"code{spot}", "info", 20 - spot) for spot in range(MOST_CHARTS + 3)], [day])
    assert [chart.code for chart in drawn.charts] == [*(f"code{spot}" for spot in range(MOST_CHARTS)), ""]
    assert drawn.charts[-1].total == 12 + 11 + 10
    assert drawn.table == [(day, [*(str(count) for count in range(20, 12, -1)), "33"])]


def test_bars_stand_on_each_other_and_within_the_strip() -> None:
    days = [date(2026, 1, 1) + timedelta(days=spot) for spot in range(3)]
    drawn = draw([(days[0], "a", "critical", 1), (days[0], "a", "info", 3), (days[2], "a", "info", 400)], days)
    [chart] = drawn.charts
    critical, info = (re.findall(r"M([\d.]+) ([\d.]+)v-([\d.]+)", bars.path) for bars in chart.bars)
    assert critical == [(critical[0][0], "56.0", "1.5")]
    assert [foot for _, foot, _ in info] == ["54.5", "56.0"]
    assert info[1][2] == "52.0"


def test_the_page_takes_a_fixed_number_of_queries(browser_of, environment, django_assert_num_queries) -> None:
    for count in (1, PAGE_SIZE + 3):
        deployment = make_deployment(environment=environment, state=State.FINISHED)
        for _ in range(count):
            make_hint(deployment)
        for query in ({}, {"severity": "warning", "range": "7d"}, {"cursor": "x", "environment": environment.name}):
            # Session, user, projects, custom metrics; count, ids of the page, rows; counts by day.
            assert queries_of(browser_of, HINTS, **query) == 8


def test_hints_are_found_by_the_custom_metrics_of_the_environments_that_one_sees(
    user, hints, browser_of, environment
) -> None:
    theirs = make_environment(project=make_project(name="theirs"), name="prod")
    for one, names in ((environment, ["checkouts_per_minute", "jobs"]), (theirs, ["secret_jobs"])):
        one.policy = {"custom_metrics": [{"name": name} for name in names]}
        one.save()
    hints["custom"] = hint(environment, 1, code="custom_metric", metric="checkouts_per_minute")
    assert listed(user, hints, {"metric": "checkouts_per_minute"}) == ["custom"]
    assert listed(user, hints, {"metric": "secret_jobs"}) == []
    body = browser_of.get(HINTS, {"metric": "jobs"}).content.decode()
    has(body, ">checkouts per minute</option>", " selected>jobs</option>", without=["secret"])


def test_nothing_found_leads_on(browser_of, environment) -> None:
    assert "No hints yet" in words(browser_of.get(HINTS))
    make_hint(make_deployment(environment=environment))
    answer = browser_of.get(HINTS, {"severity": "critical"})
    assert "No hint matches" in words(answer)
    assert f'href="{HINTS}">Clear the filters' in answer.content.decode()


def test_hostile_titles_are_text(browser_of, environment) -> None:
    make_hint(make_deployment(environment=environment), title="<script>alert(1)</script>", code="<b>")
    assert "<script>alert" not in browser_of.get(HINTS).content.decode()
