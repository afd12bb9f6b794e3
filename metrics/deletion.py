"""Teams, projects and environments that people have deleted.

For people they are gone at once: hidden, without keys, endpoints and secrets. Their rows, which may be millions, are
removed by a poller in batches, each in a transaction of its own, so that no request waits and no writer is held up.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from accounts.models import Team, User
from accounts.teams import close_team
from deployments.models import Deployment
from metrics import baseline
from metrics.partitions import partitions
from metrics.retention import alone
from projects.models import ApiKey, Environment, Project
from projects.signing import forget_previous_secrets
from scheduler.models import ScheduledJob
from scheduler.recurring import recurring

logger = structlog.get_logger(__name__)

REMOVE_EVERY_S = 60.0
FORGET_EVERY_S = 3600.0
SAMPLES_AT_ONCE = 5000
# Each has some 20 rows in other tables.
DEPLOYMENTS_AT_ONCE = 200
# "remove" in hexadecimal ASCII: the advisory lock of the run that is at work.
LOCK = 0x72656D6F7665
# A name is free again as soon as what had it is deleted.
LONGEST_NAME = 60


def archive(project: Project) -> bool:
    """Ends the project's measuring; False where it is archived already. What runs is observed to its end."""
    with transaction.atomic():
        active = Project.objects.not_deleted().filter(pk=project.pk, archived_at__isnull=True)
        changed = active.update(archived_at=Now())
        if changed:
            baseline.stop(project, code="archived", reason="not collected: the project is archived")
    return changed == 1


def unarchive(project: Project) -> bool:
    """Lets the project be measured again; False where it was not archived. Its baseline begins within a minute."""
    return Project.objects.not_deleted().filter(pk=project.pk, archived_at__isnull=False).update(archived_at=None) == 1


def delete_project(project: Project) -> bool:
    """Takes the project away from everybody, for good; False where somebody was faster."""
    with transaction.atomic():
        rows = Project.objects.not_deleted().filter(pk=project.pk)
        name = _name_of_deleted(project.name)
        if rows.update(deleting_at=Now(), archived_at=Coalesce(F("archived_at"), Now()), name=name) != 1:
            return False
        ApiKey.objects.usable().filter(project=project).update(revoked_at=Now())
        _silence(list(project.environments.values_list("pk", flat=True)))
        baseline.stop(project, code="deleted", reason="not collected: the project is deleted")
    logger.info("project_deleted", project_id=str(project.uuid))
    return True


def delete_team(team: Team, *, typed: str, by: User) -> None:
    """Takes the team away from everybody, for good, with all its projects.

    typed: its name. Raises ValidationError that names the field, PermissionDenied, Team.DoesNotExist.
    """
    with transaction.atomic():
        close_team(team, typed=typed, by=by)
        for project in Project.objects.not_deleted().filter(team=team):
            delete_project(project)


def delete_environment(environment: Environment) -> bool:
    """Takes the environment away from everybody, for good; False where somebody was faster."""
    with transaction.atomic():
        rows = Environment.objects.filter(pk=environment.pk, deleting_at__isnull=True)
        name = _name_of_deleted(environment.name)
        if rows.update(deleting_at=Now(), name=name) != 1:
            return False
        _silence([environment.pk])
    logger.info("environment_deleted", environment_id=environment.pk, project_id=str(environment.project.uuid))
    return True


def _name_of_deleted(name: str) -> str:
    """Nobody knows it beforehand: whoever gave it to another one would keep this one from being deleted."""
    return f"{name[:LONGEST_NAME]} (deleted {secrets.token_hex(8)})"


def _silence(environments: list[int]) -> None:
    """Nothing is asked any more, and nothing secret is kept for it."""
    Environment.objects.filter(pk__in=environments).update(
        metrics_endpoint="", hmac_secret="", previous_hmac_secret="", previous_hmac_until=None
    )


@recurring("forget_previous_secrets", every_s=FORGET_EVERY_S)
def forget() -> None:
    """Removes the secrets whose grace is over."""
    forget_previous_secrets()


@recurring("remove_deleted", every_s=REMOVE_EVERY_S)
def remove_deleted() -> None:
    """Removes what is left of everything that people have deleted. May be interrupted: the next run goes on."""
    with alone(LOCK) as nobody_else:
        if not nobody_else:
            return
        # Made by somebody while the team was being deleted.
        for project in Project.objects.not_deleted().filter(team__deleting_at__isnull=False):
            delete_project(project)
        for project in Project.objects.filter(deleting_at__isnull=False).order_by("deleting_at"):
            with _whatever_happens(project_id=str(project.uuid)):
                _remove_rows(list(project.environments.values_list("pk", flat=True)))
                project.delete()
                logger.info("project_removed", project_id=str(project.uuid))
        for environment in Environment.objects.filter(deleting_at__isnull=False).order_by("deleting_at"):
            with _whatever_happens(environment_id=environment.pk):
                _remove_rows([environment.pk])
                environment.delete()
                logger.info("environment_removed", environment_id=environment.pk)
        Team.objects.filter(deleting_at__isnull=False, projects__isnull=True).delete()


@contextmanager
def _whatever_happens(**of: Any) -> Iterator[None]:
    """One that cannot be removed does not keep the others; the next run tries it again. A lost connection is of all."""
    try:
        yield
    except DatabaseError:
        if not connection.is_usable():
            raise
        logger.exception("not_removed", **of)


def _remove_rows(environments: list[int]) -> None:
    """Removes the environments' samples and deployments with all that belongs to them."""
    for partition in partitions():
        while not partition.detaching and _remove_samples(partition.name, environments):
            pass
    while _remove_deployments(environments):
        pass


def _remove_samples(partition: str, environments: list[int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {partition} WHERE ctid = ANY(ARRAY("  # noqa: S608  (our own name)
            f"SELECT ctid FROM {partition} WHERE environment_id = ANY(%s) LIMIT %s))",
            [environments, SAMPLES_AT_ONCE],
        )
        removed: int = cursor.rowcount
        return removed


def _remove_deployments(environments: list[int]) -> int:
    """One batch, through the models: whatever table refers to a deployment is emptied along with it."""
    with transaction.atomic():
        ids = list(
            Deployment.objects.filter(environment__in=environments)
            .order_by("pk")
            .values_list("pk", flat=True)[:DEPLOYMENTS_AT_ONCE]
        )
        # In the order of the pollers: who completes a job holds it first, writes samples and verdicts after that, and
        # finds nothing to complete once we were faster.
        list(ScheduledJob.objects.filter(deployment__in=ids).select_for_update().order_by("pk").values_list("pk"))
        list(Deployment.objects.filter(pk__in=ids).select_for_update().order_by("pk").values_list("pk"))
        Deployment.objects.filter(pk__in=ids).delete()
    return len(ids)
