"""What changes teams and who is in them.

Everything that touches members or invitations of a team takes the team's row first: a role that was looked at must
still be so when it is changed, and of two owners who leave at once, one stays. What the acting person may do is asked
under the same lock, and PermissionDenied raised where it is too little.
"""

from __future__ import annotations

import unicodedata

import structlog
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Invitation, Membership, Role, Team, User
from accounts.permissions import Action, actions_in, allowed, require

logger = structlog.get_logger(__name__)

LAST_OWNER = gettext_lazy("A team needs an owner. Make somebody else an owner first.")


class LastOwner(ValidationError):
    """The team would be left without an owner who can sign in."""

    def __init__(self) -> None:
        super().__init__(LAST_OWNER, code="last_owner")


def clean_name(name: str) -> str:
    """The name on one line, without control characters: it stands in subjects of mails.

    Raises ValidationError that names the field.
    """
    line = " ".join(name.split())
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in line):
        raise ValidationError({"name": _("The name holds characters that cannot be shown. Type it anew.")})
    return line


def create_team(name: str, owner: User) -> Team:
    """A team of its own with this person as its owner. Raises ValidationError that names the field."""
    team = Team(name=clean_name(name))
    team.full_clean()
    with transaction.atomic():
        team.save()
        Membership.objects.create(team=team, user=owner, role=Role.OWNER)
    logger.info("team_created", team_id=team.pk, by=owner.pk)
    return team


def first_team(name: str, owner: User) -> Team:
    """Return the team for this user's first project: a new one, or the one that another request has just made.

    The lock on the user's row, kept to the end of the caller's transaction, lets two requests at once make one team.
    Raises ValidationError that names the field.
    """
    User.objects.select_for_update(no_key=True).only("pk").get(pk=owner.pk)
    owned = Team.objects.not_deleted().filter(memberships__user=owner, memberships__role=Role.OWNER)
    return owned.order_by("pk").first() or create_team(name, owner)


def rename_team(team: Team, name: str, *, by: User) -> None:
    """Raises ValidationError that names the field."""
    renamed = Team(pk=team.pk, name=clean_name(name))
    renamed.full_clean(exclude=["id", "members"], validate_unique=False)
    with transaction.atomic():
        require(actions_in(by, locked(team)), Action.RENAME_TEAM)
        Team.objects.filter(pk=team.pk).update(name=renamed.name)
    logger.info("team_renamed", team_id=team.pk, by=by.pk)


def close_team(team: Team, *, typed: str, by: User) -> None:
    """Takes the team away from everybody, for good. Its projects are for metrics.deletion.delete_team to delete.

    typed: the team's name, so that nobody does this by mistake. Raises ValidationError that names the field.
    """
    with transaction.atomic():
        current = locked(team)
        require(actions_in(by, current), Action.DELETE_TEAM)
        if " ".join(typed.split()) != " ".join(current.name.split()):
            raise ValidationError({"typed": _("This is not the team's name. Nothing was deleted.")})
        Team.objects.filter(pk=current.pk).update(deleting_at=Now())
        Membership.objects.filter(team=current).delete()
        Invitation.objects.filter(team=current).delete()
    logger.info("team_deleted", team_id=team.pk, by=by.pk)


def change_role(team: Team, membership_id: int, role: str, *, by: User) -> Membership:
    """The member with the new role; invitations of theirs that it does not cover any more are withdrawn.

    Owners are made and unmade by owners only. Raises LastOwner, Membership.DoesNotExist.
    """
    if role not in Role.values:
        raise ValidationError({"role": _("There is no such role.")})
    with transaction.atomic():
        actions = actions_in(by, locked(team))
        member = team.memberships.select_related("user").get(pk=membership_id)
        require(actions, Action.CHANGE_OWNERS if Role.OWNER in (member.role, role) else Action.CHANGE_MEMBERS)
        before = member.role
        if before == role:
            return member
        if role != Role.OWNER:
            keep_an_owner(member)
        member.role = role
        member.save(update_fields=["role"])
        withdraw_invitations(team, member.user, role)
    logger.info("role_changed", team_id=team.pk, member=member.user_id, before=before, role=role, by=by.pk)
    return member


def remove_member(team: Team, membership_id: int, *, by: User) -> User:
    """Whoever was removed; one who removes themselves leaves. Raises LastOwner, Membership.DoesNotExist."""
    with transaction.atomic():
        actions = actions_in(by, locked(team))
        member = team.memberships.select_related("user").get(pk=membership_id)
        if member.user_id != by.pk:
            require(actions, Action.CHANGE_OWNERS if member.role == Role.OWNER else Action.CHANGE_MEMBERS)
        end(member)
    logger.info("member_removed", team_id=team.pk, member=member.user_id, role=member.role, by=by.pk)
    return member.user


def leave_team(team: Team, user: User) -> None:
    """Every member may. Raises LastOwner, Membership.DoesNotExist."""
    with transaction.atomic():
        locked(team)
        member = team.memberships.select_related("user").get(user=user)
        end(member)
    logger.info("member_left", team_id=team.pk, member=user.pk, role=member.role)


def locked(team: Team) -> Team:
    """The team's row, locked until the transaction ends. Raises Team.DoesNotExist.

    A weak lock, which lets those by who refer to the team, as every new project does.
    """
    return Team.objects.not_deleted().select_for_update(no_key=True).get(pk=team.pk)


def end(member: Membership) -> None:
    """Ends a membership, with the invitations that the person sent. Raises LastOwner."""
    keep_an_owner(member)
    Membership.objects.filter(pk=member.pk).delete()
    withdraw_invitations(member.team, member.user, None)


def keep_an_owner(member: Membership) -> None:
    """Raises LastOwner where the team had none left without this one. Somebody who is locked out is no owner."""
    if member.role != Role.OWNER:
        return
    others = Membership.objects.filter(team=member.team_id, role=Role.OWNER, user__is_active=True)
    if not others.exclude(pk=member.pk).exists():
        raise LastOwner


def withdraw_invitations(team: Team, sender: User, role: str | None) -> None:
    """Withdraws what somebody with this role could not have sent: else whoever was removed could come back with it."""
    actions = allowed(role)
    sent = Invitation.objects.filter(team=team, invited_by=sender)
    if Action.INVITE in actions:
        sent = sent.filter(role=Role.OWNER) if Action.CHANGE_OWNERS not in actions else sent.none()
    sent.withdraw()
