"""What changes projects, environments and keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _

from accounts.models import Membership, Role, Team, User
from projects.models import ApiKey, Environment, PolicyVersion, Project, hash_key, new_api_key, validate_endpoint
from projects.policies import validate_policy
from projects.signing import enable_signing

DEFAULT_TEAM = "Default team"


@dataclass(frozen=True, slots=True)
class NewProject:
    """A project just made, with the secrets that are shown this once. hmac_secret: None where nothing is signed."""

    project: Project
    environment: Environment
    api_key: str
    hmac_secret: str | None


def issue_api_key(project: Project, name: str = "default", *, by: User | None = None) -> str:
    """A new key of the project, in plain text: shown once, stored as a hash."""
    secret = new_api_key()
    ApiKey.objects.create(project=project, name=name, prefix=secret[:9], key_hash=hash_key(secret), created_by=by)
    return secret


def create_project(
    name: str,
    *,
    environment: str,
    endpoint: str = "",
    plan: str = "free",
    signed: bool = False,
    team: str = DEFAULT_TEAM,
    owner: User | None = None,
) -> NewProject:
    """A project with one environment and one key, in the team of that name (made if missing).

    Raises ValidationError that names the field, also where the team has a project of that name already.
    """
    with transaction.atomic():
        found = Team.objects.not_deleted().filter(name=team).order_by("pk").first()
        owning_team = found or Team.objects.create(name=team)
        if owner is not None:
            Membership.objects.get_or_create(team=owning_team, user=owner, defaults={"role": Role.OWNER})
        return create_project_in(
            owning_team, name, environment=environment, endpoint=endpoint, plan=plan, signed=signed
        )


def create_project_in(
    team: Team,
    name: str,
    *,
    environment: str,
    endpoint: str = "",
    plan: str = "free",
    signed: bool = False,
    by: User | None = None,
) -> NewProject:
    """A project of the team with one environment and one key. Raises ValidationError that names the field."""
    with transaction.atomic():
        project = saved(Project(team=team, name=name, plan=plan))
        place = add_environment(project, environment, endpoint=endpoint)
        secret = enable_signing(place) if signed else None
        return NewProject(project, place, issue_api_key(project, by=by), secret)


def add_environment(project: Project, name: str, *, endpoint: str = "") -> Environment:
    """Another environment of the project. Raises ValidationError that names the field."""
    with field_named({"name": "environment", "metrics_endpoint": "endpoint"}):
        return saved(Environment(project=project, name=name, metrics_endpoint=endpoint))


def change_project(project: Project, **columns: Any) -> None:
    """Changes these columns of the project, and no other. Raises ValidationError that names the field."""
    for column, value in columns.items():
        setattr(project, column, value)
    saved(project, list(columns))


def rename_environment(environment: Environment, name: str) -> None:
    """Gives the environment another name. Raises ValidationError that names the field."""
    environment.name = name
    saved(environment, ["name"])


def set_endpoint(environment: Environment, url: str, *, seen: str) -> bool:
    """Makes this the environment's metrics endpoint ("": none), where it still is the one that was seen; else False.

    Raises ValidationError where the URL cannot be one.
    """
    environment.metrics_endpoint = url
    if url:
        validate_endpoint(url)
    rows = Environment.objects.filter(pk=environment.pk, metrics_endpoint=seen, deleting_at__isnull=True)
    return rows.update(metrics_endpoint=url) == 1


# What the database refuses, and how it is told at which field.
TAKEN = {
    "one_project_name_per_team": {"name": _("The team has a project of this name already.")},
    "one_environment_name_per_project": {"name": _("The project has an environment of this name already.")},
}
Row = TypeVar("Row", Project, Environment)


def saved(row: Row, columns: list[str] | None = None) -> Row:
    """The row, checked and written; columns: only these of one that is there already.

    Raises ValidationError that names the field. Whether the name is free the database decides, so that of two at once
    one gets it and the other an answer in words.
    """
    others = [] if columns is None else [one.name for one in row._meta.fields if one.name not in columns]
    row.full_clean(exclude=others, validate_constraints=False)
    with taken_in_words():
        row.save(update_fields=columns)
    return row


@contextmanager
def taken_in_words() -> Iterator[None]:
    """A transaction in which a name that is taken raises ValidationError that names the field."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        found = next((told for name, told in TAKEN.items() if name in str(error)), None)
        if found is None:
            raise
        raise ValidationError(found) from None


@contextmanager
def field_named(names: Mapping[str, str]) -> Iterator[None]:
    """Errors of these fields are told under the name that the caller knows them by."""
    try:
        yield
    except ValidationError as error:
        raise ValidationError({names.get(name, name): told for name, told in error.message_dict.items()}) from None


class PolicyChanged(Exception):
    """Somebody else changed the policy first."""


def set_policy(
    environment: Environment, policy: dict[str, Any], *, source: str, by: User | None = None, seen: int | None = None
) -> PolicyVersion:
    """Makes this the environment's policy and returns its version: the current one where nothing changes.

    seen: the number of the version that it was made from, 0 for none; None: whatever stands is replaced. Raises
    ValidationError where the judges do not understand it, PolicyChanged where another version stands.
    """
    validate_policy(policy)
    with transaction.atomic():
        # Only the lock: policies can be changed also where no key opens the secret. A weak one, which lets those by who
        # refer to the environment, as every new deployment does.
        Environment.objects.select_for_update(no_key=True).only("pk").get(pk=environment.pk)
        latest = environment.policy_versions.order_by("-number").first()
        if seen is not None and seen != (latest.number if latest is not None else 0):
            raise PolicyChanged
        if latest is not None and latest.policy == policy == environment.policy:
            return latest
        number = latest.number + 1 if latest is not None else 1
        version = environment.policy_versions.create(number=number, policy=policy, source=source, created_by=by)
        Environment.objects.filter(pk=environment.pk).update(policy=policy)
    environment.policy = policy
    return version


def adopt_endpoint(environment: Environment, endpoint: str) -> str:
    """The environment's endpoint after the first caller brought one: the caller's, or whoever's came first; "" for one
    that has been deleted."""
    rows = Environment.objects.not_deleted().filter(pk=environment.pk, metrics_endpoint="")
    rows.update(metrics_endpoint=endpoint)
    environment.refresh_from_db(fields=["metrics_endpoint"])
    return environment.metrics_endpoint
