"""Invitations: one open per address, accepted once, their state shown only to the holder of the token."""

from datetime import timedelta
from typing import Any

import pytest
import structlog
from django.core.exceptions import PermissionDenied, ValidationError
from django.utils import timezone

from accounts.invitations import (
    MOST_AN_HOUR,
    InvitationOver,
    State,
    accept,
    hash_token,
    invite,
    resend,
    revoke,
    state_of,
)
from accounts.models import INVITATION_DAYS, INVITATION_TOKEN_PREFIX, Invitation, Membership, Role, Team, User
from accounts.tests.factories import make_membership, make_team, make_user, refused_unless
from events.models import Event
from security.redaction import redact_text

pytestmark = pytest.mark.django_db
GRACE = "grace@example.com"


@pytest.fixture
def team() -> Team:
    return make_team(name="Payments")


@pytest.fixture
def owner(team: Team) -> User:
    return make_membership(team=team, role=Role.OWNER).user


@pytest.fixture
def grace() -> User:
    return make_user(username="grace", email=GRACE)


def role_of(user: User, team: Team) -> str:
    return Membership.objects.get(team=team, user=user).role


def ended(invitation: Invitation, **columns: Any) -> None:
    Invitation.objects.filter(pk=invitation.pk).update(**columns)


# --- creating ------------------------------------------------------------------------------------------------------


def test_the_token_is_stored_as_its_hash_only(team: Team, owner: User) -> None:
    made = invite(team, f" {GRACE} ", Role.MEMBER, by=owner)
    [row] = Invitation.objects.values()
    assert (row["email"], row["role"], row["invited_by_id"]) == (GRACE, Role.MEMBER, owner.pk)
    assert row["token_hash"] == hash_token(made.token)
    assert made.token not in str(row)
    assert row["expires_at"] - row["created_at"] == pytest.approx(
        timedelta(days=INVITATION_DAYS), abs=timedelta(minutes=1)
    )


def test_a_token_is_masked_wherever_it_is_logged(team: Team, owner: User) -> None:
    token = invite(team, GRACE, Role.MEMBER, by=owner).token
    secret = token.removeprefix(INVITATION_TOKEN_PREFIX)
    for line in (
        f"GET /dashboard/invitations/{token}/",
        f"/accounts/login/?next=%2Fdashboard%2Finvitations%2F{token}%2F",
    ):
        assert secret not in redact_text(line)


def test_invitations_are_logged_without_token_and_address(team: Team, owner: User, grace: User) -> None:
    with structlog.testing.capture_logs() as lines:
        made = invite(team, GRACE, Role.MEMBER, by=owner)
        accept(made.token, grace)
        other = invite(team, "other@example.com", Role.VIEWER, by=owner)
        revoke(team, other.invitation.pk, by=owner)
    assert [line["event"] for line in lines] == [
        "invitation_made",
        "invitation_accepted",
        "invitation_made",
        "invitation_revoked",
    ]
    for hidden in (made.token, other.token, hash_token(made.token), "@example.com"):
        assert hidden not in str(lines)


def test_inviting_again_replaces_the_open_one_and_its_token(team: Team, owner: User, grace: User) -> None:
    first = invite(team, GRACE, Role.MEMBER, by=owner)
    second = invite(team, "Grace@Example.com", Role.ADMIN, by=owner)
    assert Invitation.objects.open().get() == second.invitation
    with pytest.raises(InvitationOver, match=State.REVOKED):
        accept(first.token, grace)
    assert accept(second.token, grace).membership.role == Role.ADMIN


def test_an_expired_invitation_is_replaced_as_well(team: Team, owner: User, grace: User) -> None:
    first = invite(team, GRACE, Role.MEMBER, by=owner)
    ended(first.invitation, expires_at=timezone.now())
    resent = resend(team, first.invitation.pk, by=owner)
    assert (resent.invitation.email, resent.invitation.role) == (GRACE, Role.MEMBER)
    assert accept(resent.token, grace).membership.role == Role.MEMBER


