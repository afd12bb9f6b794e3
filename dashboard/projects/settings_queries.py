"""Queries of the pages that list, create, set up and delete projects. Each function needs a fixed number of queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import OuterRef, QuerySet, Subquery
from django.shortcuts import get_object_or_404

from accounts.models import User
from accounts.permissions import Actions
from dashboard.deployments.queries import verdict_of, with_verdict
from dashboard.labels import Status, status_of
from dashboard.policies.queries import readable
from deployments.models import Deployment
from metrics.models import MetricSample
from projects.models import ApiKey, Environment, Project
from projects.policy import Policy

PER_PAGE = 50
# Counting further would take longer than a page may.
COUNTED_UP_TO = 100_000
ACTIVE, ARCHIVED = "active", "archived"


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """One environment and the status of its last deployment; None where it has none."""

    environment: Environment
    deployment: Deployment | None
    status: Status | None


@dataclass(frozen=True, slots=True)
class ProjectRow:
    project: Project
    environments: list[EnvironmentStatus]


@dataclass(frozen=True, slots=True)
class ProjectList:
    """A page of projects. archived: how many projects of the user are archived."""

    page: Page[Project]
    rows: list[ProjectRow]
    archived: int


def project_list(user: User, *, archived: bool, search: str, number: str) -> ProjectList:
    """Return the user's projects by name. Five queries."""
    visible = Project.objects.visible_to(user)
    rows = visible.filter(archived_at__isnull=not archived).select_related("team").order_by("name", "pk")
    if search:
        rows = rows.filter(name__icontains=search)
    page = Paginator(rows, PER_PAGE).get_page(number)
    projects = list(page.object_list)
    environments = statuses_of(projects)
    return ProjectList(
        page,
        [ProjectRow(project, environments.get(project.pk, [])) for project in projects],
        visible.filter(archived_at__isnull=False).count(),
    )


def statuses_of(projects: list[Project]) -> dict[int, list[EnvironmentStatus]]:
    """Return environments by project id, by name, with their last deployments. Two queries."""
    # By the time alone, as its index has it (dashboard/overview/queries.py).
    latest = Deployment.objects.filter(environment=OuterRef("pk")).order_by("-started_at")
    rows: list[Any] = list(
        Environment.objects.filter(project__in=projects, deleting_at__isnull=True)
        .annotate(latest_id=Subquery(latest.values("id")[:1]))
        .order_by("name")
    )
    last = with_verdict(Deployment.objects).in_bulk([row.latest_id for row in rows if row.latest_id])
    found: dict[int, list[EnvironmentStatus]] = {}
    for row in rows:
        deployment = last.get(row.latest_id or 0)
        status = status_of(deployment, verdict_of(deployment)) if deployment is not None else None
        found.setdefault(row.project_id, []).append(EnvironmentStatus(row, deployment, status))
    return found


def project_of(user: User, uuid: UUID) -> tuple[Project, Actions]:
    """Return a project and the user's actions on it. Raises Http404, also for a project of others."""
    project = get_object_or_404(Project.objects.visible_to(user).select_related("team"), uuid=uuid)
    return project, project.actions_of(user)


def environments_of(project: Project) -> QuerySet[Environment]:
    return Environment.objects.filter(project=project, deleting_at__isnull=True).order_by("name")


def keys_of(project: Project) -> list[ApiKey]:
    """Return the project's keys: usable ones first, newest first."""
    rows = ApiKey.objects.filter(project=project).select_related("created_by").order_by("-pk")
    return sorted(rows[:500], key=lambda key: key.revoked_at is not None)


@dataclass(frozen=True, slots=True)
class Content:
    """Numbers of rows that would be deleted, counted up to COUNTED_UP_TO, shown as "more than"."""

    deployments: int
    samples: int


def content_of(environments: list[int]) -> Content:
    """Count what belongs to these environments. Two queries, of bounded duration."""
    deployments = Deployment.objects.filter(environment__in=environments)
    samples = MetricSample.objects.filter(environment__in=environments)
    return Content(*(rows.order_by().values("pk")[: COUNTED_UP_TO + 1].count() for rows in (deployments, samples)))


def readable_policy(environment: Environment) -> Policy | None:
    """Return the environment's policy, None where the stored one cannot be read."""
    return readable(environment.policy)
