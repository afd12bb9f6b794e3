"""The weekly report: once per channel and week, on Monday morning of the channel's time zone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.models import Team
from analysis.services import give_feedback
from analysis.tests.factories import make_verdict
from deployments.tests.factories import make_deployment
from events.models import Event
from notifications import weekly
from notifications.describing import describe
from notifications.models import Delivery
from notifications.tests.factories import make_channel
from projects.tests.factories import make_environment, make_project
from scheduler.models import ScheduledJob

pytestmark = pytest.mark.django_db
# A Monday; in Paris it is 8:30, in New York 2:30.
MORNING = datetime(2026, 11, 30, 7, 30, tzinfo=UTC)


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Team:
    """A team of which a deployment failed this week, in an environment that is noisy."""
    at(monkeypatch, MORNING)
    environment = make_environment(name="prod")
    team = environment.project.team
    for days, verdict in ((1, "rollback_recommended"), (2, "ok"), (9, "ok")):
        deployment = make_deployment(
            environment=environment, state="analyzed", started_at=MORNING - timedelta(days=days, minutes=9)
        )
        make_verdict(deployment, verdict=verdict)
    for _ in range(3):
        event = Event.objects.create(
            kind="endpoint_silent", severity="warning", team_id=team.pk, environment_id=environment.pk
        )
        Event.objects.filter(pk=event.pk).update(occurred_at=MORNING - timedelta(hours=1))
    return team


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(weekly, "database_now", lambda: moment)


def channel(team: Team, **fields: Any) -> Any:
    given = {"kind": "email", "config": {"addresses": "ana@example.org"}, "time_zone": "Europe/Paris"}
    return make_channel(team=team, **{**given, **fields})


def test_it_says_figures_and_noisy_environments_in_the_channels_language(team: Team) -> None:
    channel(team, language="fr")
    assert weekly.send_due() == 1
    delivery = Delivery.objects.select_related("event", "channel").get()
    said = delivery.event.parameters["week"]
    assert (said["deployed"], said["judged"], said["failed"], said["rate"]) == (2, 2, 1, 0.5)
    message = describe([delivery])[delivery.pk]
    assert message.headline.startswith(f"{team.name}") and "2" in message.headline
    assert any("50" in line for line in message.details), message.details
    assert any("prod, 3" in line for line in message.details), message.details


def test_it_is_sent_once_a_week(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    channel(team)
    assert [weekly.send_due() for _ in range(2)] == [1, 0]
    assert ScheduledJob.objects.filter(job_type="deliver").count() == 1
    at(monkeypatch, MORNING + timedelta(days=7))
    assert weekly.send_due() == 0, "nothing was deployed in that week"


def test_it_counts_verdicts_that_were_marked_wrong(team: Team) -> None:
    verdict = make_deployment(environment=team.projects.get().environments.get(), state="analyzed")
    give_feedback(make_verdict(verdict), right=False, by=None)
    found = weekly.facts_of(team, MORNING)
    assert found is not None and found["wrong"] == 1


@pytest.mark.parametrize(
    "fields", [{"weekly": False}, {"time_zone": "America/New_York"}, {"kind": "webhook"}, {"disabled_at": MORNING}]
)
def test_channels_that_do_not_want_it_or_sleep_get_none(team: Team, fields: dict[str, Any]) -> None:
    channel(team, **fields)
    assert weekly.send_due() == 0


def test_a_time_zone_that_the_system_knows_no_more_counts_as_utc_and_stops_nobody(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel(team, time_zone="Nowhere/Gone")
    channel(team)
    assert weekly.send_due() == 1
    at(monkeypatch, MORNING + timedelta(hours=1))
    assert weekly.send_due() == 1


def test_each_time_zone_has_its_own_monday(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    channel(team)
    channel(team, time_zone="America/New_York")
    assert weekly.send_due() == 1
    at(monkeypatch, MORNING + timedelta(hours=6))
    assert weekly.send_due() == 1
    assert Event.objects.filter(kind="weekly_report").count() == 1


def test_it_says_the_same_of_each_project_with_its_page(team: Team, settings: Any) -> None:
    settings.SEQPULSE_PUBLIC_URL = "https://sp.example"
    project = team.projects.get()
    other = make_environment(project=make_project(team=team, name="other"), name="stage")
    for number in range(3):
        quiet = make_deployment(
            environment=other, state="analyzed", started_at=MORNING - timedelta(days=1, minutes=9 + number)
        )
        make_verdict(quiet, verdict="ok")
    # Neither of these is an alert of its own.
    for kind in ("recovered", "rolled_back", "endpoint_answers") * 3:
        event = Event.objects.create(kind=kind, severity="critical", team_id=team.pk, environment_id=other.pk)
        Event.objects.filter(pk=event.pk).update(occurred_at=MORNING - timedelta(hours=1))
    channel(team)
    assert weekly.send_due() == 1
    delivery = Delivery.objects.select_related("event", "channel").get()
    lines = [line.replace("\xa0", " ") for line in describe([delivery])[delivery.pk].details]
    first, second = (line for line in lines if "https://" in line)
    assert (
        first
        == f"Other: 3 deployed; 0 of 3 judged changes failed. https://sp.example/dashboard/projects/{other.project.uuid}/"
    )
    assert second.casefold().startswith(f"{project.name}: 2 deployed; 1 of 2 judged changes failed; ".casefold())
    assert "noisy: prod (3 events)" in second and "stage" not in " ".join(lines)
