"""Teams: permissions to change them and their members; a team always has an owner."""

from uuid import uuid4

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from accounts.invitations import State, accept, invite, state_of
from accounts.models import Invitation, Membership, Role, Team
from accounts.permissions import Action, teams_for
from accounts.teams import LastOwner, change_role, close_team, create_team, leave_team, remove_member, rename_team
from accounts.tests.factories import make_membership, make_team, make_user, refused_unless

pytestmark = pytest.mark.django_db


@pytest.fixture
def team() -> Team:
    return make_team(name="Payments")


def member_of(team: Team, role: str = Role.MEMBER, **user: object) -> Membership:
    return make_membership(team=team, role=role, user=make_user(**user))


def roles_of(team: Team) -> list[str]:
    return sorted(team.memberships.values_list("role", flat=True))


# --- create, rename, delete ----------------------------------------------------------------------------------------


def test_the_creator_of_a_team_owns_it() -> None:
    ada = make_user()
    made = create_team("  Payments \n and more ", ada)
    assert (made.name, Membership.objects.get(team=made, user=ada).role) == ("Payments and more", Role.OWNER)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x00b", "a\x1bb", "a\x7fb"])
def test_a_bad_name_is_refused_and_names_the_field(team: Team, name: str) -> None:
    owner = member_of(team, Role.OWNER).user
    for attempt in (lambda: create_team(name, owner), lambda: rename_team(team, name, by=owner)):
        with pytest.raises(ValidationError) as refused:
            attempt()
        assert list(refused.value.message_dict) == ["name"]
    team.refresh_from_db()
    assert team.name == "Payments"
    assert Team.objects.count() == 1


@pytest.mark.parametrize(("role", "may"), [("owner", True), ("admin", True), ("member", False), ("viewer", False)])
def test_who_may_rename(team: Team, role: str, may: bool) -> None:
    by = member_of(team, role).user
    with refused_unless(may):
        rename_team(team, "Orders", by=by)
    assert Team.objects.get().name == ("Orders" if may else "Payments")


@pytest.mark.parametrize("typed", ["", "payments", "Payment", "Payments!"])
def test_a_team_is_not_deleted_without_its_name(team: Team, typed: str) -> None:
    with pytest.raises(ValidationError) as refused:
        close_team(team, typed=typed, by=member_of(team, Role.OWNER).user)
    assert list(refused.value.message_dict) == ["typed"]
    assert Team.objects.not_deleted().filter(pk=team.pk).exists()


@pytest.mark.parametrize("role", ["admin", "member", "viewer"])
def test_only_owners_delete_a_team(team: Team, role: str) -> None:
    with pytest.raises(PermissionDenied):
        close_team(team, typed="Payments", by=member_of(team, role).user)
    assert Team.objects.not_deleted().filter(pk=team.pk).exists()


def test_a_deleted_team_and_its_invitations_are_hidden_from_all_users(team: Team) -> None:
    owner = member_of(team, Role.OWNER).user
    token = invite(team, "grace@example.com", Role.MEMBER, by=owner).token
    close_team(team, typed=" Payments", by=owner)
    for user in (owner, make_user(is_superuser=True)):
        assert not Team.objects.visible_to(user).exists()
        with pytest.raises(Team.DoesNotExist):
            rename_team(team, "Orders", by=user)
    with pytest.raises(Invitation.DoesNotExist):
        accept(token, make_user())


def test_a_deleted_team_is_offered_for_no_new_project(team: Team) -> None:
    close_team(team, typed="Payments", by=member_of(team, Role.OWNER).user)
    assert not teams_for(make_user(is_superuser=True), Action.CREATE_PROJECT).exists()


# --- members -------------------------------------------------------------------------------------------------------

CHANGES = [
    # by, whose role, becomes, may they
    ("owner", "admin", "owner", True),
    ("owner", "owner", "viewer", True),
    ("admin", "viewer", "admin", True),
    ("admin", "admin", "member", True),
    ("admin", "owner", "member", False),
    ("admin", "member", "owner", False),
    ("member", "viewer", "member", False),
    ("viewer", "member", "viewer", False),
    ("stranger", "member", "viewer", False),
]


