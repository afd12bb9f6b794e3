"""What follows an alert: it reaches the channels that got the alert; and verdicts that say something else later."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.tests.factories import make_user
from analysis.acknowledging import acknowledge
from analysis.models import DeploymentVerdict
from analysis.rerun import revise
from analysis.services import give_feedback, store_early, store_judgement, store_unjudged, take_back_unjudged
from analysis.tests.test_outbox import judgement
from deployments.models import Deployment, State
from deployments.outbox import event_about
from deployments.tests.factories import make_deployment
from events.kinds import Severity
from events.models import Event, Incident
from events.outbox import emit
from explain.facts import Fact
from notifications.channels.pagerduty import alert_of
from notifications.describing import describe
from notifications.fanning import fan_out
from notifications.message import Message
from notifications.models import Channel, Delivery
from notifications.tests.factories import make_channel
from projects.models import Environment
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db


def finished(environment: Environment, **fields: Any) -> Deployment:
    made = make_deployment(environment=environment, state=State.FINISHED, **fields)
    return Deployment.objects.select_related("project", "environment").get(pk=made.pk)


def channels_of(environment: Environment) -> tuple[Channel, Channel]:
    """Return a channel with the default rules, and one for critical events only."""
    team = environment.project.team
    return make_channel(team=team, least_severity="warning"), make_channel(team=team, least_severity="critical")


def received(channel: Channel) -> list[str]:
    fan_out()
    return list(channel.deliveries.order_by("event_id").values_list("event__kind", flat=True))


def latest(channel: Channel) -> Message:
    fan_out()
    delivery = Delivery.objects.filter(channel=channel).select_related("event", "channel").latest("event_id")
    [message] = describe([delivery]).values()
    return message


@pytest.mark.parametrize("batches", [True, False])
def test_an_acknowledgement_reaches_those_who_got_the_alert(batches: bool) -> None:
    environment = make_environment()
    usual, critical = channels_of(environment)
    small, grave, fine = (finished(environment) for _ in range(3))
    store_judgement(fine.pk, judgement("ok"))
    store_judgement(small.pk, judgement("warning"))
    store_judgement(grave.pk, judgement("rollback_recommended"))
    if batches:
        fan_out()
    for one in (fine, small, grave):
        acknowledge(one, "on_it", who="ana", via="api")
    assert received(usual) == ["verdict_issued", "verdict_issued", "acknowledged", "acknowledged"]
    assert received(critical) == ["verdict_issued", "acknowledged"]


def test_it_is_as_urgent_as_the_alert() -> None:
    environment = make_environment()
    team, now = environment.project.team, timezone.now()
    hours = {"quiet_from": (now - timedelta(hours=1)).time(), "quiet_until": (now + timedelta(hours=1)).time()}
    channel = make_channel(team=team, least_severity="warning", **hours)
    deployment = finished(environment)
    store_judgement(deployment.pk, judgement("rollback_recommended"))
    acknowledge(deployment, "on_it", who="ana", via="api")
    assert received(channel) == ["verdict_issued", "acknowledged"]
    assert not channel.deliveries.filter(due_at__gt=timezone.now()).exists()


@pytest.mark.parametrize("kind", ["acknowledged", "rollback_fired", "rollback_unknown", "verdict_revised"])
def test_rules_about_events_and_places_stay(kind: str) -> None:
    environment, other = make_environment(), make_environment()
    team = environment.project.team
    elsewhere = make_channel(team=team, project=other.project)
    chosen = make_channel(team=team, events=["early_rollback"], least_severity="critical")
    deployment = finished(environment)
    store_early(deployment.pk, judgement("rollback_recommended", early=True))
    emit(event_about(deployment, kind, severity=Severity.INFO))
    assert received(elsewhere) == []
    # A correction belongs to what it corrects.
    assert received(chosen) == ["early_rollback", *["verdict_revised"] * (kind == "verdict_revised")]


@pytest.mark.parametrize("known", [True, False])
def test_a_rollback_and_its_verdict_reach_those_who_got_the_alert_about_what_it_replaces(known: bool) -> None:
    environment = make_environment()
    usual, critical = channels_of(environment)
    good, bad = finished(environment), finished(environment)
    store_judgement(bad.pk, judgement("rollback_recommended"))
    Incident.objects.all().delete()  # so that no recovery says how it ended
    back = finished(environment, kind="rollback")
    emit(event_about(back, "rolled_back", rolls_back_to={"number": good.number} if known else None))
    store_judgement(back.pk, judgement("ok"))
    for channel in (usual, critical):
        assert received(channel) == ["verdict_issued", "rolled_back", "verdict_issued"]
        assert "the rollback worked" in latest(channel).headline or "nothing to compare" in latest(channel).headline


def test_how_it_ended_is_said_once() -> None:
    environment = make_environment()
    usual, _ = channels_of(environment)
    bad, back = finished(environment), finished(environment, kind="rollback")
    store_early(bad.pk, judgement("rollback_recommended", early=True))
    store_judgement(bad.pk, judgement("rollback_recommended"))
    emit(event_about(back, "rolled_back", rolls_back_to=None))
    store_judgement(back.pk, judgement("ok"))
    # Neither the confirmation of what was said before, nor the ok that is a recovery.
    assert received(usual) == ["early_rollback", "rolled_back", "recovered"]


# --- revised --------------------------------------------------------------------------------------------------------


def verdict_of(deployment: Deployment) -> DeploymentVerdict:
    return DeploymentVerdict.objects.select_related("deployment", "feedback").get(deployment=deployment)


@pytest.mark.parametrize(
    ("first", "then", "says", "action"),
    [
        ("rollback_recommended", "ok", "no longer roll back: ok", "resolve"),
        ("warning", "ok", "no longer a warning: ok", "resolve"),
        ("ok", "rollback_recommended", "no longer ok: ", "trigger"),
        ("warning", "rollback_recommended", "no longer a warning: ", "trigger"),
        ("rollback_recommended", "warning", "no longer roll back: ", "trigger"),
    ],
)
def test_a_later_analysis_is_told_to_whom_the_earlier_verdict_was(
    first: str, then: str, says: str, action: str
) -> None:
    environment = make_environment()
    everything = make_channel(team=environment.project.team)
    usual, critical = channels_of(environment)
    deployment = finished(environment)
    store_judgement(deployment.pk, judgement(first))
    revise(verdict_of(deployment), judgement(then), by=make_user(username="ada"))
    assert received(everything)[-1] == "verdict_revised"
    assert ("verdict_revised" in received(usual)) == (first != "ok" or then != "ok")
    assert ("verdict_revised" in received(critical)) == ("rollback_recommended" in (first, then))
    message = latest(everything)
    assert f"the verdict was revised, {says}" in message.headline
    alert = alert_of(message)
    assert alert["event_action"] == action and alert["dedup_key"] == f"seqpulse-environment-{environment.pk}"
    assert Incident.objects.exists() == (action == "trigger")


def test_nothing_is_told_where_the_same_is_said() -> None:
    environment = make_environment()
    deployment = finished(environment)
    store_judgement(deployment.pk, judgement("warning"))
    revise(verdict_of(deployment), judgement("warning", confidence=0.5), by=None)
    give_feedback(verdict_of(deployment), right=True, by=None)
    assert not Event.objects.filter(kind="verdict_revised").exists()


@pytest.mark.parametrize(
    ("first", "deserved", "says", "severity", "resolves"),
    [
        ("rollback_recommended", "ok", "roll back. Right would have been: ok.", "info", True),
        ("rollback_recommended", "", "marked the verdict wrong: roll back.", "info", True),
        ("rollback_recommended", "warning", "Right would have been: a warning.", "warning", False),
        ("ok", "rollback_recommended", "Right would have been: roll back.", "critical", False),
        ("ok", "", "marked the verdict wrong: ok.", "warning", False),
    ],
)
def test_a_mark_is_told_to_whom_the_verdict_was(
    first: str, deserved: str, says: str, severity: str, resolves: bool
) -> None:
    environment = make_environment()
    everything, person = make_channel(team=environment.project.team), make_user(username="ada")
    deployment = finished(environment)
    store_judgement(deployment.pk, judgement(first))
    for _ in range(2):
        give_feedback(verdict_of(deployment), right=False, by=person, should_have_been=deserved)
    assert received(everything) == ["verdict_issued", "verdict_revised"]
    message = latest(everything)
    assert f"#{deployment.number}: ada marked" in message.headline.replace(" (", ": ").replace("main", "")
    assert says in message.headline and (message.severity, message.resolves) == (severity, resolves)
    assert message.incident == f"environment-{environment.pk}"
    give_feedback(verdict_of(deployment), right=True, by=person)
    assert received(everything)[2:] == ["verdict_revised"]
    assert "right after all" in latest(everything).headline


def test_an_earlier_deployment_raises_no_alert_any_more() -> None:
    environment = make_environment()
    usual, _ = channels_of(environment)
    old, new = finished(environment), finished(environment)
    store_judgement(old.pk, judgement("ok"))
    store_judgement(new.pk, judgement("rollback_recommended"))
    revise(verdict_of(old), judgement("rollback_recommended"), by=None)
    give_feedback(verdict_of(old), right=False, by=None, should_have_been="ok")
    assert received(usual) == ["verdict_issued"] and Incident.objects.get().parameters == {"number": new.number}


def test_a_verdict_after_an_analysis_that_was_given_up_says_so_and_ends_the_alert() -> None:
    environment = make_environment()
    usual, _ = channels_of(environment)
    deployment = finished(environment)
    store_unjudged(deployment.pk, Fact("analysis_ended", {"status": "failed"}))
    raised = latest(usual)
    take_back_unjudged([deployment.pk])
    store_judgement(deployment.pk, judgement("ok"))
    message = latest(usual)
    assert received(usual) == ["verdict_issued"] * 2 and "revised, no longer a warning: ok" in message.headline
    assert message.resolves and message.incident == raised.incident == f"deployment-{deployment.pk}"


def test_a_final_ok_is_no_alert_though_it_reaches_all_who_got_the_early_verdict() -> None:
    environment = make_environment()
    _, critical = channels_of(environment)
    deployment = finished(environment)
    store_early(deployment.pk, judgement("rollback_recommended", early=True))
    store_judgement(deployment.pk, judgement("warning", conclusive=False))
    assert received(critical) == ["early_rollback", "verdict_issued"] and latest(critical).severity == "warning"
