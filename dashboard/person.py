"""Who looks at a page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from projects.models import User


def person(request: HttpRequest) -> User:
    """Who signed in; every view that calls this asks for that first."""
    user: Any = request.user
    return user  # type: ignore[no-any-return]
