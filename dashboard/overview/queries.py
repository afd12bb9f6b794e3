"""Queries of the overview. They start from what the user may see, and their number is fixed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.db.models.functions import TruncDate
from django.utils import timezone

from accounts.models import User
from accounts.permissions import may_create_project
from analysis.judge.types import ROLLBACK, WARNING
from analysis.models import DeploymentVerdict, Hint, Severity
from dashboard.deployments.queries import is_in_progress, samples_so_far, seconds_until, with_verdict
from dashboard.labels import Status, state_of, status_by_name, status_of, verdict_of
from dashboard.overview.parts import (
    Facts,
    Guide,
    HealthSummary,
    HistoryBar,
    first_day,
    health_of,
    history_bar_of,
    rank,
    summary_of,
)
from deployments.models import Deployment, State
from metrics.models import MetricSample
from projects.models import ApiKey, Environment, Project

# Limits the partitions searched for an answer of an endpoint.
ANSWERED_WITHIN = timedelta(days=30)
HINTS_SHOWN = 12
# Number of environments in trouble that the headline names.
NAMED = 3
EMPTY = HistoryBar()


@dataclass(frozen=True, slots=True)
class Watch:
    """A deployment that is running or under observation.

    collected: stored POST samples; left_s: seconds until the last one is due, None while it runs and after that time.
    """

    deployment: Deployment
    collected: int
    left_s: float | None

    @property
    def status(self) -> Status:
        return state_of(self.deployment)

    @property
    def running(self) -> bool:
        return self.deployment.finished_at is None

    @property
    def expected(self) -> int:
        return self.deployment.window_samples

    @property
    def segments(self) -> list[bool]:
        """Return one flag per planned sample (in twentieths for long windows): whether so many are stored."""
        shown = min(self.expected, 20) or 1
        filled = shown * min(self.collected, self.expected) // (self.expected or 1)
        return [place < filled for place in range(shown)]


@dataclass(frozen=True, slots=True)
class Row:
    """One environment. judged: its latest deployment with a verdict; latest: its latest of all."""

    environment: Environment
    judged: Deployment | None = None
    latest: Deployment | None = None
    watches: list[Watch] = field(default_factory=list)
    history: HistoryBar = EMPTY

    @property
    def verdict(self) -> DeploymentVerdict | None:
        return verdict_of(self.judged) if self.judged is not None else None

    @property
    def status(self) -> Status | None:
        """Return its last verdict, else the state of its latest deployment; None without deployments."""
        shown = self.judged or self.latest
        return status_of(shown) if shown is not None else None

    @property
    def health(self) -> str:
        verdict = self.verdict
        if verdict is None:
            return health_of(None, in_progress=bool(self.watches))
        return health_of(verdict.verdict, in_progress=bool(self.watches), unhealthy=verdict.healthy == "no")

    @property
    def unjudged(self) -> Deployment | None:
        """Return the latest deployment if it is later than the judged one and gets no verdict."""
        is_judged = self.latest is not None and self.judged is not None and self.latest.pk == self.judged.pk
        return None if is_judged or self.watches else self.latest

    @property
    def unjudged_status(self) -> Status | None:
        return state_of(self.unjudged) if self.unjudged is not None else None

    @property
    def counts(self) -> list[tuple[Status, int]]:
        """Return how many of each verdict the history shows, the best first."""
        totals = self.history.totals or {}
        return [(status_by_name(name), totals.get(name, 0)) for name in reversed(list(totals))]


@dataclass(frozen=True, slots=True)
class Overview:
    """All environments of the user, worst first.

    bare: projects without an environment; hints: open critical ones; more_hints: number of those not included.
    """

    rows: list[Row]
    bare: list[Project]
    hints: list[Hint]
    more_hints: int

    @property
    def watches(self) -> list[Watch]:
        return [watch for row in self.rows for watch in row.watches]

    @property
    def summary(self) -> HealthSummary:
        return summary_of(row.health for row in self.rows)

    @property
    def in_trouble(self) -> list[Row]:
        """Return the environments that the headline names, if it is about a verdict."""
        gravest = self.summary.gravest
        named = (row for row in self.rows if row.judged is not None and row.health == gravest)
        return list(islice(named, NAMED)) if gravest in (ROLLBACK, WARNING) else []

    @property
    def has_verdict(self) -> bool:
        return any(row.judged is not None for row in self.rows)


def projects_of(user: User) -> list[Project]:
    """Return the user's projects that are not archived, by name. One query."""
    shown = Project.objects.visible_to(user).filter(archived_at__isnull=True)
    return list(shown.select_related("team").order_by("name", "id"))


def overview_of(projects: Sequence[Project]) -> Overview:
    """Load the overview of these projects. Five queries, one more during an observation."""
    environments = environments_of(projects)
    deployments = deployments_by_id(environments)
    by_id = {one.pk: one for one in environments}
    for deployment in deployments.values():
        deployment.environment = by_id[deployment.environment_id]
        deployment.project = deployment.environment.project
    watches = watches_in(environments)
    histories = history_bars_of(projects)
    rows = [
        Row(
            environment=one,
            judged=deployments.get(one.judged_id),
            latest=deployments.get(one.latest_id),
            watches=watches.get(one.pk, []),
            history=histories.get(one.pk, EMPTY),
        )
        for one in environments
    ]
    rows.sort(key=lambda row: (rank(row.health), row.environment.project.name.casefold(), row.environment.name))
    hints = open_hints(rows)
    with_environment = {one.project_id for one in environments}
    return Overview(
        rows=rows,
        bare=[project for project in projects if project.pk not in with_environment],
        hints=hints[:HINTS_SHOWN],
        more_hints=max(0, len(hints) - HINTS_SHOWN),
    )


