"""Create the demo's project with its key and secret, and a user to sign in."""

import itertools
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connections

from accounts.models import User
from metrics.baseline import plan_next
from metrics.configuring import add_source
from metrics.models import MetricSample, Phase
from projects.models import Environment
from projects.services import NewProject, create_project

TEAM = "Demo"
PROJECT = "Demo shop"
USER = "demo"


def set_up(endpoint: str, directory: Path) -> tuple[NewProject, str]:
    """Create a project with this endpoint ("": none) in the demo's team; return it with the password of its user."""
    user, password = demo_user(directory)
    try:
        return new_project(endpoint, user), password
    finally:
        connections.close_all()


def measure_by(environment: Environment, kind: str, config: Mapping[str, Any]) -> None:
    """Give the environment a source."""
    try:
        add_source(environment, kind, dict(config))
    finally:
        connections.close_all()


def baseline_of(environment: Environment) -> int:
    """Return how many baseline samples the environment has so far. The first call makes the poller begin."""
    try:
        # It would by itself within a minute; planned again, a sample is planned once.
        plan_next(Environment.objects.filter(pk=environment.pk))
        return MetricSample.objects.filter(environment=environment, phase=Phase.BASELINE).count()
    finally:
        connections.close_all()


def new_project(endpoint: str, owner: User) -> NewProject:
    """Create a project named "Demo shop", "Demo shop 2" and so on, after those of earlier and concurrent demos."""
    for number in itertools.count(1):
        name = PROJECT if number == 1 else f"{PROJECT} {number}"
        try:
            signed = bool(endpoint)
            return create_project(
                name, environment="prod", plan="free", endpoint=endpoint, signed=signed, team=TEAM, owner=owner
            )
        except ValidationError as error:
            if "name" not in error.message_dict:
                raise
    raise AssertionError("unreachable")


def demo_user(directory: Path) -> tuple[User, str]:
    """Return the user `demo` and its password, which is kept in the data directory and the same in every run."""
    password = kept_password(directory / "demo" / "login.json")
    # On the embedded database the login is a superuser; on a PostgreSQL of the operator it only sees the demo.
    everything = settings.EMBEDDED_DATABASE
    user, _ = User.objects.get_or_create(username=USER, defaults={"is_staff": everything, "is_superuser": everything})
    if not user.check_password(password):
        user.set_password(password)
        user.save(update_fields=["password"])
    return user, password


def kept_password(path: Path) -> str:
    """Return the password in the file; create it on first use, readable by its owner only."""
    try:
        return str(json.loads(path.read_text())["password"])
    except (FileNotFoundError, ValueError, KeyError):
        password = secrets.token_urlsafe(9)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump({"user": USER, "password": password}, out)
        return password
