"""Archive and delete projects, environments and teams.

Deleted ones are hidden at once and lose keys, endpoints and secrets. Their rows, which may be millions, are removed by
a poller in batches, each in its own transaction, so that no request waits and no writer is blocked.
"""

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
from events import incidents
from events.models import Event
from explain.facts import Fact
from metrics import baseline
from metrics.models import Source
from metrics.partitions import partitions
from metrics.retention import advisory_lock
from projects.models import ApiKey, Environment, Project
from projects.signing import forget_previous_secrets
from scheduler.models import ScheduledJob
from scheduler.recurring import recurring

logger = structlog.get_logger(__name__)

REMOVE_EVERY_S = 60.0
FORGET_EVERY_S = 3600.0
SAMPLES_AT_ONCE = 5000
# Each has about 20 rows in other tables.
DEPLOYMENTS_AT_ONCE = 200
# "remove" in hexadecimal ASCII: the advisory lock of a run.
LOCK = 0x72656D6F7665
# Deletion frees the name: the row is renamed, with at most so much of it.
LONGEST_NAME = 60


def archive(project: Project) -> bool:
    """Stop measuring the project; return False where it is archived already. Open windows are observed to the end."""
    with transaction.atomic():
        active = Project.objects.not_deleted().filter(pk=project.pk, archived_at__isnull=True)
        changed = active.update(archived_at=Now())
        if changed:
            baseline.stop(project, Fact("archived"))
    return changed == 1


def unarchive(project: Project) -> bool:
    """Measure the project again; return False where it was not archived. Its baseline starts within a minute."""
    return Project.objects.not_deleted().filter(pk=project.pk, archived_at__isnull=False).update(archived_at=None) == 1


def delete_project(project: Project) -> bool:
    """Delete the project; return False where it is deleted already."""
    with transaction.atomic():
        rows = Project.objects.not_deleted().filter(pk=project.pk)
        name = _name_of_deleted(project.name)
        if rows.update(deleting_at=Now(), archived_at=Coalesce(F("archived_at"), Now()), name=name) != 1:
            return False
        ApiKey.objects.usable().filter(project=project).update(revoked_at=Now())
        _remove_endpoints(list(project.environments.values_list("pk", flat=True)))
        baseline.stop(project, Fact("deleted"))
    logger.info("project_deleted", project_id=str(project.uuid))
    return True


def delete_team(team: Team, *, typed: str, by: User) -> None:
    """Delete the team with all its projects.

    typed: its name as a confirmation. Raises ValidationError that names the field, PermissionDenied, Team.DoesNotExist.
    """
    with transaction.atomic():
        close_team(team, typed=typed, by=by)
        for project in Project.objects.not_deleted().filter(team=team):
            delete_project(project)


def delete_environment(environment: Environment) -> bool:
    """Delete the environment; return False where it is deleted already."""
    with transaction.atomic():
        rows = Environment.objects.filter(pk=environment.pk, deleting_at__isnull=True)
        name = _name_of_deleted(environment.name)
        if rows.update(deleting_at=Now(), name=name) != 1:
            return False
        _remove_endpoints([environment.pk])
    logger.info("environment_deleted", environment_id=environment.pk, project_id=str(environment.project.uuid))
    return True


def _name_of_deleted(name: str) -> str:
    """Return a name that cannot be guessed: another row with it would prevent the deletion."""
    return f"{name[:LONGEST_NAME]} (deleted {secrets.token_hex(8)})"


def _remove_endpoints(environments: list[int]) -> None:
    """Remove endpoints, sources and secrets."""
    Source.objects.filter(environment__in=environments).delete()
    Environment.objects.filter(pk__in=environments).update(
        metrics_endpoint="", source_kinds=[], hmac_secret="", previous_hmac_secret="", previous_hmac_until=None
    )


@recurring("forget_previous_secrets", every_s=FORGET_EVERY_S)
def forget() -> None:
    """Remove previous secrets whose grace period is over."""
    forget_previous_secrets()


@recurring("remove_deleted", every_s=REMOVE_EVERY_S)
def remove_deleted() -> None:
    """Remove the rows of everything that is deleted. May be interrupted: the next run continues."""
    with advisory_lock(LOCK) as taken:
        if not taken:
            return
        # Created while the team was being deleted.
        for project in Project.objects.not_deleted().filter(team__deleting_at__isnull=False):
            delete_project(project)
        for project in Project.objects.filter(deleting_at__isnull=False).order_by("deleting_at"):
            with _logged(project_id=str(project.uuid)):
                _remove_rows(list(project.environments.values_list("pk", flat=True)))
                Event.objects.filter(project_id=project.pk).delete()
                project.delete()
                logger.info("project_removed", project_id=str(project.uuid))
        for environment in Environment.objects.filter(deleting_at__isnull=False).order_by("deleting_at"):
            with _logged(environment_id=environment.pk):
                _remove_rows([environment.pk])
                Event.objects.filter(environment_id=environment.pk).delete()
                environment.delete()
                logger.info("environment_removed", environment_id=environment.pk)
        teams = Team.objects.filter(deleting_at__isnull=False, projects__isnull=True)
        Event.objects.filter(team_id__in=list(teams.values_list("pk", flat=True))).delete()
        teams.delete()


@contextmanager
def _logged(**of: Any) -> Iterator[None]:
    """Log an error and continue with the next one; the next run retries it. A lost connection ends the run."""
    try:
        yield
    except DatabaseError:
        if not connection.is_usable():
            raise
        logger.exception("not_removed", **of)


def _remove_rows(environments: list[int]) -> None:
    """Remove the environments' samples, deployments with all dependent rows, and incidents."""
    for partition in partitions():
        while not partition.detaching and _remove_samples(partition.name, environments):
            pass
    while _remove_deployments(environments):
        pass
    incidents.remove(environments)


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
    """Delete one batch through the models, which also empties every table that refers to a deployment."""
    with transaction.atomic():
        ids = list(
            Deployment.objects.filter(environment__in=environments)
            .order_by("pk")
            .values_list("pk", flat=True)[:DEPLOYMENTS_AT_ONCE]
        )
        # Lock order of the pollers: they lock a job to complete it, then write samples and verdicts. Once its row is
        # deleted here, they find nothing to complete and write nothing.
        list(ScheduledJob.objects.filter(deployment__in=ids).select_for_update().order_by("pk").values_list("pk"))
        list(Deployment.objects.filter(pk__in=ids).select_for_update().order_by("pk").values_list("pk"))
        Deployment.objects.filter(pk__in=ids).delete()
    return len(ids)
