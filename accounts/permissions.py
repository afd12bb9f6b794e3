"""Who may do what in a team. Pages ask here and decide nothing themselves.

Whether a person sees a project at all is decided before, by `visible_to`: what is foreign is not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet

from accounts.models import Membership, Role, Team, User


class Action(StrEnum):
    """What people do with a team that they are in, and with its projects."""

    SEE = "see"
    MARK_VERDICT = "mark_verdict"
    REPLAY = "replay"
    RERUN_ANALYSIS = "rerun_analysis"
    CHANGE_POLICY = "change_policy"
    EXCLUDE_WINDOW = "exclude_window"
    CREATE_PROJECT = "create_project"
    CHANGE_PROJECT = "change_project"
    ARCHIVE_PROJECT = "archive_project"
    DELETE_PROJECT = "delete_project"
    CHANGE_PLAN = "change_plan"
    CHANGE_ENVIRONMENT = "change_environment"
    MANAGE_SIGNING = "manage_signing"
    MANAGE_KEYS = "manage_keys"
    INVITE = "invite"
    CHANGE_MEMBERS = "change_members"
    CHANGE_OWNERS = "change_owners"
    RENAME_TEAM = "rename_team"
    DELETE_TEAM = "delete_team"


_VIEWER = frozenset({Action.SEE})
_MEMBER = _VIEWER | {Action.MARK_VERDICT, Action.REPLAY, Action.RERUN_ANALYSIS}
# What decides about verdicts to come: the policy, what they are compared with, what is measured and how, and by whom.
_ADMIN = _MEMBER | {
    Action.CHANGE_POLICY,
    Action.EXCLUDE_WINDOW,
    Action.CREATE_PROJECT,
    Action.CHANGE_PROJECT,
    Action.ARCHIVE_PROJECT,
    Action.CHANGE_ENVIRONMENT,
    Action.MANAGE_SIGNING,
    Action.MANAGE_KEYS,
    Action.INVITE,
    Action.CHANGE_MEMBERS,
    Action.RENAME_TEAM,
}
# What cannot be undone, and who else may do that.
_OWNER = _ADMIN | {Action.DELETE_PROJECT, Action.CHANGE_OWNERS, Action.DELETE_TEAM}

ALLOWED: Mapping[str, frozenset[Action]] = {
    Role.VIEWER: _VIEWER,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _ADMIN,
    Role.OWNER: _OWNER,
}
# A superuser runs this installation: an owner everywhere, who also says how much of it a project may use.
OPERATOR = frozenset(Action)


def allowed(role: str | None) -> frozenset[Action]:
    """What this role may do; nothing for None and for a role that nobody knows."""
    return ALLOWED.get(role, frozenset()) if role is not None else frozenset()


def role_in(user: User, team: Team) -> str | None:
    """The person's role in the team, None for no member; a superuser is an owner."""
    if not user.is_active:
        return None
    if user.is_superuser:
        return Role.OWNER
    return Membership.objects.filter(team=team, user=user).values_list("role", flat=True).first()


def actions_in(user: User, team: Team) -> frozenset[Action]:
    """What the person may do in the team. One query, none for a superuser."""
    return OPERATOR if user.is_superuser and user.is_active else allowed(role_in(user, team))


def teams_for(user: User, action: Action) -> QuerySet[Team]:
    """The teams in which the person may do this, by name; all of them for a superuser."""
    if not user.is_active:
        return Team.objects.none()
    if user.is_superuser:
        return Team.objects.not_deleted().order_by("name", "pk")
    roles = [role for role, actions in ALLOWED.items() if action in actions]
    return Team.objects.filter(memberships__user=user, memberships__role__in=roles).order_by("name", "pk")


def may_create_project(user: User) -> bool:
    """Whether this user may create a project somewhere: in one of their teams, or in the one that it makes."""
    return teams_for(user, Action.CREATE_PROJECT).exists() or has_no_team(user)


def has_no_team(user: User) -> bool:
    """Whether this user sees no team yet. Everyone may create teams, so their first project brings one along."""
    return user.is_active and not Team.objects.visible_to(user).exists()


def require(actions: frozenset[Action], action: Action) -> None:
    """Raises PermissionDenied where the action is not among them."""
    if action not in actions:
        raise PermissionDenied(f"{action} is not allowed")
