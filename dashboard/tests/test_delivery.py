"""The delivery figures against scenes that were worked out by hand."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from analysis.acknowledging import acknowledge
from analysis.delivery import Figures, Spread, figures_of
from analysis.models import DeploymentVerdict, VerdictName
from analysis.services import give_feedback
from analysis.tests.plans import plans_of
from dashboard.tests.pages import shows
from dashboard.tests.planted import plant
from deployments.models import Deployment, State
from projects.models import Environment
from tests.factories import make_deployment, make_environment, make_project, make_user, make_verdict

pytestmark = pytest.mark.django_db

OK, WARNING, ROLLBACK = VerdictName.OK, VerdictName.WARNING, VerdictName.ROLLBACK_RECOMMENDED
NOW = timezone.now()


def judged(
    environment: Environment, hours_ago: float, verdict: str | None, *, after_s: float = 300, **kwargs: Any
) -> Deployment:
    """Finished so many hours ago; its verdict came `after_s` later."""
    finished = NOW - timedelta(hours=hours_ago)
    values = {"started_at": finished - timedelta(minutes=1), "finished_at": finished, **kwargs}
    made = make_deployment(environment=environment, state=State.FINISHED, **values)
    if verdict is not None:
        make_verdict(made, verdict=verdict)
        DeploymentVerdict.objects.filter(deployment=made).update(created_at=finished + timedelta(seconds=after_s))
    return made


def figures(environment: Environment, days: int = 30, now: datetime = NOW) -> Figures:
    return figures_of([environment.project_id], days, now)


def test_without_deployments_there_are_no_figures():
    assert figures(make_environment()) == Figures(30)
    assert figures_of([], 30, NOW) == Figures(30)


def test_rollbacks_are_counted_apart_and_verifications_not_at_all():
    prod = make_environment()
    committed = NOW - timedelta(hours=12)
    judged(prod, 9, OK, committed_at=committed)
    judged(prod, 8, ROLLBACK, committed_at=committed)
    judged(prod, 7, ROLLBACK, kind="rollback", committed_at=committed)
    judged(prod, 6, OK, kind="rollback", committed_at=committed)
    judged(prod, 5, OK, kind="rollback", pipeline_result="failed")
    judged(prod, 4, ROLLBACK, kind="verification", committed_at=committed)
    judged(prod, 3, OK, kind="verification", committed_at=committed)
    found = figures(prod)
    assert (found.deployed, found.rollbacks, found.lead.count) == (2, 2, 2)
    assert (found.judged, found.failed) == (2, 1)
    # Every verdict took its time; the rollback ended what failed, itself included, and the service failed once more.
    assert found.to_verdict.count == 7
    assert (found.to_restore.count, found.unrestored) == (2, 0)
    assert found.to_restore.median == pytest.approx(1.5 * 3600)


def test_what_was_deployed_counts_where_the_pipeline_succeeded():
    prod = make_environment()
    for result in ("success", "success", "failed", "cancelled"):
        judged(prod, 5, OK, pipeline_result=result)
    judged(prod, 4, None)
    make_deployment(environment=prod, state=State.RUNNING, started_at=NOW - timedelta(hours=1))
    found = figures(prod, days=7)
    assert (found.deployed, found.judged, found.per_day) == (3, 4, 3 / 7)


def test_only_what_was_finished_in_the_period_counts():
    prod = make_environment()
    for hours_ago in (1, 6.9 * 24, 7.1 * 24, 29 * 24, 31 * 24, 89 * 24, 91 * 24):
        judged(prod, hours_ago, OK)
    assert [figures(prod, days=days).judged for days in (7, 30, 90)] == [2, 4, 6]


def test_only_the_projects_that_were_asked_for_count():
    one, other = make_environment(), make_environment()
    judged(one, 5, OK)
    judged(make_environment(project=one.project), 5, ROLLBACK)
    judged(other, 5, ROLLBACK)
    assert (figures(one).judged, figures(one).failed) == (2, 1)
    both = figures_of([one.project_id, other.project_id], 30, NOW)
    assert (both.judged, both.failed) == (3, 2)


@pytest.mark.parametrize(
    ("verdict", "mark", "failed"),
    [
        (ROLLBACK, None, 1),
        (WARNING, None, 0),
        (OK, None, 0),
        (ROLLBACK, {"right": True}, 1),
        (ROLLBACK, {"right": False, "should_have_been": "ok"}, 0),
        (ROLLBACK, {"right": False}, 0),
        (OK, {"right": False, "should_have_been": "rollback_recommended"}, 1),
        (WARNING, {"right": True}, 0),
        (OK, {"right": False}, 0),
    ],
)
def test_a_mark_counts_instead_of_the_verdict(verdict, mark, failed):
    prod = make_environment()
    deployment = judged(prod, 5, verdict)
    if mark is not None:
        give_feedback(DeploymentVerdict.objects.get(deployment=deployment), by=make_user(), **mark)
    found = figures(prod)
    assert (found.judged, found.failed, found.failure_rate) == (1, failed, float(failed))
    assert found.unrestored == failed


def test_time_to_verdict_is_the_median_and_what_nine_of_ten_keep_to():
    prod = make_environment()
    for seconds in (100, 200, 300, 400, 1000):
        judged(prod, 5, OK, after_s=seconds)
    judged(prod, 3, None)
    # Between the fourth and the fifth value: 400 + 0.6 × 600.
    found = figures(prod).to_verdict
    assert found.count == 5
    assert found.median == pytest.approx(300)
    assert found.p90 == pytest.approx(760)


def test_time_to_restore_runs_to_the_next_ok_of_the_environment():
    prod = make_environment()
    staging = make_environment(project=prod.project)
    judged(prod, 50, ROLLBACK)
    judged(staging, 49, OK)
    judged(prod, 48, WARNING)
    judged(prod, 47, OK)
    judged(prod, 30, ROLLBACK)
    judged(prod, 29, OK)
    # 50 h to 47 h; 30 h to 29 h: the median of 3 h and 1 h.
    found = figures(prod)
    assert (found.to_restore.count, found.unrestored) == (2, 0)
    assert found.to_restore.median == pytest.approx(2 * 3600)


def test_failures_in_a_row_are_one_that_lasts_from_the_first():
    prod = make_environment()
    for hours_ago in (10, 9, 8):
        judged(prod, hours_ago, ROLLBACK)
    judged(prod, 6, OK)
    judged(prod, 3, ROLLBACK)
    judged(prod, 2, ROLLBACK)
    found = figures(prod)
    assert (found.failed, found.to_restore.count, found.unrestored) == (5, 1, 1)
    assert found.to_restore.median == pytest.approx(4 * 3600)


def test_who_says_that_they_rolled_back_ends_a_failure_before_the_next_ok_does():
    prod = make_environment()

    def rolled_back(deployment: Deployment, hours_ago: float) -> None:
        acknowledge(deployment, "rolled_back", who="ana", via="page")
        deployment.acknowledgements.update(at=NOW - timedelta(hours=hours_ago))

    judged(prod, 50, ROLLBACK)
    rolled_back(judged(prod, 48, ROLLBACK), 46)
    judged(prod, 40, OK)
    # Only said, long after the service was well again; and not followed by any OK yet.
    rolled_back(judged(prod, 30, ROLLBACK), 2)
    judged(prod, 29, OK)
    rolled_back(judged(prod, 20, ROLLBACK), 14)
    # 50 h to 46 h, 30 h to 29 h, 20 h to 14 h, each less the five minutes to the verdict.
    found = figures(prod)
    assert (found.to_restore.count, found.unrestored) == (3, 0)
    assert found.to_restore.median == pytest.approx(4 * 3600 - 300)


def test_an_ok_that_was_marked_wrong_restores_nothing():
    prod = make_environment()
    judged(prod, 10, ROLLBACK)
    wrong = judged(prod, 9, OK)
    give_feedback(DeploymentVerdict.objects.get(deployment=wrong), right=False, should_have_been="", by=make_user())
    judged(prod, 5, OK)
    assert figures(prod).to_restore.median == pytest.approx(5 * 3600)


def test_lead_time_is_known_where_the_pipeline_sent_the_time_of_the_commit():
    prod = make_environment()
    judged(prod, 10, OK, committed_at=NOW - timedelta(hours=12))
    judged(prod, 10, OK, committed_at=NOW - timedelta(hours=16))
    judged(prod, 10, OK)
    judged(prod, 10, OK, pipeline_result="failed", committed_at=NOW - timedelta(hours=100))
    # A clock that is wrong: committed after it was deployed.
    judged(prod, 10, OK, committed_at=NOW - timedelta(hours=9))
    found = figures(prod).lead
    assert found.count == 2
    assert found.median == pytest.approx(4 * 3600)


def test_a_verdict_from_before_the_finish_took_no_time():
    prod = make_environment()
    judged(prod, 5, OK, after_s=-60)
    assert figures(prod).to_verdict == Spread(0.0, 0.0, 1)


# --- how they are counted ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_figures_are_counted_from_indexes_alone():
    environment = make_environment(project=make_project())
    plant([environment])
    with connection.cursor() as cursor:
        # As autovacuum does: only then may an index answer without its table.
        cursor.execute("VACUUM deployments, deployment_verdicts")
    with plans_of() as plans:
        found = figures_of([environment.project_id], 7, timezone.now())
    assert len(plans) == 2
    assert (found.deployed, found.failed) == (168, 8)
    for plan in plans:
        shows(plan, "deployments_by_finish", without=["Seq Scan on deployments", "Seq Scan on deployment_verdicts"])