def environments_of(projects: Sequence[Project]) -> list[Any]:
    """Return environments with the ids of the latest deployment and of the latest with a verdict."""
    # Order by time only, like the index: with the id added, PostgreSQL reads the rows of all environments.
    own = Deployment.objects.filter(environment=OuterRef("pk")).order_by("-started_at")
    rows: list[Any] = list(
        Environment.objects.not_deleted()
        .filter(project__in=[project.pk for project in projects])
        .annotate(
            latest_id=Subquery(own.values("id")[:1]),
            judged_id=Subquery(own.filter(verdict__isnull=False).values("id")[:1]),
        )
        .only("id", "name", "project_id", "metrics_endpoint", "endpoint_blocked_at")
    )
    by_id = {project.pk: project for project in projects}
    for row in rows:
        row.project = by_id[row.project_id]
    return rows


def deployments_by_id(environments: Sequence[Any]) -> dict[int | None, Deployment]:
    ids = {pk for one in environments for pk in (one.latest_id, one.judged_id) if pk is not None}
    return dict(with_verdict(Deployment.objects).in_bulk(ids))


def watches_in(environments: Sequence[Any]) -> dict[int, list[Watch]]:
    """Return running and observed deployments by environment, latest first."""
    by_id = {one.pk: one for one in environments}
    # Each half uses its partial index.
    open_ones = Q(state=State.RUNNING) | Q(state=State.FINISHED)
    rows = with_verdict(Deployment.objects.filter(open_ones, environment__in=list(by_id)))
    found = [one for one in rows.order_by("-started_at", "-id") if is_in_progress(one)]
    counts = samples_so_far([one for one in found if one.finished_at is not None])
    watches: dict[int, list[Watch]] = {}
    for one in found:
        one.environment = by_id[one.environment_id]
        one.project = one.environment.project
        watch = Watch(one, counts.get(one.pk, 0), seconds_until(one.window_ends_at))
        watches.setdefault(one.environment_id, []).append(watch)
    return watches


def history_bars_of(projects: Sequence[Project]) -> dict[int, HistoryBar]:
    """Return by environment the verdicts of the last 30 days, by day of finish in the user's time zone."""
    today = timezone.localdate()
    since = timezone.make_aware(datetime.combine(first_day(today), time()))
    counted = (
        Deployment.objects.filter(
            project__in=[project.pk for project in projects], finished_at__gte=since, verdict__isnull=False
        )
        .values_list("environment_id", TruncDate("finished_at"), "verdict__verdict")
        .annotate(Count("id"))
        .order_by()
    )
    days: dict[int, dict[date, dict[str, int]]] = {}
    for environment_id, day, verdict, count in counted:
        days.setdefault(environment_id, {}).setdefault(day, {})[verdict] = count
    return {environment_id: history_bar_of(by_day, today) for environment_id, by_day in days.items()}


def open_hints(rows: Sequence[Row]) -> list[Hint]:
    """Return the critical hints of each environment's latest judged deployment, in the order of the rows."""
    judged = {row.judged.pk: row.judged for row in rows if row.judged is not None}
    places = {pk: place for place, pk in enumerate(judged)}
    found = Hint.objects.filter(deployment__in=list(judged), severity=Severity.CRITICAL).only(
        "id", "deployment_id", "position", "code", "metric", "severity", "title", "details", "created_at"
    )
    hints = sorted(found, key=lambda hint: (places[hint.deployment_id], hint.position))
    for hint in hints:
        hint.deployment = judged[hint.deployment_id]
    return hints


def guide_of(user: User) -> Guide:
    """Return the guide of the user's project with the most deployments. Four queries; without a project up to three."""
    project = projects_with_facts(user).order_by("-last_number", "id").first()
    if project is None:
        return Guide(Facts(), may_create=may_create_project(user))
    environments = list(Environment.objects.not_deleted().filter(project=project).order_by("id"))
    environment = next((one for one in environments if one.metrics_endpoint), environments[0] if environments else None)
    answered = MetricSample.objects.filter(
        environment__in=[one.pk for one in environments], collected_at__gte=timezone.now() - ANSWERED_WITHIN
    ).exists()
    facts = Facts(
        has_project=True,
        has_endpoint=any(one.metrics_endpoint for one in environments),
        answered=answered,
        has_key=project.has_key,
        key_used=project.key_used,
        triggered=project.last_number > 0,
        finished=project.finished,
        judged=project.judged,
    )
    latest = Deployment.objects.filter(project=project).order_by("-id").first()
    return Guide(facts, project, environment, latest)


def projects_with_facts(user: User) -> Any:
    """Return the user's projects with the facts for the guide."""
    keys = ApiKey.objects.usable().filter(project=OuterRef("pk"))
    own = Deployment.objects.filter(project=OuterRef("pk"))
    return (
        Project.objects.visible_to(user)
        .filter(archived_at__isnull=True)
        .annotate(
            has_key=Exists(keys),
            key_used=Exists(keys.filter(last_used_at__isnull=False)),
            finished=Exists(own.filter(finished_at__isnull=False)),
            judged=Exists(own.filter(verdict__isnull=False)),
        )
    )
