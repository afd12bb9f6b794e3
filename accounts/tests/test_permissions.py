"""Roles and the actions that they allow."""

from pathlib import Path

import pytest
from django.core.exceptions import PermissionDenied

from accounts.models import Role
from accounts.permissions import ALLOWED, Action, actions_in, allowed, require
from accounts.tests.factories import make_membership, make_team, make_user


@pytest.mark.parametrize("role", [None, "stranger"])
def test_without_a_role_nothing_is_allowed(role: str | None) -> None:
    assert allowed(role) == set()


def test_what_is_not_allowed_is_refused() -> None:
    require(allowed("member"), Action.REPLAY)
    with pytest.raises(PermissionDenied):
        require(allowed("member"), Action.CHANGE_POLICY)


def test_the_documented_table_says_what_is_decided() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    section = text[text.index("## Teams and roles") :]
    heads, _, *lines = [
        line for line in section[: section.index("\n\nEvery signed-in")].splitlines() if line.startswith("|")
    ]
    roles = [cell.strip() for cell in heads.split("|")[2:-1]]
    documented: dict[str, set[str]] = {role: set() for role in roles}
    named = []
    for line in lines:
        what, *cells = line.split("|")[1:-1]
        named.append(what.split("`")[1])
        for role, cell in zip(roles, cells, strict=True):
            if cell.strip() == "yes":
                documented[role].add(named[-1])
    assert sorted(named) == sorted(Action)
    assert documented == {role: set(ALLOWED[role]) for role in Role.values}


@pytest.mark.django_db
@pytest.mark.parametrize("role", Role.values)
def test_a_role_counts_in_its_own_team_only(role: str) -> None:
    membership = make_membership(role=role)
    foreign = make_membership(role=Role.OWNER).team
    assert actions_in(membership.user, membership.team) == allowed(role)
    assert actions_in(membership.user, foreign) == set()


@pytest.mark.django_db
def test_a_superuser_may_do_everything_and_a_deactivated_one_nothing() -> None:
    team = make_team()
    assert actions_in(make_user(is_superuser=True), team) == set(Action)
    assert actions_in(make_user(is_superuser=True, is_active=False), team) == set()
