"""Changes to teams and their members.

Every change of a team's members or invitations locks the team's row first: a role that was read must still hold when
it is changed, and of two owners who leave at once one stays. The acting user's permissions are read under the same
lock; PermissionDenied is raised where they are not enough.
"""

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
    """The change would leave the team without an owner who can sign in."""

    def __init__(self) -> None:
        super().__init__(LAST_OWNER, code="last_owner")


def clean_name(name: str) -> str:
    """Return the name on one line, as subjects of mails need it.

    Raises ValidationError that names the field.
    """
    line = " ".join(name.split())
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in line):
        raise ValidationError({"name": _("The name holds characters that cannot be shown. Type it anew.")})
    return line


def create_team(name: str, owner: User) -> Team:
    """Create a team with this user as its owner. Raises ValidationError that names the field."""
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
    """Rename the team. Raises ValidationError that names the field."""
    renamed = Team(pk=team.pk, name=clean_name(name))
    renamed.full_clean(exclude=["id", "members"], validate_unique=False)
    with transaction.atomic():
        require(actions_in(by, locked(team)), Action.RENAME_TEAM)
        Team.objects.filter(pk=team.pk).update(name=renamed.name)
    logger.info("team_renamed", team_id=team.pk, by=by.pk)


def close_team(team: Team, *, typed: str, by: User) -> None:
    """Delete the team for its members. metrics.deletion.delete_team also deletes its projects.

    typed: the team's name as a confirmation. Raises ValidationError that names the field.
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
    """Give a member the role and withdraw the invitations sent by them that it does not allow.

    Only owners give or take the role of owner. Raises LastOwner, Membership.DoesNotExist.
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
    """Remove a member and return the user; anyone may remove themselves. Raises LastOwner, Membership.DoesNotExist."""
    with transaction.atomic():
        actions = actions_in(by, locked(team))
        member = team.memberships.select_related("user").get(pk=membership_id)
        if member.user_id != by.pk:
            require(actions, Action.CHANGE_OWNERS if member.role == Role.OWNER else Action.CHANGE_MEMBERS)
        end(member)
    logger.info("member_removed", team_id=team.pk, member=member.user_id, role=member.role, by=by.pk)
    return member.user


def leave_team(team: Team, user: User) -> None:
    """End the user's own membership. Raises LastOwner, Membership.DoesNotExist."""
    with transaction.atomic():
        locked(team)
        member = team.memberships.select_related("user").get(user=user)
        end(member)
    logger.info("member_left", team_id=team.pk, member=user.pk, role=member.role)


def locked(team: Team) -> Team:
    """Lock the team's row until the transaction ends and return it. Raises Team.DoesNotExist.

    FOR NO KEY UPDATE: inserting rows that refer to the team, as every new project does, is not blocked.
    """
    return Team.objects.not_deleted().select_for_update(no_key=True).get(pk=team.pk)


def end(member: Membership) -> None:
    """End a membership and withdraw the invitations that the user sent. Raises LastOwner."""
    keep_an_owner(member)
    Membership.objects.filter(pk=member.pk).delete()
    withdraw_invitations(member.team, member.user, None)


def keep_an_owner(member: Membership) -> None:
    """Raise LastOwner where the team has no other owner; a deactivated account does not count."""
    if member.role != Role.OWNER:
        return
    others = Membership.objects.filter(team=member.team_id, role=Role.OWNER, user__is_active=True)
    if not others.exclude(pk=member.pk).exists():
        raise LastOwner


def withdraw_invitations(team: Team, sender: User, role: str | None) -> None:
    """Withdraw the sender's invitations that the role does not allow, or a removed member could come back with one."""
    actions = allowed(role)
    sent = Invitation.objects.filter(team=team, invited_by=sender)
    if Action.INVITE in actions:
        sent = sent.filter(role=Role.OWNER) if Action.CHANGE_OWNERS not in actions else sent.none()
    sent.withdraw()
