"""Every write is announced in its transaction, whichever code does it (deployments/changes.py)."""

from collections.abc import Callable, Iterator

import pytest
from django.db import connection, transaction
from django.utils import timezone

from analysis.models import DeploymentVerdict
from analysis.tests.factories import make_verdict
from deployments import changes
from deployments.announcer import announcer
from deployments.models import Deployment
from deployments.tests.pipeline import Pipeline
from metrics.models import Phase
from metrics.payload import Metrics
from metrics.storing import Sample, store
from metrics.tests.factories import HEALTHY
from projects.services import NewProject
from scheduler.models import ScheduledJob
from scheduler.tests.kinds import plain_connection

pytestmark = pytest.mark.django_db(transaction=True)

Changed = Callable[[Callable[[], object]], set[str]]


@pytest.fixture
def announced() -> Iterator[Changed]:
    """Return the topics that an action announces."""
    with plain_connection() as link:
        link.execute(f"LISTEN {changes.CHANNEL}")

        def topics_of(action: Callable[[], object]) -> set[str]:
            action()
            assert announcer.flush(10)
            # Notifications of earlier commits come before the answer of a later statement.
            link.execute("SELECT 1")
            return {topic for each in link.notifies(timeout=0) for topic in each.payload.split()}

        yield topics_of


def found(deployment: Deployment) -> dict[str, str]:
    """Return what a process without notifications finds about the deployment."""
    topics = {"s": deployment.pk, "d": deployment.pk, "e": deployment.environment_id, "t": deployment.project.team_id}
    with connection.cursor() as cursor:
        cursor.execute(changes.FINGERPRINTS, {kind: [pk] for kind, pk in topics.items()})
        return dict(cursor.fetchall())


def stored(made: NewProject, deployment: Deployment | None) -> None:
    place = {"deployment_id": deployment.pk, "phase": Phase.PRE} if deployment else {}
    environment = made.project.environments.get()
    store([Sample(environment.pk, Metrics(**HEALTHY), timezone.now(), **place)])


def test_changes_are_announced_to_those_whom_they_concern(
    made: NewProject, pipeline: Pipeline, announced: Changed
) -> None:
    """With notifications, and by looking where none arrive."""
    assert announced(pipeline.start)
    deployment = Deployment.objects.select_related("project").get()
    state, whole = changes.state_of(deployment.pk), changes.deployment(deployment.pk)
    environment, team = changes.environment(deployment.environment_id), changes.team(deployment.project.team_id)
    samples, everything = {whole, environment, team}, {state, whole, environment, team}
    pre = ScheduledJob.objects.filter(job_type="pre_collect")

    for action, topics, looked_up in (
        (lambda: stored(made, deployment), samples, {environment}),
        (lambda: stored(made, None), {environment}, {environment}),
        (lambda: pre.update(status="running"), set(), set()),
        (lambda: pre.update(status="pending", retry_count=1), samples, {whole}),
        (lambda: pre.update(status="failed"), samples, {whole}),
        (lambda: pipeline.finish(deployment.uuid), everything, everything),
        (lambda: make_verdict(deployment), everything, everything),
        # As an early verdict: the deployment stays in its state.
        (lambda: DeploymentVerdict.objects.get().save(), everything, everything),
        (lambda: DeploymentVerdict.objects.get().delete(), everything, everything),
        (lambda: Deployment.objects.filter(pk=0).update(kind="rollback"), set(), set()),
    ):
        before = found(deployment)
        assert announced(action) == topics
        after = found(deployment)
        assert {topic for topic, value in after.items() if before[topic] != value} == looked_up
    assert announced(pipeline.start) > {environment, team}
    assert found(deployment)[team] != after[team]


def test_nothing_is_announced_before_the_commit_or_after_a_rollback(pipeline: Pipeline, announced: Changed) -> None:
    def rolled_back() -> None:
        with transaction.atomic():
            pipeline.start()
            transaction.set_rollback(True)

    assert announced(rolled_back) == set()
    with transaction.atomic():
        pipeline.start()
        assert announced(lambda: None) == set()
    assert announced(lambda: None)


def test_many_changes_fit_in_notifications_and_very_many_are_everything(announced: Changed) -> None:
    with connection.cursor() as cursor:
        changed = (
            "SELECT announce_changes(NULL, array(SELECT (2^62)::bigint + i FROM generate_series(1, %s) AS i), false)"
        )
        assert len(announced(lambda: cursor.execute(changed, [2000]))) == 2000
        changed = "SELECT announce_changes(array(SELECT generate_series(1, %s)), NULL, true)"
        assert announced(lambda: cursor.execute(changed, [10_001])) == {changes.EVERYTHING}
