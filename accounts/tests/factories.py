"""Rows for tests. Every function takes the model's fields as keywords and fills in the rest."""

from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied

from accounts.models import Membership, Role, Team, User

PASSWORD = "correct horse battery"

_next = count(1)


def refused_unless(may: bool) -> AbstractContextManager[Any]:
    """Expect PermissionDenied from the block where it may not succeed."""
    return nullcontext() if may else pytest.raises(PermissionDenied)


def make_user(**kwargs: Any) -> User:
    """Create a user who signs in with PASSWORD."""
    password = kwargs.pop("password", PASSWORD)
    user = User(**{"username": f"user{next(_next)}", **kwargs})
    user.set_password(password)
    user.save()
    return user


def make_team(**kwargs: Any) -> Team:
    return Team.objects.create(**{"name": f"Team {next(_next)}", **kwargs})


def make_membership(**kwargs: Any) -> Membership:
    """Create a membership; user and team are created where none is given."""
    team = kwargs.pop("team", None) or make_team()
    user = kwargs.pop("user", None) or make_user()
    return Membership.objects.create(**{"team": team, "user": user, "role": Role.MEMBER, **kwargs})
