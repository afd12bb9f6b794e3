"""Actions and the roles that allow them. Pages decide nothing themselves.

Whether a user sees a project at all is decided earlier, by `visible_to`: other teams' projects are not found.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet

from accounts.models import Membership, Role, Team, User


class Action(StrEnum):
    """An action on a team or its projects, with the lowest role that allows it; None: only operators."""

    least: Role | None

    def __new__(cls, value: str, least: Role | None) -> Self:
        action = str.__new__(cls, value)
        action._value_, action.least = value, least
        return action

    SEE = "see", Role.VIEWER
    MARK_VERDICT = "mark_verdict", Role.MEMBER
    ACKNOWLEDGE = "acknowledge", Role.MEMBER
    APPROVE_ROLLBACK = "approve_rollback", Role.MEMBER
    REPLAY = "replay", Role.MEMBER
    RERUN_ANALYSIS = "rerun_analysis", Role.MEMBER
    FREEZE = "freeze", Role.MEMBER
    VERIFY = "verify", Role.MEMBER
    # Actions that affect later verdicts: policy, baseline, what is measured and how, and who may change that.
    CHANGE_POLICY = "change_policy", Role.ADMIN
    EXCLUDE_WINDOW = "exclude_window", Role.ADMIN
    CREATE_PROJECT = "create_project", Role.ADMIN
    CHANGE_PROJECT = "change_project", Role.ADMIN
    ARCHIVE_PROJECT = "archive_project", Role.ADMIN
    CHANGE_ENVIRONMENT = "change_environment", Role.ADMIN
    MANAGE_SIGNING = "manage_signing", Role.ADMIN
    MANAGE_KEYS = "manage_keys", Role.ADMIN
    MANAGE_CHANNELS = "manage_channels", Role.ADMIN
    INVITE = "invite", Role.ADMIN
    CHANGE_MEMBERS = "change_members", Role.ADMIN
    RENAME_TEAM = "rename_team", Role.ADMIN
    # Actions that cannot be undone, and granting them to others.
    DELETE_PROJECT = "delete_project", Role.OWNER
    CHANGE_OWNERS = "change_owners", Role.OWNER
    DELETE_TEAM = "delete_team", Role.OWNER
    CHANGE_PLAN = "change_plan", None


Actions = frozenset[Action]

ROLES = (Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER)
# Each role allows what the roles before it allow, and more.
ALLOWED: Mapping[str, Actions] = {
    role: frozenset(action for action in Action if action.least in ROLES[: place + 1])
    for place, role in enumerate(ROLES)
}
# A superuser operates the installation: an owner everywhere, who may also change plans.
OPERATOR = frozenset(Action)


def allowed(role: str | None) -> Actions:
    """Return the actions that this role allows; none for None and for an unknown role."""
    return ALLOWED.get(role, frozenset()) if role is not None else frozenset()


def actions_in(user: User, team: Team) -> Actions:
    """Return the actions allowed to the user in the team. One query, none for a superuser."""
    if not user.is_active:
        return frozenset()
    if user.is_superuser:
        return OPERATOR
    return allowed(Membership.objects.filter(team=team, user=user).values_list("role", flat=True).first())


def teams_for(user: User, action: Action) -> QuerySet[Team]:
    """Return the teams in which the user may do this, ordered by name; all teams for a superuser."""
    if not user.is_active:
        return Team.objects.none()
    if user.is_superuser:
        return Team.objects.not_deleted().order_by("name", "pk")
    roles = [role for role, actions in ALLOWED.items() if action in actions]
    return Team.objects.filter(memberships__user=user, memberships__role__in=roles).order_by("name", "pk")


def may_create_project(user: User) -> bool:
    """Return whether the user may create a project: in one of their teams, or in a new one."""
    return teams_for(user, Action.CREATE_PROJECT).exists() or has_no_team(user)


def has_no_team(user: User) -> bool:
    """Return whether the user sees no team yet. Everyone may create teams, so their first project creates one."""
    return user.is_active and not Team.objects.visible_to(user).exists()


def require(actions: Actions, action: Action) -> None:
    """Raise PermissionDenied unless the action is among them."""
    if action not in actions:
        raise PermissionDenied(f"{action} is not allowed")
