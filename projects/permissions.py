"""Who may do what in a team. Pages ask here and decide nothing themselves.

Whether a person sees a project at all is decided before, by `visible_to`: what is foreign is not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from django.core.exceptions import PermissionDenied

from projects.models import Membership, Project, Role, User


class Action(StrEnum):
    """What people do with a project that they see."""

    SEE = "see"
    MARK_VERDICT = "mark_verdict"
    REPLAY = "replay"
    CHANGE_POLICY = "change_policy"
    EXCLUDE_WINDOW = "exclude_window"


_VIEWER = frozenset({Action.SEE})
_MEMBER = _VIEWER | {Action.MARK_VERDICT, Action.REPLAY}
# What decides about verdicts to come: the policy, and what they are compared with.
_ADMIN = _MEMBER | {Action.CHANGE_POLICY, Action.EXCLUDE_WINDOW}

ALLOWED: Mapping[str, frozenset[Action]] = {
    Role.VIEWER: _VIEWER,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _ADMIN,
    Role.OWNER: _ADMIN,
}


def allowed(role: str | None) -> frozenset[Action]:
    """What this role may do; nothing for None and for a role that nobody knows."""
    return ALLOWED.get(role, frozenset()) if role is not None else frozenset()


def role_in(user: User, project: Project) -> str | None:
    """The person's role in the project's team, None for no member; a superuser runs this installation: an owner."""
    if not user.is_active:
        return None
    if user.is_superuser:
        return Role.OWNER
    return Membership.objects.filter(team_id=project.team_id, user=user).values_list("role", flat=True).first()


def actions_of(user: User, project: Project) -> frozenset[Action]:
    """What the person may do in the project."""
    return allowed(role_in(user, project))


def require(actions: frozenset[Action], action: Action) -> None:
    """Raises PermissionDenied where the action is not among them."""
    if action not in actions:
        raise PermissionDenied(f"{action} is not allowed")
