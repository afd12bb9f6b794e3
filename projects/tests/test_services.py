"""Creating projects."""

from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command

from accounts.models import Role
from accounts.teams import close_team
from accounts.tests.factories import make_membership, make_team, make_user
from events.models import Event
from projects.models import Environment
from projects.services import create_project, issue_api_key, set_units
from projects.units import Units


@pytest.mark.django_db
def test_no_project_is_created_in_a_deleted_team() -> None:
    """It would be removed with the team, a minute later."""
    team = make_team(name="Payments")
    close_team(team, typed="Payments", by=make_membership(team=team, role=Role.OWNER).user)
    made = create_project("billing", environment="prod", team="Payments")
    assert made.project.team != team
    assert made.project.team.deleting_at is None


@pytest.mark.django_db
def test_the_command_sets_the_units_in_which_an_endpoint_answers() -> None:
    call_command("create_project", "shop", "--latency-p95-unit=s", "--memory-usage-unit=percent", stdout=StringIO())
    environment = Environment.objects.get()
    assert environment.units == Units(latency_p95="s", memory_usage="percent")
    with pytest.raises(ValidationError):
        set_units(environment, cpu_usage="kelvin")


@pytest.mark.django_db
def test_a_further_key_is_told_without_the_key() -> None:
    made, owner = create_project("shop", environment="prod"), make_user(username="ana")
    assert not Event.objects.exists()
    secret = issue_api_key(made.project, "ci", by=owner)
    event = Event.objects.get()
    assert (event.kind, event.team_id, event.project_id) == ("key_made", made.project.team_id, made.project.pk)
    assert event.parameters == {"project": "shop", "name": "ci", "prefix": secret[:9], "who": "ana"}