@pytest.mark.parametrize(("by", "whose", "becomes", "may"), CHANGES)
def test_who_may_give_which_role_to_whom(team: Team, by: str, whose: str, becomes: str, may: bool) -> None:
    member_of(team, Role.OWNER)
    acting = make_user() if by == "stranger" else member_of(team, by).user
    member = member_of(team, whose)
    with refused_unless(may):
        assert change_role(team, member.pk, becomes, by=acting).role == becomes
    member.refresh_from_db()
    assert member.role == (becomes if may else whose)


@pytest.mark.parametrize(
    ("by", "whom", "may"),
    [
        ("owner", "owner", True),
        ("admin", "admin", True),
        ("admin", "viewer", True),
        ("admin", "owner", False),
        ("member", "viewer", False),
        ("stranger", "viewer", False),
    ],
)
def test_who_may_remove_whom(team: Team, by: str, whom: str, may: bool) -> None:
    member_of(team, Role.OWNER)
    acting = make_user() if by == "stranger" else member_of(team, by).user
    member = member_of(team, whom)
    with refused_unless(may):
        assert remove_member(team, member.pk, by=acting) == member.user
    assert Membership.objects.filter(pk=member.pk).exists() is not may


@pytest.mark.parametrize("role", Role.values)
def test_every_member_may_leave(team: Team, role: str) -> None:
    member_of(team, Role.OWNER)
    member = member_of(team, role)
    leave_team(team, member.user)
    assert roles_of(team) == ["owner"]


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_removing_oneself_is_leaving(team: Team, role: str) -> None:
    member_of(team, Role.OWNER)
    member = member_of(team, role)
    remove_member(team, member.pk, by=member.user)
    assert roles_of(team) == ["owner"]


def test_the_last_owner_stays_and_a_deactivated_one_does_not_count(team: Team) -> None:
    owner = member_of(team, Role.OWNER)
    member_of(team, Role.OWNER, is_active=False)
    operator = make_user(is_superuser=True)
    with pytest.raises(LastOwner):
        leave_team(team, owner.user)
    with pytest.raises(LastOwner):
        remove_member(team, owner.pk, by=operator)
    with pytest.raises(LastOwner):
        change_role(team, owner.pk, Role.ADMIN, by=owner.user)
    assert roles_of(team) == ["owner", "owner"]


def test_a_member_of_another_team_is_not_found(team: Team) -> None:
    owner = member_of(team, Role.OWNER).user
    foreign = make_membership()
    for attempt in (
        lambda: change_role(team, foreign.pk, Role.VIEWER, by=owner),
        lambda: remove_member(team, foreign.pk, by=owner),
        lambda: leave_team(team, foreign.user),
    ):
        with pytest.raises(Membership.DoesNotExist):
            attempt()
    assert Membership.objects.filter(pk=foreign.pk).exists()


def test_an_unknown_role_is_refused(team: Team) -> None:
    owner = member_of(team, Role.OWNER)
    with pytest.raises(ValidationError):
        change_role(team, owner.pk, "emperor", by=owner.user)


# --- invitations of a member whose role changes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("becomes", "left"),
    [(Role.OWNER, 2), (Role.ADMIN, 1), (Role.MEMBER, 0), (None, 0)],
)
def test_invitations_that_the_new_role_does_not_allow_are_withdrawn(team: Team, becomes: str | None, left: int) -> None:
    owner, second = member_of(team, Role.OWNER), member_of(team, Role.OWNER)
    for role in (Role.OWNER, Role.VIEWER):
        invite(team, f"{uuid4().hex}@example.com", role, by=second.user)
    kept = invite(team, "kept@example.com", Role.OWNER, by=owner.user).invitation
    if becomes is None:
        remove_member(team, second.pk, by=owner.user)
    else:
        change_role(team, second.pk, becomes, by=owner.user)
    assert Invitation.objects.open().exclude(pk=kept.pk).count() == left
    kept.refresh_from_db()
    assert state_of(kept) == State.OPEN
