"""Changes to projects, environments, keys and policies."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _

from accounts.models import Membership, Role, Team, User
from common.integrity import violated_constraint
from events.outbox import NewEvent, emit
from projects.models import (
    ApiKey,
    Environment,
    PolicyVersion,
    Project,
    hash_key,
    new_api_key,
    plan_of_new_projects,
    validate_endpoint,
    validate_origins,
)
from projects.policies import validate_policy
from projects.signing import enable_signing

DEFAULT_TEAM = "Default team"
SHOWN_OF_KEY = 9


@dataclass(frozen=True, slots=True)
class NewProject:
    """A new project with the secrets that are shown once. hmac_secret: None where requests are not signed."""

    project: Project
    environment: Environment
    api_key: str
    hmac_secret: str | None


def issue_api_key(project: Project, name: str = "default", *, by: User | None = None) -> str:
    """Create a further key of the project and return it in clear text, which is shown once; the hash is stored."""
    with transaction.atomic():
        secret = new_key(project, name, by=by)
        who = by.get_username() if by is not None else ""
        said = {"project": project.name, "name": name, "prefix": secret[:SHOWN_OF_KEY], "who": who}
        emit(NewEvent("key_made", project.team_id, project.pk, parameters=said))
    return secret


def new_key(project: Project, name: str = "default", *, by: User | None = None) -> str:
    """Create a key as issue_api_key, without an event: to a new project it gives access to nothing yet."""
    secret = new_api_key()
    ApiKey.objects.create(
        project=project, name=name, prefix=secret[:SHOWN_OF_KEY], key_hash=hash_key(secret), created_by=by
    )
    return secret


def create_project(
    name: str,
    *,
    environment: str,
    endpoint: str = "",
    plan: str = "",
    signed: bool = False,
    team: str = DEFAULT_TEAM,
    owner: User | None = None,
) -> NewProject:
    """Create a project with one environment and one key, in the team of that name (created if missing).

    plan: "" is that of all new projects.
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
    plan: str = "",
    signed: bool = False,
    by: User | None = None,
) -> NewProject:
    """Create a project of the team with one environment and one key. Raises ValidationError that names the field."""
    with transaction.atomic():
        project = saved(Project(team=team, name=name, plan=plan or plan_of_new_projects()))
        place = add_environment(project, environment, endpoint=endpoint)
        secret = enable_signing(place) if signed else None
        return NewProject(project, place, new_key(project, by=by), secret)


def add_environment(project: Project, name: str, *, endpoint: str = "") -> Environment:
    """Add an environment to the project. Raises ValidationError that names the field."""
    with field_named({"name": "environment", "metrics_endpoint": "endpoint"}):
        return saved(Environment(project=project, name=name, metrics_endpoint=endpoint))


def change_project(project: Project, **columns: Any) -> None:
    """Change these columns of the project, and no others. Raises ValidationError that names the field."""
    for column, value in columns.items():
        setattr(project, column, value)
    saved(project, list(columns))


def rename_environment(environment: Environment, name: str) -> None:
    """Rename the environment. Raises ValidationError that names the field."""
    environment.name = name
    saved(environment, ["name"])


def set_units(environment: Environment, **units: str) -> None:
    """Set the units of these metrics in the endpoint's answers, and no others. Raises ValidationError."""
    columns = {f"{metric}_unit": unit for metric, unit in units.items()}
    for column, unit in columns.items():
        setattr(environment, column, unit)
    saved(environment, list(columns))


def set_settling_time(environment: Environment, seconds: int) -> None:
    """Set the seconds between finish and the window, for later deployments. Raises ValidationError."""
    environment.settle_s = seconds
    saved(environment, ["settle_s"])


def set_origins(environment: Environment, origins: Sequence[str]) -> None:
    """Set the origins besides the endpoint's that calls may name to be measured. Raises ValidationError."""
    validate_origins(list(origins))
    environment.origins = list(origins)
    saved(environment, ["origins"])


def set_endpoint(environment: Environment, url: str, *, seen: str) -> bool:
    """Set the environment's metrics endpoint ("": none); return False where it is no longer the one that was seen.

    Raises ValidationError where the URL cannot be one.
    """
    environment.metrics_endpoint = url
    if url:
        validate_endpoint(url)
    rows = Environment.objects.filter(pk=environment.pk, metrics_endpoint=seen, deleting_at__isnull=True)
    return rows.update(metrics_endpoint=url) == 1


# Unique constraints, with the field and the message of their violation.
TAKEN = {
    "one_project_name_per_team": {"name": _("The team has a project of this name already.")},
    "one_environment_name_per_project": {"name": _("The project has an environment of this name already.")},
}
Row = TypeVar("Row", Project, Environment)


def saved(row: Row, columns: list[str] | None = None) -> Row:
    """Validate and save the row and return it. columns: only these of an existing row.

    Raises ValidationError that names the field. Whether the name is free the database decides, so that of two at once
    one gets it and the other an answer in words.
    """
    others = [] if columns is None else [one.name for one in row._meta.fields if one.name not in columns]
    row.full_clean(exclude=others, validate_constraints=False)
    with taken_names_refused():
        row.save(update_fields=columns)
    return row


@contextmanager
def taken_names_refused() -> Iterator[None]:
    """Open a transaction in which a violation of TAKEN raises ValidationError that names the field."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        found = TAKEN.get(violated_constraint(error))
        if found is None:
            raise
        raise ValidationError(found) from None


@contextmanager
def field_named(names: Mapping[str, str]) -> Iterator[None]:
    """Rename the fields of a ValidationError to those of the caller."""
    try:
        yield
    except ValidationError as error:
        raise ValidationError({names.get(name, name): texts for name, texts in error.message_dict.items()}) from None


class PolicyChanged(Exception):
    """The policy was changed concurrently."""


def set_policy(
    environment: Environment, policy: dict[str, Any], *, source: str, by: User | None = None, seen: int | None = None
) -> PolicyVersion:
    """Set the environment's policy and return its version: the current one where nothing changes.

    seen: number of the version that was edited, 0 for none; None: replace any version. Raises ValidationError where the
    policy is invalid, PolicyChanged where the current version is another one.
    """
    validate_policy(policy)
    with transaction.atomic():
        # Only the key: the row's secret need not be readable. FOR NO KEY UPDATE does not block inserts of rows that
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
    """Give an environment without endpoint this one; return the endpoint that it has then, "" where it is deleted.

    Of two concurrent callers the first one's endpoint stays.
    """
    rows = Environment.objects.not_deleted().filter(pk=environment.pk, metrics_endpoint="")
    rows.update(metrics_endpoint=endpoint)
    environment.refresh_from_db(fields=["metrics_endpoint"])
    return environment.metrics_endpoint
