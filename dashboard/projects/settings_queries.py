"""Queries of the pages that list, create, set up and delete projects. Each function needs a fixed number of queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404

from accounts.models import User
from accounts.permissions import Actions
from dashboard.deployments.queries import with_latest
from dashboard.policies.queries import readable
from deployments.models import Deployment
from metrics.models import MetricSample
from projects.models import ApiKey, Environment, Project
from projects.policy import Policy

PER_PAGE = 50
# Counting further would take longer than a page may.
COUNTED_UP_TO = 100_000
ACTIVE, ARCHIVED = "active", "archived"


def project_list(user: User, *, archived: bool, search: str, number: str) -> dict[str, Any]:
    """Return the user's projects by name: page, rows of a project and its environments, how many are archived.

    Five queries.
    """
    visible = Project.objects.visible_to(user)
    rows = visible.filter(archived_at__isnull=not archived).select_related("team").order_by("name", "pk")
    if search:
        rows = rows.filter(name__icontains=search)
    page = Paginator(rows, PER_PAGE).get_page(number)
    projects = list(page.object_list)
    environments: dict[int, list[Any]] = {project.pk: [] for project in projects}
    for one in with_latest(Environment.objects.not_deleted().filter(project__in=projects)):
        environments[one.project_id].append(one)
    return {
        "page": page,
        "rows": [(project, environments[project.pk]) for project in projects],
        "archived": visible.filter(archived_at__isnull=False).count(),
    }


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
