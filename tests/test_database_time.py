"""Stored times are the database's: a process whose clock is wrong writes none of its own."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.apps import apps
from django.db import models
from django.db.models.functions import Now

from accounts.invitations import accept, invite
from analysis.evidence import load_evidence, observed_until
from analysis.models import DeploymentVerdict
from analysis.rerun import preview_rerun, store_rerun
from analysis.services import assess, give_feedback, store_early, store_judgement
from deployments.models import Deployment
from deployments.tests.pipeline import ENDPOINT, Pipeline
from projects.admin_actions import block_endpoints
from projects.models import ApiKey, Environment, PolicySource
from projects.policy import policy_from_dict
from projects.services import create_project, set_policy
from scheduler.models import ScheduledJob
from tests.factories import make_membership, make_samples, make_user

# Django's own: the sign-in stamps them with the clock of the process.
NOT_OURS = {("User", "date_joined"), ("User", "last_login")}


def stored_times() -> Iterator[tuple[str, datetime]]:
    """Yield every time in our tables, with its model and column."""
    for model in apps.get_models():
        for column in model._meta.concrete_fields:
            ours = not model.__module__.startswith(("django.", "allauth."))
            if isinstance(column, models.DateTimeField) and ours and (model.__name__, column.name) not in NOT_OURS:
                for moment in model._default_manager.exclude(**{column.name: None}).values_list(column.name, flat=True):
                    yield f"{model.__name__}.{column.name}", moment


def fresh() -> Deployment:
    """Return the only deployment, with what a judgement and a rerun need."""
    return Deployment.objects.select_related("environment", "policy_version", "verdict__feedback").get()


@pytest.mark.django_db
@pytest.mark.parametrize("off", [timedelta(days=700), timedelta(days=-700)], ids=["ahead", "behind"])
def test_a_process_with_a_wrong_clock_stores_the_times_of_the_database(off: timedelta) -> None:
    right = datetime.now(UTC)
    with time_machine.travel(right + off, tick=True):
        made = create_project("shop", environment="prod", endpoint=ENDPOINT)
        owner, guest = make_user(), make_user(email="guest@example.com")
        team = make_membership(user=owner, role="owner").team
        accept(invite(team, guest.email, "member", by=owner).token, guest)
        invite(team, "ada@example.com", "member", by=owner)
        assert team.invitations.open().count() == 1
        pipeline = Pipeline(made.api_key)
        pipeline.finish(pipeline.start())
        deployment = fresh()
        make_samples(deployment, error_rate=0.5)
        ScheduledJob.objects.update(status="completed", finished_at=Now())
        judgement = assess(load_evidence([deployment], observed_until(deployment))[deployment.pk])
        # The early verdict, and the final one.
        assert store_early(deployment.pk, replace(judgement, verdict=replace(judgement.verdict, early=True)))
        assert store_judgement(deployment.pk, judgement)
        for right_or_wrong in (True, False):
            give_feedback(fresh().verdict, right=right_or_wrong, by=owner)
        set_policy(made.environment, policy_from_dict({"shadow": True}).as_dict(), source=PolicySource.DASHBOARD)
        store_rerun(deployment.pk, token=preview_rerun(fresh()).token, by=owner)
        block_endpoints(Environment.objects.all(), "harmful", by="operator")
        ApiKey.objects.get().revoke()
    verdict = DeploymentVerdict.objects.get()
    in_json = {"final": verdict.final["at"], "revision": verdict.revisions[0]["replaced_at"]}
    written = [*stored_times(), *((name, datetime.fromisoformat(at)) for name, at in in_json.items())]
    assert len({name for name, _ in written}) > 20
    assert [(name, at) for name, at in written if abs(at - right) > timedelta(days=30)] == []
