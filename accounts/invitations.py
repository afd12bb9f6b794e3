"""Invitations into a team: create, replace, withdraw, accept.

Any account may accept with the link, since mail gets forwarded; the page shows which account joins. The team's row is
locked first, as by every change of a team's members (accounts/teams.py).
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import structlog
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import INVITATION_TOKEN_PREFIX, Invitation, Membership, Role, Team, User
from accounts.permissions import Action, actions_in, allowed, require
from accounts.teams import locked
from events.outbox import NewEvent, emit

logger = structlog.get_logger(__name__)

# Each sends a mail to an address that a user typed.
MOST_AN_HOUR = 30


class State(StrEnum):
    """The state of an invitation."""

    OPEN = "open"
    EXPIRED = "expired"
    REVOKED = "revoked"
    USED = "used"


class InvitationOver(Exception):
    """The invitation can no longer be accepted; `state` says why. Shown only to the holder of its token."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state = state


@dataclass(frozen=True, slots=True)
class Invited:
    """A new invitation with its token, which is sent by mail or shown once."""

    invitation: Invitation
    token: str


@dataclass(frozen=True, slots=True)
class Joined:
    """The membership after accepting. kept: it existed before with this role or a higher one, and is unchanged."""

    membership: Membership
    kept: bool


def hash_token(token: str) -> str:
    """Return the token's SHA-256 in hex. A token has 192 random bits or more, so no slower hash is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def state_of(invitation: Invitation) -> State:
    if invitation.accepted_at is not None:
        return State.USED
    if invitation.revoked_at is not None:
        return State.REVOKED
    return State.EXPIRED if invitation.expires_at <= timezone.now() else State.OPEN


def invite(team: Team, email: str, role: str, *, by: User) -> Invited:
    """Invite an address; an open invitation of it is replaced and its link becomes invalid.

    Only owners invite owners. Raises ValidationError that names the field, PermissionDenied.
    """
    email = clean_email(email)
    if role not in Role.values:
        raise ValidationError({"role": _("There is no such role.")})
    token = INVITATION_TOKEN_PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        actions = actions_in(by, locked(team))
        require(actions, Action.INVITE)
        if role == Role.OWNER:
            require(actions, Action.CHANGE_OWNERS)
        if team.memberships.filter(user__email__iexact=email).exists():
            raise ValidationError({"email": _("Somebody with this address is a member of the team already.")})
        check_pace(by)
        open_one = Invitation.objects.filter(team=team, email__iexact=email)
        # An admin must not replace an owner's offer of ownership.
        if Action.CHANGE_OWNERS not in actions and open_one.open().filter(role=Role.OWNER).exists():
            raise PermissionDenied("an owner was invited by an owner")
        open_one.withdraw()
        invitation = Invitation.objects.create(
            team=team, email=email, role=role, token_hash=hash_token(token), invited_by=by
        )
        said = {"team": team.name, "email": email, "role": role, "who": by.get_username()}
        emit(NewEvent("member_invited", team.pk, parameters=said))
    logger.info("invitation_made", team_id=team.pk, invitation_id=invitation.pk, role=role, by=by.pk)
    return Invited(invitation, token)


def clean_email(email: str) -> str:
    """Return the address as it is stored. Raises ValidationError that names the field."""
    try:
        cleaned: str = Invitation._meta.get_field("email").clean(email.strip(), None)
        cleaned.encode()
    except UnicodeEncodeError:
        raise ValidationError({"email": _("The address holds characters that no mail can be sent to.")}) from None
    except ValidationError as error:
        raise ValidationError({"email": error.messages}) from None
    return cleaned


def check_pace(by: User) -> None:
    """Raise ValidationError above MOST_AN_HOUR invitations of one sender."""
    since = Now() - timedelta(hours=1)
    if Invitation.objects.filter(invited_by=by, created_at__gt=since).count() >= MOST_AN_HOUR:
        words = ngettext(
            "You may send %(n)d invitation an hour. Try again later.",
            "You may send %(n)d invitations an hour. Try again later.",
            MOST_AN_HOUR,
        )
        raise ValidationError({"email": words % {"n": MOST_AN_HOUR}})


def resend(team: Team, invitation_id: int, *, by: User) -> Invited:
    """Replace the invitation by the same with a new link. Raises Invitation.DoesNotExist."""
    with transaction.atomic():
        locked(team)
        invitation = Invitation.objects.waiting().get(pk=invitation_id, team=team)
        return invite(team, invitation.email, invitation.role, by=by)


def revoke(team: Team, invitation_id: int, *, by: User) -> bool:
    """Withdraw the invitation; return False where it is no longer waiting. Raises Invitation.DoesNotExist."""
    with transaction.atomic():
        actions = actions_in(by, locked(team))
        require(actions, Action.INVITE)
        invitation = Invitation.objects.get(pk=invitation_id, team=team)
        if invitation.role == Role.OWNER:
            require(actions, Action.CHANGE_OWNERS)
        done = Invitation.objects.filter(pk=invitation.pk).withdraw() == 1
    if done:
        logger.info("invitation_revoked", team_id=team.pk, invitation_id=invitation_id, by=by.pk)
    return done


def find(token: str) -> Invitation:
    """Return the invitation with this token, in any state. Raises Invitation.DoesNotExist."""
    return Invitation.objects.select_related("team", "invited_by").get(token_hash=hash_token(token))


def accept(token: str, user: User) -> Joined:
    """Accept the invitation once: the user becomes a member. A member keeps the higher of the two roles.

    Raises Invitation.DoesNotExist for an unknown token, InvitationOver where it is no longer open, PermissionDenied
    for a deactivated account.
    """
    if not user.is_active:
        raise PermissionDenied("the account is locked")
    with transaction.atomic():
        invitation = find(token)
        try:
            team = locked(invitation.team)
        except Team.DoesNotExist:
            raise Invitation.DoesNotExist from None
        if not is_covered(invitation):
            Invitation.objects.filter(pk=invitation.pk).withdraw()
        accepted = Invitation.objects.open().filter(pk=invitation.pk).update(accepted_at=Now(), accepted_by=user)
        joined = join(team, invitation, user) if accepted == 1 else None
    # Outside the transaction, which has to commit the withdrawal.
    if joined is None:
        raise InvitationOver(state_of(find(token)))
    member = joined.membership
    logger.info("invitation_accepted", team_id=team.pk, invitation_id=invitation.pk, member=user.pk, role=member.role)
    return joined


def is_covered(invitation: Invitation) -> bool:
    """Return whether its sender could send it now: in the admin, operators deactivate accounts and delete memberships
    without withdrawing invitations."""
    sender = invitation.invited_by
    actions = actions_in(sender, invitation.team) if sender is not None else frozenset()
    return Action.INVITE in actions and (invitation.role != Role.OWNER or Action.CHANGE_OWNERS in actions)


def standing_of(invitation: Invitation) -> State:
    """Return the invitation's state; REVOKED also where its sender could no longer send it."""
    state = state_of(invitation)
    return State.REVOKED if state == State.OPEN and not is_covered(invitation) else state


def lets_sign_up(invitation_id: int) -> bool:
    """Return whether the invitation permits a sign-up although sign-up is closed: as long as it can be accepted."""
    rows = Invitation.objects.select_related("team", "invited_by").filter(team__deleting_at__isnull=True)
    found = rows.filter(pk=invitation_id).first()
    return found is not None and standing_of(found) == State.OPEN


def join(team: Team, invitation: Invitation, user: User) -> Joined:
    """Make the user a member with the invitation's role, or with the higher one that they have."""
    member, is_new = Membership.objects.get_or_create(team=team, user=user, defaults={"role": invitation.role})
    raised = not is_new and allowed(invitation.role) > allowed(member.role)
    if raised:
        member.role = invitation.role
        member.save(update_fields=["role"])
    return Joined(member, kept=not (is_new or raised))
