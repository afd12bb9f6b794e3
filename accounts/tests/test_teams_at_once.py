"""Races over teams, on real connections: an owner stays, and an invitation admits one user."""

from functools import partial

import pytest
from django.core.exceptions import PermissionDenied

from accounts.invitations import InvitationOver, accept, invite
from accounts.models import Invitation, Membership, Role, Team
from accounts.teams import LastOwner, change_role, leave_team, remove_member
from accounts.tests.factories import make_membership, make_team, make_user
from tests.concurrency import results_or_refusals

pytestmark = pytest.mark.django_db(transaction=True)
REFUSALS = (LastOwner, InvitationOver, PermissionDenied, Membership.DoesNotExist)


def owners_of(team: Team) -> int:
    return team.memberships.filter(role=Role.OWNER).count()


def test_of_owners_who_go_at_once_one_stays() -> None:
    for _ in range(5):
        team = make_team()
        members = [make_membership(team=team, role=Role.OWNER) for _ in range(4)]
        first, second, third, fourth = members
        calls = [
            partial(leave_team, team, first.user),
            partial(change_role, team, second.pk, Role.VIEWER, by=second.user),
            partial(remove_member, team, third.pk, by=fourth.user),
            partial(change_role, team, fourth.pk, Role.ADMIN, by=third.user),
        ]
        ended = results_or_refusals(calls, *REFUSALS)
        assert owners_of(team) >= 1, ended


def test_two_owners_who_remove_each_other_leave_one() -> None:
    for _ in range(5):
        team = make_team()
        one, other = (make_membership(team=team, role=Role.OWNER) for _ in range(2))
        pairs = ((one, other), (other, one))
        calls = [partial(remove_member, team, removed.pk, by=by.user) for by, removed in pairs]
        ended = results_or_refusals(calls, *REFUSALS)
        assert owners_of(team) == 1
        # The other one was no longer in the team when it was their turn.
        assert sum(isinstance(answer, PermissionDenied) for answer in ended) == 1


def test_an_invitation_lets_in_one_of_many_who_hold_its_link() -> None:
    team = make_team()
    owner = make_membership(team=team, role=Role.OWNER).user
    token = invite(team, "grace@example.com", Role.MEMBER, by=owner).token
    users = [make_user() for _ in range(8)]
    ended = results_or_refusals([partial(accept, token, user) for user in users], *REFUSALS)
    assert sum(isinstance(answer, InvitationOver) for answer in ended) == 7
    assert team.memberships.count() == 2
    member = team.memberships.exclude(user=owner).get()
    assert Invitation.objects.get().accepted_by == member.user


def test_inviting_one_address_at_once_leaves_one_open_invitation() -> None:
    team = make_team()
    owner = make_membership(team=team, role=Role.OWNER).user
    results_or_refusals([partial(invite, team, "grace@example.com", Role.MEMBER, by=owner)] * 6, *REFUSALS)
    assert Invitation.objects.count() == 6
    assert Invitation.objects.open().count() == 1
