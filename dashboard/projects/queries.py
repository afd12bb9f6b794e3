"""Queries of the project pages. Each function needs a fixed number of queries."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Window
from django.db.models.functions import Coalesce, RowNumber
from django.shortcuts import get_object_or_404
from django.utils import timezone

from accounts.models import User
from accounts.permissions import Actions
from analysis.models import DeploymentVerdict, Feedback, VerdictName
from dashboard.deployments.queries import with_latest
from dashboard.labels import Status, status_by_name
from dashboard.policies.queries import readable
from deployments.models import Deployment
from metrics.models import MetricSample
from projects.models import ApiKey, Environment, Project
from projects.policy import Policy

PER_PAGE = 50
# Environments of a project in the list of all.
PER_CARD = 8
# Counting further would take longer than a page may.
COUNTED_UP_TO = 100_000
ARCHIVED = "archived"
RECENT = timedelta(days=30)


def project_list(user: User, *, archived: bool, search: str, number: str) -> dict[str, Any]:
    """Return the user's projects by name: page, rows of a project, its first environments and how many more it has, how
    many are archived. Five queries.
    """
    visible = Project.objects.visible_to(user)
    rows = visible.filter(archived_at__isnull=not archived).select_related("team").order_by("name", "pk")
    if search:
        rows = rows.filter(name__icontains=search)
    page = Paginator(with_environment_count(rows), PER_PAGE).get_page(number)
    projects: list[Any] = list(page.object_list)
    environments: dict[int, list[Any]] = {project.pk: [] for project in projects}
    place = Window(RowNumber(), partition_by="project_id", order_by="name")
    all_of_these = Environment.objects.not_deleted().filter(project__in=[project.pk for project in projects])
    first = all_of_these.annotate(place=place).filter(place__lte=PER_CARD).values("pk")
    for one in with_latest(Environment.objects.filter(pk__in=first)):
        environments[one.project_id].append(one)
    return {
        "page": page,
        "rows": [
            (project, environments[project.pk], project.environment_count - len(environments[project.pk]))
            for project in projects
        ],
        "archived": visible.filter(archived_at__isnull=False).count(),
    }


def with_environment_count(projects: QuerySet[Project]) -> QuerySet[Project]:
    own = Environment.objects.not_deleted().filter(project=OuterRef("pk")).order_by().values("project")
    return projects.annotate(environment_count=Coalesce(Subquery(own.annotate(n=Count("pk")).values("n")), 0))


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


@dataclass(frozen=True, slots=True)
class HitRate:
    """Numbers of marked verdicts, and of those marked right."""

    right: int = 0
    marked: int = 0

    @property
    def ratio(self) -> float | None:
        """Return 0..1, None where no verdict is marked."""
        return self.right / self.marked if self.marked else None

    def __add__(self, other: HitRate) -> HitRate:
        return HitRate(self.right + other.right, self.marked + other.marked)


@dataclass(frozen=True, slots=True)
class Record:
    """Hit rates of an environment's or a project's verdicts, overall and of the last 30 days; verdicts: of these."""

    ever: HitRate = HitRate()
    recent: HitRate = HitRate()
    verdicts: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> list[tuple[Status, int]]:
        """Return the verdicts of the last 30 days, best first."""
        return [(status_by_name(name), self.verdicts[name]) for name in VerdictName.values]

    @property
    def total(self) -> int:
        return self.verdicts.total()

    def __add__(self, other: Record) -> Record:
        return Record(self.ever + other.ever, self.recent + other.recent, self.verdicts + other.verdicts)


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """One environment of a project with its `latest` deployment, its record and its policy."""

    environment: Any
    record: Record
    policy: Policy | None


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """A project with the environments of one page; record: of all."""

    project: Project
    page: Page[Environment]
    rows: list[EnvironmentRow]
    record: Record


def project_page(user: User, uuid: UUID, number: str) -> ProjectPage:
    """Return a project with a page of its environments. Five queries. Raises Http404."""
    visible = Project.objects.visible_to(user).select_related("team")
    project: Any = get_object_or_404(with_environment_count(visible), uuid=uuid)
    environments = environments_of(project)
    pages = Paginator(environments, PER_PAGE)
    pages.count = project.environment_count
    page = pages.get_page(number)
    shown = with_latest(environments, slice(max(0, page.start_index() - 1), page.end_index()))
    records = records_of(project)
    rows = [EnvironmentRow(one, records.get(one.pk, Record()), readable(one.policy)) for one in shown]
    return ProjectPage(project, page, rows, sum(records.values(), Record()))


def records_of(project: Project) -> dict[int, Record]:
    """Return records by id of the environments that are not deleted. Two queries."""
    since = timezone.now() - RECENT
    recent = Q(verdict__created_at__gte=since)
    marks = (
        Feedback.objects.filter(
            verdict__deployment__project=project, verdict__deployment__environment__deleting_at__isnull=True
        )
        .values_list("verdict__deployment__environment_id")
        .annotate(
            hits=Count("pk", filter=Q(right=True)),
            marked=Count("pk"),
            recent_hits=Count("pk", filter=recent & Q(right=True)),
            recent_marked=Count("pk", filter=recent),
        )
    )
    hits = {row[0]: (HitRate(row[1], row[2]), HitRate(row[3], row[4])) for row in marks}
    verdicts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    counted = (
        DeploymentVerdict.objects.filter(
            deployment__project=project, deployment__environment__deleting_at__isnull=True, created_at__gte=since
        )
        .values_list("deployment__environment_id", "verdict")
        .annotate(Count("pk"))
    )
    for environment_id, name, count in counted:
        verdicts[environment_id][name] = count
    return {pk: Record(*hits.get(pk, (HitRate(), HitRate())), verdicts=verdicts[pk]) for pk in {*hits, *verdicts}}
