"""Descriptions of roles. Translated when rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from accounts.models import Role

ROLES: Mapping[str, Any] = {
    Role.OWNER: _("Everything, also deleting projects and the team, and making owners"),
    Role.ADMIN: _("Projects, environments, policies, keys, members and invitations"),
    Role.MEMBER: _("Sees everything, marks verdicts, replays and reruns analyses"),
    Role.VIEWER: _("Sees everything and changes nothing"),
}


def name_of(user: Any) -> str:
    """Return a user's display name, "" for None."""
    return (user.get_full_name() or user.get_username()) if user is not None else ""