def test_another_team_may_invite_the_same_address(team: Team, owner: User) -> None:
    other = make_membership(role=Role.OWNER)
    invite(team, GRACE, Role.MEMBER, by=owner)
    invite(other.team, GRACE, Role.MEMBER, by=other.user)
    assert Invitation.objects.open().count() == 2


@pytest.mark.parametrize(
    ("by", "role", "may"),
    [
        ("owner", "owner", True),
        ("admin", "admin", True),
        ("admin", "owner", False),
        ("member", "viewer", False),
        ("viewer", "viewer", False),
        (None, "viewer", False),
    ],
)
def test_who_may_invite_as_what(team: Team, by: str | None, role: str, may: bool) -> None:
    acting = make_membership(team=team, role=by).user if by else make_membership(role=Role.OWNER).user
    with refused_unless(may):
        invite(team, GRACE, role, by=acting)
    assert Invitation.objects.exists() is may


def test_an_admin_neither_replaces_nor_withdraws_the_invitation_of_an_owner(team: Team, owner: User) -> None:
    admin = make_membership(team=team, role=Role.ADMIN).user
    made = invite(team, GRACE, Role.OWNER, by=owner).invitation
    for attempt in (
        lambda: invite(team, GRACE, Role.VIEWER, by=admin),
        lambda: resend(team, made.pk, by=admin),
        lambda: revoke(team, made.pk, by=admin),
    ):
        with pytest.raises(PermissionDenied):
            attempt()
    assert Invitation.objects.open().get() == made


@pytest.mark.parametrize(
    "email", ["", "grace", "a b@example.com", "a@b\x00.example", "x" * 300 + "@example.com", "a@\ud800.com"]
)
def test_a_bad_address_is_refused_and_names_the_field(team: Team, owner: User, email: str) -> None:
    with pytest.raises(ValidationError) as refused:
        invite(team, email, Role.MEMBER, by=owner)
    assert list(refused.value.message_dict) == ["email"]


def test_a_member_is_not_invited_again(team: Team, owner: User, grace: User) -> None:
    make_membership(team=team, user=grace)
    with pytest.raises(ValidationError) as refused:
        invite(team, GRACE.upper(), Role.ADMIN, by=owner)
    assert list(refused.value.message_dict) == ["email"]


def test_a_sender_has_a_limit_of_invitations_per_hour(team: Team, owner: User) -> None:
    for number in range(MOST_AN_HOUR):
        invite(team, f"p{number}@example.com", Role.VIEWER, by=owner)
    with pytest.raises(ValidationError):
        invite(team, GRACE, Role.VIEWER, by=owner)
    Invitation.objects.update(created_at=timezone.now() - timedelta(hours=1))
    invite(team, GRACE, Role.VIEWER, by=owner)


# --- accepting -----------------------------------------------------------------------------------------------------


def test_an_invitation_makes_a_member_once(team: Team, owner: User, grace: User) -> None:
    token = invite(team, GRACE, Role.ADMIN, by=owner).token
    joined = accept(token, grace)
    assert (joined.membership.role, joined.kept) == (Role.ADMIN, False)
    row = Invitation.objects.get()
    assert (row.accepted_by, state_of(row)) == (grace, State.USED)
    for user in (grace, make_user()):
        with pytest.raises(InvitationOver, match=State.USED):
            accept(token, user)
    assert team.memberships.count() == 2


def test_an_account_with_another_address_may_accept(team: Team, owner: User) -> None:
    other = make_user(email="private@example.org")
    accept(invite(team, GRACE, Role.MEMBER, by=owner).token, other)
    assert role_of(other, team) == Role.MEMBER


@pytest.mark.parametrize(
    ("has", "offered", "then", "kept"),
    [("viewer", "admin", "admin", False), ("owner", "viewer", "owner", True), ("member", "member", "member", True)],
)
def test_a_member_keeps_the_higher_role(team: Team, owner: User, has: str, offered: str, then: str, kept: bool) -> None:
    member = make_membership(team=team, role=has)
    joined = accept(invite(team, GRACE, offered, by=owner).token, member.user)
    assert (joined.kept, role_of(member.user, team)) == (kept, then)
    assert state_of(Invitation.objects.get()) == State.USED


