"""The list of deployments: what is filtered is listed, in the order asked for, a page at a time, in few queries."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from dashboard.deployments import by_project
from dashboard.deployments.filters import ORDERS, DeploymentFilters
from dashboard.deployments.listing import deployments_page
from dashboard.keyset import PAGE_SIZE
from dashboard.scope import scope_of
from dashboard.tests.pages import LIST, all_rows
from deployments.models import Deployment, State
from projects.models import Environment
from tests.factories import make_deployment, make_environment, make_project, make_sample, make_verdict

pytestmark = pytest.mark.django_db


@pytest.fixture
def staging(environment: Environment) -> Environment:
    return make_environment(project=environment.project, name="staging")


@pytest.fixture
def indexer(environment: Environment) -> Environment:
    """An environment of another project of the same team."""
    return make_environment(project=make_project(team=environment.project.team, name="Indexer"), name="prod")


@pytest.fixture
def deployments(environment: Environment, staging: Environment, indexer: Environment) -> dict[str, Deployment]:
    """Create one deployment of each kind, by name, oldest first, and equal ones of another team."""
    now = timezone.now()

    def add(where: Environment, days: float, **columns: Any) -> Deployment:
        return make_deployment(environment=where, started_at=now - timedelta(days=days), **columns)

    def finished(where: Environment, days: float, seconds: int, **columns: Any) -> Deployment:
        start = now - timedelta(days=days)
        end = start + timedelta(seconds=seconds)
        return add(where, days, state=State.FINISHED, finished_at=end, **columns)

    made = {
        "old": finished(environment, 60, 30, branch="release/1", author="Grace"),
        "abandoned": add(environment, 40, state=State.ABANDONED, branch="main", author="Grace"),
        "bad": finished(environment, 20, 300, branch="main", version="2.14.0", author="Ada"),
        "unsure": finished(staging, 5, 60, branch="fix/login", author="Ada", commit_sha="4f2a9c1e7b3d"),
        "early": finished(indexer, 3, 90, branch="main", author="Ada"),
        "good": finished(indexer, 0.5, 10, branch="main", author="Grace"),
        "running": add(environment, 0.01, branch="main", author="Ada"),
    }
    make_verdict(made["old"], confidence=0.7)
    make_verdict(made["bad"], verdict="rollback_recommended", confidence=0.95)
    make_verdict(made["unsure"], verdict="warning", confidence=0.3, conclusive=False)
    make_verdict(made["early"], verdict="rollback_recommended", confidence=0.6, early=True)
    make_verdict(made["good"], confidence=0.9)
    theirs = make_environment(project=make_project(name="shop"), name="prod")
    make_verdict(finished(theirs, 1, 30, branch="main", author="Ada", version="2.14.0", commit_sha="4f2a9c1e7b3d"))
    return made


def listed(user: User, deployments: dict[str, Deployment], query: dict[str, str]) -> list[str]:
    """The names of the deployments that are listed, through all pages of two."""
    names = {deployment.pk: name for name, deployment in deployments.items()}
    rows = all_rows(deployments_page, DeploymentFilters(query, scope_of(user)), size=2)
    return [names[row.deployment.pk] for row in rows]


NEWEST = ["running", "good", "early", "unsure", "bad", "abandoned", "old"]
FILTERS: list[tuple[dict[str, str], list[str]]] = [
    ({}, NEWEST),
    ({"environment": "prod"}, ["running", "good", "early", "bad", "abandoned", "old"]),
    ({"environment": "staging"}, ["unsure"]),
    ({"verdict": "ok"}, ["good", "old"]),
    ({"verdict": "warning"}, ["unsure"]),
    ({"verdict": "rollback_recommended"}, ["early", "bad"]),
    ({"verdict": "none"}, ["running", "abandoned"]),
    ({"verdict": "inconclusive"}, ["unsure"]),
    ({"verdict": "early"}, ["early"]),
    ({"state": "running"}, ["running"]),
    ({"state": "analyzed"}, ["good", "early", "unsure", "bad", "old"]),
    ({"state": "abandoned"}, ["abandoned"]),
    ({"branch": "main"}, ["running", "good", "early", "bad", "abandoned"]),
    ({"branch": "mai"}, []),
    ({"author": "Grace"}, ["good", "abandoned", "old"]),
    ({"range": "24h"}, ["running", "good"]),
    ({"range": "7d"}, ["running", "good", "early", "unsure"]),
    ({"range": "30d"}, ["running", "good", "early", "unsure", "bad"]),
    ({"q": "4f2a9"}, ["unsure"]),
    ({"q": "2.14"}, ["bad"]),
    ({"q": "#3"}, ["bad"]),
    ({"q": "grace main"}, ["good", "abandoned"]),
    ({"q": "index"}, ["good", "early"]),
    ({"q": "index ada"}, ["early"]),
    ({"q": "release/1"}, ["old"]),
    ({"branch": "main", "author": "Ada", "verdict": "rollback_recommended", "range": "30d"}, ["early", "bad"]),
    ({"verdict": "ok", "state": "abandoned"}, []),
]


def test_all_that_is_filtered_is_listed_and_nothing_else(user, deployments) -> None:
    for query, names in FILTERS:
        assert listed(user, deployments, query) == names, query


def test_a_time_and_a_project_are_filtered_by(user, deployments, environment) -> None:
    start = timezone.now() - timedelta(days=30)
    span = {"since": f"{start:%Y-%m-%dT%H:%M}", "until": f"{start + timedelta(days=26):%Y-%m-%dT%H:%M}"}
    assert listed(user, deployments, span) == ["unsure", "bad"]
    project = {"project": str(environment.project.uuid)}
    assert listed(user, deployments, project) == ["running", "unsure", "bad", "abandoned", "old"]
    assert listed(user, deployments, {**project, "environment": "staging"}) == ["unsure"]


IN_ORDER = {
    "-started": NEWEST,
    "started": NEWEST[::-1],
    "-duration": ["bad", "early", "unsure", "old", "good", "running", "abandoned"],
    "duration": ["good", "old", "unsure", "early", "bad", "abandoned", "running"],
    "-confidence": ["bad", "good", "old", "early", "unsure", "running", "abandoned"],
    "confidence": ["unsure", "early", "old", "good", "bad", "abandoned", "running"],
    "-verdict": ["early", "bad", "unsure", "good", "old", "running", "abandoned"],
    "verdict": ["good", "old", "unsure", "early", "bad", "running", "abandoned"],
    "project": ["good", "early", "running", "unsure", "bad", "abandoned", "old"],
    "-project": ["running", "unsure", "bad", "abandoned", "old", "good", "early"],
}


@pytest.fixture(params=["few", "walked", "sorted"])
def way(request, monkeypatch) -> None:
    """Of the ways that a page is come by: the limits between them, lowered to what a test can fill."""
    if request.param != "few":
        monkeypatch.setattr("dashboard.keyset.COUNTED", 1)
    if request.param == "walked":
        monkeypatch.setattr(by_project, "MOST_SORTED", -1)


def test_every_order_lists_every_deployment_once(user, deployments, way) -> None:
    assert set(IN_ORDER) == set(ORDERS)
    for order, names in IN_ORDER.items():
        assert listed(user, deployments, {"sort": order}) == names, order


def test_pages_lead_back_the_way_they_came(user, deployments, way) -> None:
    for order in ORDERS:
        filters = DeploymentFilters({"sort": order}, scope_of(user))
        first = deployments_page(filters, size=3)
        second = deployments_page(filters, first.older, size=3)
        third = deployments_page(filters, second.older, size=3)
        assert (first.newer, third.older) == ("", "")
        back = deployments_page(filters, third.newer, size=3)
        again = deployments_page(filters, back.newer, size=3)
        assert [row.deployment.pk for row in back.rows] == [row.deployment.pk for row in second.rows], order
        assert [row.deployment.pk for row in again.rows] == [row.deployment.pk for row in first.rows], order
        assert (again.newer, again.older) == ("", first.older), order


def test_rows_that_come_in_meanwhile_neither_repeat_nor_hide_others(user, deployments, environment) -> None:
    known = {deployment.pk for deployment in deployments.values()}
    for order in ("-started", "-duration", "-confidence", "-verdict", "project"):
        filters = DeploymentFilters({"sort": order}, scope_of(user))
        page = deployments_page(filters, size=2)
        seen = [row.deployment.pk for row in page.rows]
        while page.older:
            for confidence in (0.99, 0.01):
                new = make_deployment(environment=environment, state=State.FINISHED)
                make_verdict(new, verdict="warning", confidence=confidence)
            page = deployments_page(filters, page.older, size=4)
            seen += [row.deployment.pk for row in page.rows]
        assert len(seen) == len(set(seen)), order
        assert known <= set(seen), order


# --- queries ----------------------------------------------------------------------------------------------------------


def queries_of_pages(client: Client, query: dict[str, str]) -> list[tuple[int, bool]]:
    """Of every page of the list: how many queries it took, and whether something on it is observed."""
    found: list[tuple[int, bool]] = []
    path: str | None = f"{LIST}?{urlencode(query)}"
    while path:
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path)
        found.append((len(queries), answer.context["in_progress"]))
        path = answer.context["older"] or None
    return found


def test_every_filter_and_order_takes_a_fixed_number_of_queries(browser_of, environment) -> None:
    facts = {"branch": "main", "author": "Ada", "version": "2"}
    called_out = make_deployment(environment=environment, state=State.FINISHED, **facts)
    make_verdict(called_out, early=True)
    Deployment.objects.filter(pk=called_out.pk).update(state=State.FINISHED)
    make_sample(make_deployment(environment=environment, **facts))
    all_of_it = {"verdict": "ok", "range": "30d", "branch": "main", "author": "Ada"}
    filters = [{}, {"q": "main 2"}, {"environment": environment.name, "verdict": "none"}, {"q": "mai ada"}, all_of_it]
    for count in (0, PAGE_SIZE + 5):
        for _ in range(count):
            make_verdict(make_deployment(environment=environment, state=State.FINISHED, **facts))
        for query in filters:
            for order in ORDERS:
                for took, observed in queries_of_pages(browser_of, {**query, "sort": order}):
                    # Session, user, projects; count, ids of the page, rows. Their samples,
                    # where one of them is observed.
                    assert took == 6 + observed, (query, order)


def test_many_ordered_by_project_take_one_query_more(
    user, deployments, environment, monkeypatch, django_assert_num_queries
) -> None:
    filters = DeploymentFilters({"sort": "project", "verdict": "rollback_recommended"}, scope_of(user))
    # Count, ids, rows, findings.
    with django_assert_num_queries(4):
        deployments_page(filters)
    monkeypatch.setattr("dashboard.keyset.COUNTED", 1)
    with django_assert_num_queries(5):
        page = deployments_page(filters, size=1)
    with django_assert_num_queries(5):
        deployments_page(filters, page.older, size=1)


def test_many_projects_take_no_query_more(browser_of, environment, django_assert_num_queries) -> None:
    for _ in range(20):
        make_deployment(environment=make_environment(project=make_project(team=environment.project.team)))
    with django_assert_num_queries(7):
        assert len(browser_of.get(LIST).context["page"].rows) == 20
