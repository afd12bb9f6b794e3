"""Long lists are read by index: each order from its place on, each rare value without passing by the others."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from analysis.models import DeploymentVerdict, Hint
from analysis.tests.plans import assert_few_partitions, assert_few_partitions_by_index, make_history, plans_of
from dashboard.deployments.filters import DeploymentFilters
from dashboard.deployments.listing import deployments_page
from dashboard.hints.queries import HintFilters, hints_page
from dashboard.scope import scope_of
from dashboard.tests.pages import shows
from deployments.models import Deployment
from projects.models import Environment
from tests.factories import make_environment, make_membership, make_project

pytestmark = pytest.mark.django_db

DEPLOYMENTS = 4000


@pytest.fixture
def many(environment: Environment) -> None:
    """Thousands of deployments of twenty projects with verdicts and hints, and statistics of them."""
    team = environment.project.team
    environments = [environment, *(make_environment(project=make_project(team=team)) for _ in range(19))]
    now = timezone.now()
    rows = [
        Deployment(
            number=place,
            project=environments[place % 20].project,
            environment=environments[place % 20],
            branch="main" if place % 3 != 1 else f"topic/number-{place}",
            author=f"Author {place % 200}",
            commit_sha=f"{place:07x}" + "0" * 33,
            state="abandoned" if place % 100 == 0 else "analyzed",
            started_at=now - timedelta(minutes=DEPLOYMENTS - place),
            duration_ms=None if place % 100 == 0 else place * 37 % 9000,
        )
        for place in range(DEPLOYMENTS)
    ]
    judged = [row for row in Deployment.objects.bulk_create(rows) if row.state == "analyzed"]
    DeploymentVerdict.objects.bulk_create(
        DeploymentVerdict(
            deployment=row,
            verdict="rollback_recommended" if row.number % 50 == 1 else "ok",
            confidence=row.number % 97 / 97,
            conclusive=row.number % 80 != 3,
            score=0.0,
            summary="Keep it.",
        )
        for row in judged
    )
    Hint.objects.bulk_create(
        Hint(deployment=row, code="cpu_spike" if row.number % 40 else "poor_data", severity="info", confidence=0.5)
        for row in judged
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


# What is asked for, and by which index the deployments of the first and of the third page are found.
ORDERED = {
    "-started": "deployments_by_time",
    "started": "deployments_by_time",
    "-duration": "deployments_by_duration",
    "duration": "deployments_by_duration",
    "-confidence": "verdicts_by_confidence",
    "confidence": "verdicts_by_confidence",
    "-verdict": "verdicts_by_name",
}
RARE = [
    ({"branch": "topic/number-10"}, "deployments_by_branch"),
    ({"author": "Author 7"}, "deployments_by_author"),
    ({"q": "number-10"}, "deployments_by_word"),
    ({"q": "0000009"}, "deployments_by_word"),
    ({"verdict": "rollback_recommended"}, "verdicts_by_name"),
    ({"verdict": "none"}, "deployments_unjudged"),
    ({"verdict": "inconclusive"}, "verdicts_not_conclusive"),
    ({"verdict": "early"}, "verdicts_early"),
    ({"state": "abandoned"}, "deployments_unjudged"),
]


def test_every_order_and_every_rare_value_is_read_by_index(
    user: User, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test for all: making the rows takes longer than reading them."""
    for order, index in ORDERED.items():
        cursor = ""
        for _ in range(3):
            with plans_of() as plans:
                cursor = deployments_page(DeploymentFilters({"sort": order}, scope_of(user)), cursor).older
            shows("\n".join(plans), index)
    for query, index in RARE:
        with plans_of() as plans:
            deployments_page(DeploymentFilters(query, scope_of(user)))
        shows("\n".join(plans), index)
    monkeypatch.setattr("dashboard.keyset.COUNTED", 10)
    monkeypatch.setattr("dashboard.deployments.by_project.MOST_SORTED", -1)
    with plans_of() as plans:
        assert deployments_page(DeploymentFilters({"sort": "project"}, scope_of(user))).older
    shows("\n".join(plans), "deployments_of_project")
    hints: list[tuple[dict[str, str], str]] = [({}, "hints_by_time"), ({"code": "poor_data"}, "hints_by_code")]
    for query, index in hints:
        with plans_of() as plans:
            assert hints_page(HintFilters(query, scope_of(user))).rows
        shows("\n".join(plans), index)


# --- samples ---


@pytest.mark.parametrize(
    ("path", "check"),
    [
        ("/dashboard/deployments/{}/", assert_few_partitions_by_index),
        ("/dashboard/deployments/", assert_few_partitions),
    ],
)
def test_a_page_reads_few_partitions(client: Client, path: str, check: Callable[[list[str]], None]) -> None:
    deployment = make_history()
    client.force_login(make_membership(team=deployment.project.team).user)
    with plans_of("metric_samples") as plans:
        assert client.get(path.format(deployment.uuid)).status_code == 200
    assert len(plans) == 1
    check(plans)
