"""Public links of projects: made, found by their token, which is stored as its digest only, and revoked."""

import secrets
from collections.abc import Mapping
from typing import Any

from accounts.invitations import hash_token
from accounts.models import User
from projects.models import LinkKind, Project, PublicLink

PREFIX = "spl_"
MOST_LINKS = 20


def make_link(project: Project, given: Mapping[str, Any], *, by: User | None) -> str:
    """Make a link; return its token, which is stored nowhere."""
    token = PREFIX + secrets.token_urlsafe(24)
    PublicLink.objects.create(project=project, digest=hash_token(token), created_by=by, **given)
    return token


def find(token: str, kind: LinkKind) -> PublicLink | None:
    """Return the link with this token, unless its project is deleted."""
    rows = PublicLink.objects.filter(project__deleting_at__isnull=True, kind=kind, digest=hash_token(token))
    return rows.select_related("project").first()