@pytest.mark.parametrize("state", [State.EXPIRED, State.REVOKED])
def test_a_closed_invitation_says_why_and_admits_no_one(team: Team, owner: User, grace: User, state: State) -> None:
    made = invite(team, GRACE, Role.MEMBER, by=owner)
    if state == State.REVOKED:
        assert revoke(team, made.invitation.pk, by=owner)
        assert not revoke(team, made.invitation.pk, by=owner)
    else:
        ended(made.invitation, expires_at=timezone.now())
    with pytest.raises(InvitationOver, match=state):
        accept(made.token, grace)
    assert not Membership.objects.filter(user=grace).exists()


@pytest.mark.parametrize(
    ("sender", "role", "joins"),
    [
        ({"role": Role.ADMIN}, Role.OWNER, False),
        ({"role": Role.ADMIN}, Role.ADMIN, True),
        ({"role": Role.MEMBER}, Role.VIEWER, False),
        ({"role": None}, Role.VIEWER, False),
        ({"is_active": False}, Role.VIEWER, False),
    ],
)
def test_an_invitation_that_its_sender_could_no_longer_send_admits_no_one(
    team: Team, owner: User, grace: User, sender: dict[str, Any], role: str, joins: bool
) -> None:
    """Also after a change in the admin, which does not withdraw invitations."""
    token = invite(team, GRACE, role, by=owner).token
    if sender.get("role"):
        Membership.objects.filter(user=owner).update(role=sender["role"])
    elif "role" in sender:
        Membership.objects.filter(user=owner).delete()
    User.objects.filter(pk=owner.pk).update(is_active=sender.get("is_active", True))
    if joins:
        assert accept(token, grace).membership.role == role
        return
    with pytest.raises(InvitationOver, match=State.REVOKED):
        accept(token, grace)
    assert not Membership.objects.filter(user=grace).exists()
    assert state_of(Invitation.objects.get()) == State.REVOKED


@pytest.mark.parametrize("token", ["", "spi_", "spi_" + "a" * 43, "\x00", "\ud800", "x" * 9000])
def test_an_unknown_token_is_not_found(team: Team, owner: User, grace: User, token: str) -> None:
    invite(team, GRACE, Role.MEMBER, by=owner)
    with pytest.raises(Invitation.DoesNotExist):
        accept(token, grace)


def test_an_invitation_ends_with_its_team(team: Team, owner: User, grace: User) -> None:
    token = invite(team, GRACE, Role.MEMBER, by=owner).token
    team.delete()
    with pytest.raises(Invitation.DoesNotExist):
        accept(token, grace)


def test_a_deactivated_account_cannot_accept(team: Team, owner: User) -> None:
    token = invite(team, GRACE, Role.MEMBER, by=owner).token
    with pytest.raises(PermissionDenied):
        accept(token, make_user(is_active=False))
    assert state_of(Invitation.objects.get()) == State.OPEN


def test_an_invitation_of_another_team_is_not_found(team: Team, owner: User) -> None:
    other = make_membership(role=Role.OWNER)
    foreign = invite(other.team, GRACE, Role.MEMBER, by=other.user).invitation
    for attempt in (lambda: revoke(team, foreign.pk, by=owner), lambda: resend(team, foreign.pk, by=owner)):
        with pytest.raises(Invitation.DoesNotExist):
            attempt()
    foreign.refresh_from_db()
    assert state_of(foreign) == State.OPEN


def test_an_invitation_is_notified_without_its_token(team: Team, owner: User) -> None:
    made = invite(team, GRACE, Role.MEMBER, by=owner)
    event = Event.objects.get()
    assert (event.kind, event.team_id) == ("member_invited", team.pk)
    expected = {"team": "Payments", "email": GRACE, "role": "member", "who": owner.get_username()}
    assert event.parameters == expected and made.token not in str(event.parameters)
