"""Creating projects."""

import pytest

from accounts.models import Role
from accounts.teams import close_team
from accounts.tests.factories import make_membership, make_team
from projects.services import create_project


@pytest.mark.django_db
def test_no_project_is_created_in_a_deleted_team() -> None:
    """It would be removed with the team, a minute later."""
    team = make_team(name="Payments")
    close_team(team, typed="Payments", by=make_membership(team=team, role=Role.OWNER).user)
    made = create_project("billing", environment="prod", team="Payments")
    assert made.project.team != team
    assert made.project.team.deleting_at is None
