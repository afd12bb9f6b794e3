"""What the pages of a project and of an environment's policy read. Each function needs a fixed number of queries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.shortcuts import get_object_or_404
from django.utils import timezone

from analysis.models import DeploymentVerdict, Feedback, VerdictName
from analysis.policy import DEFAULT_KIND, Policy, policy_from_dict
from analysis.replay import Comparison, Replayed, compare, judged, replay
from dashboard.queries import evidence_of, verdict_of
from dashboard.words import Status, status_of
from deployments.models import Deployment
from projects.models import Environment, ExcludedWindow, PolicySource, PolicyVersion, Project, User
from projects.permissions import Action, actions_of

RECENT = timedelta(days=30)
REPLAYED = 50
VERSIONS_SHOWN = 20
WINDOWS_SHOWN = 50
LONGEST_VALUE = 80


@dataclass(frozen=True, slots=True)
class HitRate:
    """How many verdicts people marked right, of those that they marked."""

    right: int = 0
    marked: int = 0

    @property
    def ratio(self) -> float | None:
        """0..1, None where none was marked."""
        return self.right / self.marked if self.marked else None

    def __add__(self, other: HitRate) -> HitRate:
        return HitRate(self.right + other.right, self.marked + other.marked)


@dataclass(frozen=True, slots=True)
class Record:
    """How the verdicts of an environment, or of a project, did: ever, in the last 30 days, and how many of each."""

    ever: HitRate = HitRate()
    recent: HitRate = HitRate()
    verdicts: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> list[tuple[Status, int]]:
        """The verdicts of the last 30 days, the best first."""
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
    """One environment of a project: its last deployment, its record and what it is judged by."""

    environment: Environment
    deployment: Deployment | None
    record: Record
    policy: Policy | None

    @property
    def status(self) -> Status | None:
        return status_of(self.deployment, verdict_of(self.deployment)) if self.deployment is not None else None


@dataclass(frozen=True, slots=True)
class ProjectPage:
    project: Project
    rows: list[EnvironmentRow]
    record: Record


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs between two versions of a policy, as JSON; "" where it is the default."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version with what it changed against the one before."""

    version: PolicyVersion
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class PolicyPage:
    """An environment with its policy. current: the number of its version, 0 where it never had one."""

    environment: Environment
    actions: frozenset[Action]
    versions: list[Version]
    current: int
    windows: list[ExcludedWindow]

    @property
    def from_file(self) -> bool:
        """Whether the policy in force came with a trigger call: the next one will bring it again."""
        return bool(self.versions) and self.versions[0].version.source == PolicySource.FILE


@dataclass(frozen=True, slots=True)
class Replay:
    """What a policy would have said. gone: deployments that could not be replayed, since their samples are gone."""

    changed: list[Replayed]
    comparison: Comparison
    gone: int


def status_by_name(name: str) -> Status:
    return status_of(Deployment(), DeploymentVerdict(verdict=name))


def readable(policy: Any) -> Policy | None:
    """The policy of stored JSON; None where no judge understands it."""
    try:
        return policy_from_dict(policy)
    except (ValueError, OverflowError):
        return None


def project_page(user: User, uuid: UUID) -> ProjectPage:
    """A project with its environments. Five queries. Raises Http404."""
    project = get_object_or_404(Project.objects.visible_to(user).select_related("team"), uuid=uuid)
    latest = Deployment.objects.filter(environment=OuterRef("pk")).order_by("-id").values("id")[:1]
    environments: list[Any] = list(
        Environment.objects.filter(project=project).annotate(latest_id=Subquery(latest)).order_by("name")
    )
    ids = [environment.latest_id for environment in environments if environment.latest_id is not None]
    last = Deployment.objects.select_related("verdict").in_bulk(ids)
    records = records_of(project)
    rows = []
    for environment in environments:
        environment.project = project
        rows.append(
            EnvironmentRow(
                environment=environment,
                deployment=last.get(environment.latest_id or 0),
                record=records.get(environment.pk, Record()),
                policy=readable(environment.policy),
            )
        )
    return ProjectPage(project, rows, sum((row.record for row in rows), Record()))


def records_of(project: Project) -> dict[int, Record]:
    """By environment: how its verdicts did. Two queries."""
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


def environment_of(user: User, environment_id: int) -> tuple[Environment, frozenset[Action]]:
    """An environment and what the person may do with it. Raises Http404, also for a foreign one."""
    rows = Environment.objects.visible_to(user).select_related("project__team")
    environment = get_object_or_404(rows, pk=environment_id)
    return environment, actions_of(user, environment.project)


def policy_page(environment: Environment, actions: frozenset[Action]) -> PolicyPage:
    """Versions and excluded windows of the environment. Two queries."""
    rows = environment.policy_versions.select_related("created_by").order_by("-number")[: VERSIONS_SHOWN + 1]
    versions = list(rows)
    older = [version.policy for version in versions[1:]] + [{}]
    return PolicyPage(
        environment=environment,
        actions=actions,
        versions=[
            Version(version, changes(before, version.policy))
            for version, before in zip(versions[:VERSIONS_SHOWN], older, strict=False)
        ],
        current=versions[0].number if versions else 0,
        windows=list(windows_of(environment)),
    )


def windows_of(environment: Environment) -> QuerySet[ExcludedWindow]:
    return environment.excluded_windows.select_related("created_by").order_by("-starts_at")[:WINDOWS_SHOWN]


def changes(before: Any, after: Any) -> list[Change]:
    """What differs between two stored policies, by path."""
    # A policy that names no kind is of the default one: naming that changes nothing.
    old, new = ({"kind": json.dumps(DEFAULT_KIND), **dict(_leaves(policy))} for policy in (before, after))
    paths = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    return [Change(path, old.get(path, ""), new.get(path, "")) for path in paths]


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif tree is not None:
        told = json.dumps(tree, ensure_ascii=False)
        yield path, told if len(told) <= LONGEST_VALUE else f"{told[: LONGEST_VALUE - 1]}…"


def replay_recent(environment: Environment, policy: Policy) -> Replay:
    """The last judged deployments of the environment under this policy. Nothing is written."""
    rows = judged(Deployment.objects.filter(environment=environment))
    replayed = replay(list(rows.order_by("-id")[:REPLAYED]), policy)
    usable = [one for one in replayed if has_its_samples(one)]
    return Replay(
        changed=[one for one in usable if one.changed],
        comparison=compare(usable),
        gone=len(replayed) - len(usable),
    )


def has_its_samples(replayed: Replayed) -> bool:
    """Whether what the verdict was judged on is still there: samples are kept for a time only."""
    recorded: int = evidence_of(replayed.deployment.verdict).get("post_samples", 0)
    return len(replayed.judgement.evidence.post) >= recorded
