"""The page of a project: its environments, their last verdicts and how often those were right."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Role, User
from analysis.models import DeploymentVerdict, VerdictName
from analysis.services import give_feedback
from analysis.tests.factories import make_verdict
from dashboard.tests import scenes
from dashboard.tests.pages import elements, has, page_of, project_page_of, queries_of, shows, words
from deployments.models import State
from deployments.tests.factories import make_deployment
from projects.models import Environment
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment(user: User) -> Environment:
    return scenes.environment_of(user, role=Role.OWNER, metrics_endpoint="https://shop.example.com/ds-metrics")


def test_a_project_shows_its_environments_with_their_last_verdicts(browser_of, environment):
    staging = make_environment(project=environment.project, name="staging")
    make_environment(project=environment.project, name="empty")
    make_verdict(make_deployment(environment=environment, state=State.FINISHED), verdict=VerdictName.OK)
    make_verdict(make_deployment(environment=environment, state=State.FINISHED), verdict=VerdictName.WARNING)
    make_deployment(environment=staging, state=State.RUNNING)
    make_deployment(branch="of-another-project")
    page = browser_of.get(project_page_of(environment))
    rows = [words(row) for row in elements(page, 'tr[role="row"]')[1:]]
    assert [row.split()[0] for row in rows] == ["empty", "prod", "staging"]
    assert "none yet" in rows[0]
    assert "Warning #2" in rows[1]
    assert "Deploying #3" in rows[2]
    has(page, *(f'href="{page_of(one)}"' for one in (environment, staging)))


def test_the_hit_rate_counts_marked_verdicts_ever_and_of_the_last_month(browser_of, environment, user):
    old = timezone.now() - timedelta(days=31)
    for right, when in ((True, None), (False, None), (True, old), (True, old), (None, None)):
        verdict = make_verdict(make_deployment(environment=environment, state=State.FINISHED))
        if when is not None:
            DeploymentVerdict.objects.filter(pk=verdict.pk).update(created_at=when)
        if right is not None:
            give_feedback(verdict, right=right, by=user)
    text = words(browser_of.get(project_page_of(environment)))
    assert "Verdicts that were right 75 % 3 right of 4 marked" in text
    assert "Verdicts that were right, last 30 days 50 % 1 right of 2 marked" in text
    assert "Verdicts in 30 days 3 OK: 3 Warning: 0 Rollback recommended: 0" in text


def test_without_any_mark_no_hit_rate_is_claimed(browser_of, environment):
    make_verdict(make_deployment(environment=environment, state=State.FINISHED))
    text = words(browser_of.get(project_page_of(environment)))
    shows(text, "No verdict is marked yet", "Verdicts that were right, last 30 days – none marked")


def test_a_project_takes_the_same_queries_however_many_environments(browser_of, environment, user):
    def add(name: str) -> None:
        place = make_environment(project=environment.project, name=name)
        verdict = make_verdict(make_deployment(environment=place, state=State.FINISHED))
        give_feedback(verdict, right=True, by=user)

    add("one")
    with_one = queries_of(browser_of, project_page_of(environment))
    for name in "abcdef":
        add(name)
    # Session, user, project, its environments, their last deployments, marks and verdicts.
    assert queries_of(browser_of, project_page_of(environment)) == with_one == 7
