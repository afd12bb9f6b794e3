"""What changes projects, environments and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from projects.models import (
    ApiKey,
    Environment,
    Membership,
    PolicyVersion,
    Project,
    Role,
    Team,
    User,
    hash_key,
    new_api_key,
    new_hmac_secret,
)
from projects.policies import validate_policy

DEFAULT_TEAM = "Default team"


@dataclass(frozen=True, slots=True)
class NewProject:
    """A project just made, with the secrets that are shown this once. hmac_secret: None where nothing is signed."""

    project: Project
    environment: Environment
    api_key: str
    hmac_secret: str | None


def issue_api_key(project: Project, name: str = "default") -> str:
    """A new key of the project, in plain text: shown once, stored as a hash."""
    secret = new_api_key()
    ApiKey.objects.create(project=project, name=name, prefix=secret[:9], key_hash=hash_key(secret))
    return secret


def enable_signing(environment: Environment) -> str:
    """A new HMAC secret of the environment, in plain text: shown once, stored encrypted."""
    secret = new_hmac_secret()
    environment.hmac_secret = secret
    environment.save(update_fields=["hmac_secret"])
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
        owning_team = Team.objects.filter(name=team).order_by("pk").first() or Team.objects.create(name=team)
        if owner is not None:
            Membership.objects.get_or_create(team=owning_team, user=owner, defaults={"role": Role.OWNER})
        project = Project(team=owning_team, name=name, plan=plan)
        project.full_clean()
        project.save()
        place = Environment(project=project, name=environment, metrics_endpoint=endpoint)
        place.full_clean()
        place.save()
        secret = enable_signing(place) if signed else None
        return NewProject(project, place, issue_api_key(project), secret)


def set_policy(
    environment: Environment, policy: dict[str, Any], *, source: str, by: User | None = None
) -> PolicyVersion:
    """Makes this the environment's policy and returns its version: the current one where nothing changes.

    Raises ValidationError where the judges do not understand it.
    """
    validate_policy(policy)
    with transaction.atomic():
        # Only the lock: policies can be changed also where no key opens the secret. A weak one, which lets those by who
        # refer to the environment, as every new deployment does.
        Environment.objects.select_for_update(no_key=True).only("pk").get(pk=environment.pk)
        latest = environment.policy_versions.order_by("-number").first()
        if latest is not None and latest.policy == policy == environment.policy:
            return latest
        number = latest.number + 1 if latest is not None else 1
        version = environment.policy_versions.create(number=number, policy=policy, source=source, created_by=by)
        Environment.objects.filter(pk=environment.pk).update(policy=policy)
    environment.policy = policy
    return version


def adopt_endpoint(environment: Environment, endpoint: str) -> str:
    """The environment's endpoint after the first caller brought one: the caller's, or whoever's came first."""
    Environment.objects.filter(pk=environment.pk, metrics_endpoint="").update(metrics_endpoint=endpoint)
    environment.refresh_from_db(fields=["metrics_endpoint"])
    return environment.metrics_endpoint
