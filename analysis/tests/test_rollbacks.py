"""Rollbacks: found by their commit, or called so."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analysis.models import DeploymentVerdict
from analysis.services import give_feedback
from analysis.tests.factories import make_verdict
from analysis.tests.plans import plans_of
from deployments.models import Deployment
from deployments.rollbacks import rolls_back_to
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import Pipeline
from events.models import Event
from projects.models import Environment, Freeze
from projects.services import NewProject

A, B, C = (letter * 40 for letter in "abc")
pytestmark = pytest.mark.django_db


def deployed(environment: Environment, commit: str, verdict: str | None = "ok", **kwargs: Any) -> Deployment:
    """A deployment after all others; with a verdict unless it is None."""
    begin = timezone.now() - timedelta(days=1) + timedelta(minutes=10 * Deployment.objects.count())
    made = make_deployment(environment=environment, commit_sha=commit, state="finished", started_at=begin)
    if verdict is not None:
        make_verdict(made, verdict=verdict, **kwargs)
    return made


@pytest.mark.parametrize(
    ("before", "commit", "number"),
    [
        ([(A, "ok"), (B, "rollback_recommended")], A, 1),
        ([(A, "ok"), (B, "rollback_recommended")], A[:7], 1),
        ([(A[:8], "ok"), (B, "rollback_recommended")], A.upper(), 1),
        ([(A, "ok"), (B, None)], A, 1),
        ([(A, "ok"), (B, "ok")], A, 1),
        ([(A, "ok"), (A, "ok"), (B, "warning"), (C, "warning")], A, 2),
        # The same again, and something new.
        ([(A, "ok")], A, None),
        ([(A, "ok"), (A[:7], "warning")], A, None),
        ([(A, "ok"), (B, "ok")], B, None),
        ([(A, "ok"), (B, "ok")], C, None),
        ([(A, "ok"), (B, "ok")], "", None),
        # It was not good, or its commit or the last one's is not known.
        ([(A, "warning"), (B, "ok")], A, None),
        ([(A, None), (B, "ok")], A, None),
        ([("", "ok"), (B, "ok")], A, None),
        ([(A, "ok"), ("", "ok")], A, None),
        # No SHA, so no abbreviation.
        ([("r41", "ok"), ("r42", "ok")], "r41", 1),
        ([("v1.2", "ok"), ("v2", "ok")], "v1.2.3", None),
        ([], A, None),
    ],
)
def test_a_rollback_has_the_commit_of_a_good_earlier_deployment_but_not_the_last_ones(
    environment: Environment, before: list[tuple[str, str | None]], commit: str, number: int | None
) -> None:
    for earlier, verdict in before:
        deployed(environment, earlier, verdict)
    found = rolls_back_to(environment, commit)
    assert (found.number if found else None) == number


@pytest.mark.parametrize("is_frozen", [True, False])
@pytest.mark.parametrize("commit", ["", A, B, C])
def test_a_verification_hides_no_rollback(made: NewProject, pipeline: Pipeline, commit: str, is_frozen: bool) -> None:
    environment = made.environment
    for sha, verdict in ((A, "ok"), (B, "rollback_recommended"), (commit, "ok")):
        deployed(environment, sha, verdict)
    Deployment.objects.filter(number=Deployment.objects.latest("pk").number).update(kind="verification")
    if is_frozen:
        Freeze.objects.create(team=made.project.team, reason="Black Friday")
    assert pipeline.trigger(commit_sha=A).status_code == 200
    assert Deployment.objects.latest("pk").kind == "rollback"


def test_what_was_not_conclusive_or_is_marked_wrong_was_not_good(environment: Environment) -> None:
    deployed(environment, A, conclusive=False)
    wrong = deployed(environment, B)
    deployed(environment, C)
    give_feedback(DeploymentVerdict.objects.get(deployment=wrong), right=False, by=None)
    assert rolls_back_to(environment, A) is rolls_back_to(environment, B) is None


def test_of_deployments_that_began_in_the_same_moment_the_later_one_is_the_last(pipeline: Pipeline) -> None:
    # now() of PostgreSQL stands still in a transaction, and here all is one.
    for commit, verdict in ((A, "ok"), (B, "rollback_recommended")):
        pipeline.finish(pipeline.start(commit_sha=commit))
        make_verdict(Deployment.objects.get(commit_sha=commit), verdict=verdict)
    pipeline.trigger(commit_sha=A)
    assert Deployment.objects.get(state="running").kind == "rollback"


def test_another_environment_says_nothing_about_it(made: NewProject, environment: Environment) -> None:
    deployed(environment, A)
    deployed(made.environment, B)
    assert rolls_back_to(made.environment, A) is None


def test_a_rollback_is_found_and_shown_by_the_api(pipeline: Pipeline, made: NewProject) -> None:
    deployed(made.environment, A)
    deployed(made.environment, B, "rollback_recommended")
    answer = pipeline.trigger(commit_sha=A[:12]).json()
    assert "commit of #1, which was good: a rollback" in answer["message"]
    assert pipeline.get(f"/deployments/{answer['deployment_id']}").json()["kind"] == "rollback"
    assert [one["kind"] for one in pipeline.get("/deployments").json()["results"]] == [
        "rollback",
        *["deployment"] * 2,
    ]


@pytest.mark.parametrize(
    ("said", "kind"),
    [("deployment", "deployment"), ("Rollback", "rollback"), ("verification", "verification"), ("", "rollback")],
)
def test_what_the_call_says_of_its_kind_decides(pipeline: Pipeline, made: NewProject, said: str, kind: str) -> None:
    deployed(made.environment, A)
    deployed(made.environment, B)
    pipeline.trigger(commit_sha=A, kind=said)
    assert Deployment.objects.get(state="running").kind == kind


def test_a_superseded_deployment_is_rolled_back_too(pipeline: Pipeline, made: NewProject) -> None:
    deployed(made.environment, A)
    pipeline.trigger(commit_sha=B, idempotency_key="run-1")
    pipeline.trigger(commit_sha=A, idempotency_key="run-2")
    assert Deployment.objects.get(idempotency_key="run-2").kind == "rollback"


PLANT = """
WITH planted AS (
    INSERT INTO deployments (uuid, number, project_id, environment_id, state, started_at, branch, commit_sha, version,
        author, url, pipeline_result, window_samples, interval_s)
    SELECT gen_random_uuid(), n + 10, %s, %s, 'analyzed', now() - n * interval '1 hour', '',
        CASE WHEN n %% 50 = 0 THEN %s ELSE md5(n::text) END, '', '', '', '', 5, 60
    FROM generate_series(1, 5000) AS n RETURNING id)
