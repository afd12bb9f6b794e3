"""Whose deployment a trigger call gets: keys, commits, and what a later run supersedes."""

import pytest
from django.db.models.functions import Lower

from deployments.commits import same_commit
from deployments.models import Deployment, State
from deployments.rollbacks import is_same
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import ENDPOINT, Pipeline
from projects.models import Environment
from projects.services import NewProject, add_environment

LONG = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"


COMMITS = [
    (LONG, LONG, True),
    (LONG, LONG[:7], True),
    (LONG[:12].upper(), LONG, True),
    (LONG[:4], LONG, True),
    (LONG, LONG[:7] + "0", False),
    # Revisions, tags and the like are no SHA that could be abbreviated.
    ("r41", "r411", False),
    ("41", "411", False),
    ("v1.2", "v1.2.3", False),
    ("abcd123", "abcd123-dirty", False),
    ("Release-7", "release-7", True),
]


@pytest.mark.parametrize(("one", "other", "same"), COMMITS)
def test_commits_are_compared_by_prefix_where_they_are_shas(one: str, other: str, same: bool) -> None:
    assert same_commit(one, other) == same_commit(other, one) == same


@pytest.mark.django_db
@pytest.mark.parametrize(("one", "other", "same"), COMMITS)
def test_rows_with_a_commit_are_found_as_commits_are_compared(
    environment: Environment, one: str, other: str, same: bool
) -> None:
    for stored, given in ((one, other), (other, one)):
        make_deployment(environment=environment, commit_sha=stored, state=State.FINISHED)
        rows = Deployment.objects.filter(commit_sha=stored).alias(lowered=Lower("commit_sha"))
        assert rows.filter(is_same(given)).exists() == same


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("first", "second", "superseded"),
    [
        ({"idempotency_key": "run-1", "commit_sha": "1111111"}, {"idempotency_key": "run-2", "commit_sha": LONG}, True),
        ({"commit_sha": "1111111"}, {"idempotency_key": "run-2", "commit_sha": LONG}, True),
        ({"idempotency_key": "run-1", "commit_sha": LONG}, {"idempotency_key": "run-2", "commit_sha": LONG[:7]}, False),
        ({"idempotency_key": "run-1", "commit_sha": LONG}, {"commit_sha": "1111111"}, False),
        ({"idempotency_key": "run-1", "commit_sha": LONG}, {"idempotency_key": "run-1", "commit_sha": "2222"}, False),
        ({"idempotency_key": "run-1", "commit_sha": LONG}, {"idempotency_key": "run-2"}, False),
        ({"idempotency_key": "run-1"}, {"idempotency_key": "run-2", "commit_sha": LONG}, False),
        ({}, {}, False),
    ],
)
def test_a_new_key_with_another_commit_supersedes_the_running_one(
    pipeline: Pipeline, first: dict[str, str], second: dict[str, str], superseded: bool
) -> None:
    old, new = pipeline.trigger(**first).json(), pipeline.trigger(**second).json()
    row = Deployment.objects.get(uuid=old["deployment_id"])
    if superseded:
        assert (new["status"], row.state) == ("created", State.SUPERSEDED)
        assert str(row.superseded_by and row.superseded_by.uuid) == new["deployment_id"] != old["deployment_id"]
        assert "#1 was still running" in new["message"] and "superseded" in new["message"]
    else:
        assert (new["status"], row.state) == ("existing", State.RUNNING)
        assert new["deployment_id"] == old["deployment_id"]


@pytest.mark.django_db
def test_a_refused_call_of_another_commit_supersedes_nothing(pipeline: Pipeline) -> None:
    pipeline.trigger(idempotency_key="run-1", commit_sha="1111111")
    evil = "http://evil.example/"
    refused = pipeline.trigger(idempotency_key="run-2", commit_sha="2222222", metrics_endpoint=evil)
    assert (refused.status_code, Deployment.objects.get().state) == (409, State.RUNNING)


@pytest.mark.django_db
def test_a_key_that_got_the_running_one_gets_the_same_one_ever_after(pipeline: Pipeline) -> None:
    first = pipeline.start(idempotency_key="run-1", commit_sha=LONG)
    assert pipeline.start(idempotency_key="run-2", commit_sha=LONG) == first
    pipeline.finish(first)
    again = pipeline.trigger(idempotency_key="run-2", commit_sha="2222222", force=True).json()
    assert (again["status"], again["deployment_id"]) == ("existing", first)
    assert Deployment.objects.get().idempotency_key == "run-1"


@pytest.mark.django_db
def test_a_key_makes_a_deployment_in_each_environment(pipeline: Pipeline, made: NewProject) -> None:
    add_environment(made.project, "staging", endpoint=ENDPOINT)
    staging, prod = (pipeline.start(env=env, idempotency_key="run-1") for env in ("staging", "prod"))
    assert staging != prod
    assert [pipeline.start(env=env, idempotency_key="run-1") for env in ("staging", "prod")] == [staging, prod]


@pytest.mark.django_db
def test_a_key_that_the_previous_version_wrote_is_known(pipeline: Pipeline) -> None:
    first = pipeline.start(idempotency_key="run-1")
    Deployment.objects.get().keys.all().delete()
    pipeline.finish(first)
    assert pipeline.start(idempotency_key="run-1") == first
