"""Standings of environments: the rows that triggers keep, and the pages of an overview that is long."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Role
from analysis.models import DeploymentVerdict, EnvironmentStanding, Hint
from dashboard.overview.parts import ORDER
from dashboard.overview.queries import overview_of, projects_of
from dashboard.overview.standings import (
    HINTS_SHOWN,
    PAGE_SIZE,
    PAGES_SHOWN,
    UNDIVIDED,
    WATCHES_SHOWN,
    Selection,
    selection_of,
)
from dashboard.projects.queries import PER_CARD, PER_PAGE
from dashboard.tests.pages import HOSTILE, elements, queries_of, shows, words
from deployments.models import Deployment, State
from projects.models import Environment, Project
from tests.concurrency import in_background
from tests.factories import make_deployment, make_environment, make_hint, make_project, make_verdict
from tests.processes import wait_for

pytestmark = pytest.mark.django_db

OVERVIEW = "/dashboard/"
LIVE = "/dashboard/live/"
# So many environments in one project, each with a deployment a day for 30 days, judged ok but for every tenth.
MANY = """
WITH environments AS (
    INSERT INTO projects_environment (project_id, name, metrics_endpoint, hmac_secret, policy)
    SELECT %(project)s, 'env-' || lpad(n::text, 4, '0'), 'https://e.example/m', '', '{}'
    FROM generate_series(1, %(count)s) AS n RETURNING id, name
), made AS (
    INSERT INTO deployments (uuid, number, project_id, environment_id, state, pipeline_result, started_at, finished_at,
        duration_ms, branch, commit_sha, version, author, url, window_samples, interval_s)
    SELECT gen_random_uuid(), (row_number() OVER ()) + 100, %(project)s, id, 'analyzed', 'success',
        now() - day * interval '1 day', now() - day * interval '1 day' + interval '1 minute', 60000, 'main', '',
        '2.14.' || day, '', '', 5, 60
    FROM environments, generate_series(0, 29) AS day RETURNING id, environment_id, finished_at
)
INSERT INTO deployment_verdicts (deployment_id, verdict, confidence, conclusive, score, summary, failed_metrics, checks,
    quality, policy, evidence, early, shadow, created_at)
SELECT made.id, CASE WHEN right(name, 1) = '7' THEN 'rollback_recommended' ELSE 'ok' END, 0.9, true, 0.1, '', '[]',
    '[]', '{}', '{}', '{}', false, false, finished_at + interval '5 minutes'
FROM made JOIN environments ON environments.id = environment_id
"""


def plant(project: Project, count: int) -> None:
    """Judged ok every day of a month, but for those whose name ends with 7: a rollback is recommended in each tenth."""
    with connection.cursor() as cursor:
        cursor.execute(MANY, {"project": project.pk, "count": count})
        cursor.execute("ANALYZE")


def standing_of(environment: Environment) -> tuple[Any, ...] | None:
    columns = ("deployment_id", "verdict", "unhealthy", "critical_hints")
    return EnvironmentStanding.objects.filter(environment_id=environment.pk).values_list(*columns).first()


def judged(environment: Environment, verdict: str = "ok", *, hours_ago: float = 0, **columns: Any) -> Deployment:
    started = timezone.now() - timedelta(hours=hours_ago)
    made = make_deployment(environment=environment, state=State.ANALYZED, started_at=started)
    make_verdict(made, verdict=verdict, **columns)
    return made


def test_a_standing_follows_what_is_written_whoever_writes_it(environment):
    assert standing_of(environment) is None
    first = judged(environment, "rollback_recommended", hours_ago=2)
    make_hint(first, severity="critical")
    make_hint(first, severity="warning")
    assert standing_of(environment) == (first.pk, "rollback_recommended", False, 1)
    last = judged(environment)
    assert standing_of(environment) == (last.pk, "ok", False, 0)
    judged(environment, "warning", hours_ago=1)
    assert standing_of(environment) == (last.pk, "ok", False, 0), "a verdict on an earlier deployment comes later"
    DeploymentVerdict.objects.filter(deployment=last).update(health={"healthy": "no", "reasons": []})
    assert standing_of(environment) == (last.pk, "ok", True, 0)
    DeploymentVerdict.objects.filter(deployment=last).update(final={"health": {"healthy": "yes", "reasons": []}})
    assert standing_of(environment) == (last.pk, "ok", False, 0)
    Hint.objects.filter(pk=make_hint(last, severity="critical").pk).update(severity="info")
    assert standing_of(environment) == (last.pk, "ok", False, 0)
    last.delete()
    Deployment.objects.filter(verdict__verdict="warning").delete()
    assert standing_of(environment) == (first.pk, "rollback_recommended", False, 1)
    Hint.objects.all().delete()
    assert standing_of(environment) == (first.pk, "rollback_recommended", False, 0)
    environment.delete()
    assert standing_of(environment) is None


@pytest.mark.parametrize("final", [None, {}, {"health": {}}, {"health": None}, {"health": {"healthy": "no"}}])
@pytest.mark.parametrize("health", [{}, {"healthy": "no", "reasons": []}, {"healthy": "yes", "reasons": []}])
def test_a_service_is_as_unhealthy_as_its_verdict_says(environment, health, final):
    made = judged(environment, health=health, final=final)
    assert standing_of(environment) == (made.pk, "ok", made.verdict.healthy == "no", 0)


def test_all_are_ordered_and_counted_as_each_one_is_shown(environment, user):
    """The query's place of an environment is that of its row, for all combinations of what decides it."""
    verdicts = [None, "ok", "warning", "rollback_recommended", "of another version"]
    others = [None, State.RUNNING, State.FINISHED, State.ABANDONED, State.ANALYZED]
    for verdict, unhealthy, early, other in product(verdicts, (False, True), (False, True), others):
        place = make_environment(project=environment.project)
        if verdict is not None:
            made = judged(place, verdict, hours_ago=1, early=early, health={"healthy": "no" if unhealthy else "yes"})
            Deployment.objects.filter(pk=made.pk).update(state=State.FINISHED if early else State.ANALYZED)
        if other is not None:
            make_deployment(environment=place, state=other)
    shown = []
    for page in range(1, 7):
        overview = overview_of(projects_of(user), Selection(page=page))
        shown += [row.health for row in overview.rows[overview.first_added :]]
    assert len(shown) == 101
    assert shown == sorted(shown, key=ORDER.index)
    assert overview.summary.counts == {health: shown.count(health) for health in ORDER}
    assert {health for health, number in overview.summary.counts.items() if number} == set(ORDER)


