"""Rows for tests. Every function takes the model's fields as keywords and fills in the rest."""

from itertools import count
from typing import Any

from accounts.tests.factories import make_team
from projects.models import ApiKey, Environment, Project
from projects.services import issue_api_key

_next = count(1)


def make_project(**kwargs: Any) -> Project:
    team = kwargs.pop("team", None) or make_team()
    return Project.objects.create(**{"team": team, "name": f"Project {next(_next)}", **kwargs})


def make_environment(**kwargs: Any) -> Environment:
    project = kwargs.pop("project", None) or make_project()
    return Environment.objects.create(**{"project": project, "name": f"env{next(_next)}", **kwargs})


def make_api_key(**kwargs: Any) -> tuple[ApiKey, str]:
    """A key and its secret in plain text."""
    project = kwargs.pop("project", None) or make_project()
    secret = issue_api_key(project, kwargs.pop("name", "default"))
    row = ApiKey.objects.matching(secret).get()
    for name, value in kwargs.items():
        setattr(row, name, value)
    row.save()
    return row, secret
