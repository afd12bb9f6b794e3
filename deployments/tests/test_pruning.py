"""Pruning keeps jobs of missing samples until their deployment is judged."""

from datetime import timedelta

import pytest
from django.utils import timezone

from deployments.tests.factories import make_deployment
from scheduler.models import ScheduledJob
from scheduler.operations import prune

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("state", "kept"), [("running", 1), ("finished", 1), ("analyzed", 0), ("abandoned", 0)])
def test_jobs_of_deployments_that_are_not_judged_yet_stay(state: str, kept: int) -> None:
    long_ago = timezone.now() - timedelta(days=31)
    ScheduledJob.objects.create(
        job_type="post_collect",
        deployment=make_deployment(state=state),
        scheduled_at=long_ago,
        finished_at=long_ago,
        status="failed",
    )
    prune(30)
    assert ScheduledJob.objects.count() == kept