def names(page: Any) -> list[str]:
    return [words(name) for name in elements(page, "tbody .chip bdi")]


def test_few_environments_are_shown_at_once_and_many_page_by_page(browser_of, environment):
    environment.delete()
    plant(environment.project, UNDIVIDED)
    assert len(names(browser_of.get(OVERVIEW))) == UNDIVIDED
    shows(browser_of.get(OVERVIEW), f"in 4 environments of {UNDIVIDED}", without=["Search by name", "more"])
    plant(make_project(team=environment.project.team), 100)
    count = UNDIVIDED + 100
    first = browser_of.get(OVERVIEW)
    assert len(names(first)) == PAGE_SIZE
    assert all(name.endswith("7") for name in names(first)[:14])
    shows(
        first, f"in 14 environments of {count}", f"Show {PAGE_SIZE} more", f"{count - PAGE_SIZE} environments are not"
    )
    every: list[str] = []
    for number in range(1, -(-count // PAGE_SIZE) + 1):
        page = browser_of.get(LIVE, {"page": str(number)})
        assert len(names(page)) <= PAGE_SIZE * PAGES_SHOWN
        every += names(page)[-min(PAGE_SIZE, count - len(every)) :]
        assert bool(elements(page, f"a#more[href^='?page={number + 1}#']")) == (len(every) < count)
    assert len(every) == count
    assert sorted(every) == sorted(f"env-{n:04}" for number in (UNDIVIDED, 100) for n in range(1, number + 1))


def test_environments_are_found_by_name_and_by_health(browser_of, environment):
    plant(environment.project, 60)
    make_project(team=environment.project.team, name="bare-shop")
    found = words(browser_of.get(OVERVIEW, {"q": "SHOP env-004"}), "#live")
    shows(found, "10 environments", "env-0042", without=["env-0051", "bare-shop"])
    shows(browser_of.get(OVERVIEW, {"q": "bare"}), "Add an environment", without=["env-0042"])
    trouble = browser_of.get(OVERVIEW, {"health": "rollback_recommended"})
    assert names(trouble) == [f"env-00{n}7" for n in range(6)]
    assert elements(trouble, "a[aria-current=true]")
    assert names(browser_of.get(OVERVIEW, {"health": "none"})) == ["prod"]
    assert names(browser_of.get(OVERVIEW, {"health": "none", "q": "0042"})) == []
    for query in ({"q": "%"}, {"q": "_______"}, {"health": "bad"}, {"q": "env\\"}, {"health": "ok", "page": "99"}):
        shows(
            browser_of.get(OVERVIEW, query), "No environment to show.", "Rollback recommended in 6 environments of 61"
        )
    # The part that is refreshed lists the same.
    (live,) = elements(browser_of.get(OVERVIEW, {"q": "env-00", "health": "ok", "page": "2"}), "#live")
    shows(browser_of.get(live.get("hx-get")), "54 environments")
    assert len(names(browser_of.get(live.get("hx-get")))) == 2 * PAGE_SIZE


def test_any_selection_can_be_asked_for(environment, user):
    judged(environment)
    for value in [*HOSTILE, "0", "-1", "1.5", "²", "9" * 20]:
        selection = selection_of({"q": value, "health": value, "page": value})
        assert selection.page == 1
        assert overview_of(projects_of(user), selection).summary.total == 1
    for value in HOSTILE:
        assert overview_of(projects_of(user), Selection(search=selection_of({"q": value}).search)).summary.total == 1


def test_a_page_of_thousands_costs_what_it_shows(browser_of, environment):
    project = make_project(team=environment.project.team)
    plant(project, 50)
    for deployment in Deployment.objects.filter(verdict__verdict="rollback_recommended").order_by("-started_at")[:5]:
        for position in range(HINTS_SHOWN):
            make_hint(deployment, severity="critical", position=position, title="Errors above 5 %, p95 latency too")
    for place in Environment.objects.filter(project=project)[: WATCHES_SHOWN + 1]:
        make_deployment(environment=place, state=State.FINISHED, started_at=timezone.now(), version="2.14.0-rc.1")
    few, before = browser_of.get(LIVE), queries_of(browser_of, LIVE)
    plant(make_project(team=environment.project.team), 450)
    refreshed = browser_of.get(LIVE)
    assert queries_of(browser_of, LIVE) == before
    assert len(refreshed.content) < 1.1 * len(few.content)
    assert words(refreshed).count("env-") == words(few).count("env-")
    many = browser_of.get(OVERVIEW)
    assert len(many.content) < 120_000
    # The figures of very many deployments are read on request.
    shows(many, "choose a period", without=["of 14500 judged"])
    asked = browser_of.get(OVERVIEW, {"days": "30"})
    shows(asked, "of 14500 judged", without=["choose a period"])
    assert len(asked.content) < 120_000


@pytest.mark.environment(role=Role.OWNER)
def test_pages_of_projects_show_some_of_very_many_environments(browser_of, environment):
    project, other = environment.project, make_project(team=environment.project.team, name="small")
    make_environment(project=other, name="only")
    judged(environment)
    path = f"/dashboard/projects/{project.uuid}/"
    took = [queries_of(browser_of, "/dashboard/projects/"), queries_of(browser_of, path)]
    plant(project, 120)
    shown = browser_of.get("/dashboard/projects/")
    assert [words(card, "h2 a") for card in elements(shown, "li.card")] == ["shop", "small"]
    assert len(elements(shown, "ul.places li")) == PER_CARD + 1 + 1
    shows(shown, f"and {121 - PER_CARD} more environments", "env-0001", "only", without=["env-0009"])
    listed = []
    for number in ("1", "2", "3"):
        page = browser_of.get(path, {"page": number})
        listed += [words(row, "th bdi") for row in elements(page, "table.environments tbody tr")]
        assert "3601" in words(page, ".figures"), "the record is of all environments"
    assert listed == [f"env-{number:04}" for number in range(1, 121)] + ["prod"]
    settings = browser_of.get(f"{path}settings/")
    assert len(elements(settings, "table.places-table tbody tr")) == PER_PAGE
    shows(settings, "Show all")
    code = browser_of.get(f"{path}integration/", {"environment": str(environment.pk)})
    assert len(elements(code, "nav.tabs a[href^='?environment=']")) == PER_PAGE
    assert "prod" in words(code, "pre")
    assert [queries_of(browser_of, "/dashboard/projects/"), queries_of(browser_of, path)] == took


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("newer_first", [False, True])
def test_of_two_verdicts_at_once_the_one_on_the_later_deployment_stands(environment, newer_first):
    now = timezone.now()
    older, newer = (
        make_deployment(environment=environment, state=State.FINISHED, started_at=now - timedelta(hours=hours))
        for hours in (2, 1)
    )
    first, second = (newer, older) if newer_first else (older, newer)
    with transaction.atomic():
        make_verdict(first, verdict="warning")
        waiting = in_background(lambda: make_verdict(second, verdict="ok"))
        wait_for(lambda: lock_waits() > 0, "the second verdict", timeout_s=20)
    waiting.result(20)
    assert standing_of(environment)[0] == newer.pk


def lock_waits() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])