INSERT INTO deployment_verdicts (deployment_id, verdict, confidence, conclusive, score, summary, failed_metrics, checks,
    quality, policy, evidence, early, shadow)
SELECT id, 'ok', 0.9, true, 0.1, '', '[]', '[]', '{}', '{}', '{}', false, false FROM planted
"""


def test_finding_it_takes_an_index_and_one_row_of_the_many_with_the_commit(environment: Environment) -> None:
    deployed(environment, B)
    with connection.cursor() as cursor:
        cursor.execute(PLANT, [environment.project_id, environment.pk, A])
        cursor.execute("ANALYZE deployments, deployment_verdicts, verdict_feedback")
    with plans_of() as plans, CaptureQueriesContext(connection) as asked:
        assert rolls_back_to(environment, A) is not None
    last, same = plans
    assert "Index Scan" in last
    assert "deployments_by_commit" in same
    assert all("LIMIT 1" in query["sql"] for query in asked)


@pytest.mark.parametrize(
    ("call", "returns_to"),
    [
        ({"commit_sha": A}, {"number": 1, "commit": A}),
        ({"commit_sha": A, "kind": "rollback"}, {"number": 1, "commit": A}),
        ({"kind": "rollback"}, None),
        ({"commit_sha": A, "kind": "deployment"}, "nothing"),
        ({"commit_sha": C}, "nothing"),
    ],
)
def test_a_rollback_emits_an_event(made: NewProject, pipeline: Pipeline, call: dict[str, str], returns_to: Any) -> None:
    deployed(made.environment, A)
    deployed(made.environment, B, "rollback_recommended")
    assert pipeline.trigger(**call).json()["number"] == 3
    events = Event.objects.filter(kind="rolled_back")
    assert [one.parameters["rolls_back_to"] for one in events] == ([] if returns_to == "nothing" else [returns_to])
    assert [one.parameters["deployment"]["number"] for one in events] == [3] * len(events)
