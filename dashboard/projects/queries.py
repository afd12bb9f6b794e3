"""Queries of the project pages. Each function needs a fixed number of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Q
from django.shortcuts import get_object_or_404
from django.utils import timezone

from accounts.models import User
from analysis.models import DeploymentVerdict, Feedback, VerdictName
from dashboard.deployments.queries import with_latest
from dashboard.labels import Status, status_by_name
from dashboard.policies.queries import readable
from projects.models import Environment, Project
from projects.policy import Policy

RECENT = timedelta(days=30)


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
    verdicts: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> list[tuple[Status, int]]:
        """Return the verdicts of the last 30 days, best first."""
        return [(status_by_name(name), self.verdicts.get(name, 0)) for name in VerdictName.values]

    @property
    def total(self) -> int:
        return sum(self.verdicts.values())

    def __add__(self, other: Record) -> Record:
        names = {*self.verdicts, *other.verdicts}
        verdicts = {name: self.verdicts.get(name, 0) + other.verdicts.get(name, 0) for name in names}
        return Record(self.ever + other.ever, self.recent + other.recent, verdicts)


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """One environment of a project with its `latest` deployment, its record and its policy."""

    environment: Any
    record: Record
    policy: Policy | None


@dataclass(frozen=True, slots=True)
class ProjectPage:
    project: Project
    rows: list[EnvironmentRow]
    record: Record


def project_page(user: User, uuid: UUID) -> ProjectPage:
    """Return a project with its environments. Five queries. Raises Http404."""
    project = get_object_or_404(Project.objects.visible_to(user).select_related("team"), uuid=uuid)
    environments = with_latest(Environment.objects.not_deleted().filter(project=project))
    records = records_of(project)
    rows = [EnvironmentRow(one, records.get(one.pk, Record()), readable(one.policy)) for one in environments]
    return ProjectPage(project, rows, sum((row.record for row in rows), Record()))


def records_of(project: Project) -> dict[int, Record]:
    """Return records by environment id. Two queries."""
    since = timezone.now() - RECENT
    recent = Q(verdict__created_at__gte=since)
    marks = (
        Feedback.objects.filter(verdict__deployment__project=project)
        .values_list("verdict__deployment__environment_id")
        .annotate(
            hits=Count("pk", filter=Q(right=True)),
            marked=Count("pk"),
            recent_hits=Count("pk", filter=recent & Q(right=True)),
            recent_marked=Count("pk", filter=recent),
        )
    )
    hits = {row[0]: (HitRate(row[1], row[2]), HitRate(row[3], row[4])) for row in marks}
    verdicts: dict[int, dict[str, int]] = {}
    counted = (
        DeploymentVerdict.objects.filter(deployment__project=project, created_at__gte=since)
        .values_list("deployment__environment_id", "verdict")
        .annotate(Count("pk"))
    )
    for environment_id, name, count in counted:
        verdicts.setdefault(environment_id, {})[name] = count
    return {
        pk: Record(*hits.get(pk, (HitRate(), HitRate())), verdicts=verdicts.get(pk, {})) for pk in {*hits, *verdicts}
    }
