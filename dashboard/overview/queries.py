"""Queries of the overview. They start from what the user may see, and their number is fixed.

One of them (standings.py) reads all environments, the others what the page shows of them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import TruncDate
from django.utils import timezone

from accounts.models import User
from accounts.permissions import Action, may_create_project, teams_for
from analysis.models import DeploymentVerdict, Hint, Severity
from dashboard.deployments.queries import samples_so_far, seconds_until, with_verdict
from dashboard.labels import Status, state_of, status_by_name, status_of, verdict_of
from dashboard.overview.parts import (
    Facts,
    Guide,
    HealthSummary,
    HistoryBar,
    NextSteps,
    first_day,
    health_of,
    history_bar_of,
)
from dashboard.overview.standings import (
    BARE_SHOWN,
    HINTS_SHOWN,
    PAGE_SIZE,
    UNDIVIDED,
    ListedProject,
    Selection,
    Standings,
    standings_of,
)
from deployments.models import Deployment, Kind
from metrics.models import MetricSample
from notifications.models import Channel
from projects.models import ApiKey, Environment, Project

# Limits the partitions searched for an answer of an endpoint.
ANSWERED_WITHIN = timedelta(days=30)
# A history bar reads deployments by their start; one that took longer from trigger to finish is not in it.
LONGEST_DEPLOYMENT = timedelta(days=30)
# Superusers see all teams.
TEAMS_READ = 200
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
    """The environments that a page shows, worst first, and what is known of all.

    in_trouble: those that the headline names, if it is about a verdict; watches: the first deployments in progress;
    hints: the first open critical ones.
    """

    selection: Selection
    standings: Standings
    rows: list[Row]
    in_trouble: list[Row]
    watches: list[Watch]
    hints: list[Hint]

    @property
    def summary(self) -> HealthSummary:
        return self.standings.summary

    @property
    def has_verdict(self) -> bool:
        return self.standings.judged > 0

    @property
    def any(self) -> bool:
        """Return whether there is an environment, or a project without one."""
        return self.summary.total > 0 or bool(self.standings.offered)

    @property
    def more_hints(self) -> int:
        return self.standings.critical - len(self.hints)

    @property
    def more_watches(self) -> int:
        return self.standings.going - len(self.watches)

    @property
    def more_rows(self) -> int:
        """Return the number of environments below the page."""
        matching = self.standings.matching
        return max(0, matching - self.selection.page * PAGE_SIZE) if matching > UNDIVIDED else 0

    @property
    def adds(self) -> int:
        """Return how many of them the next page adds."""
        return min(self.more_rows, PAGE_SIZE)

    @property
    def first_added(self) -> int:
        """Return the place, in the rows, of the first environment that the last page added."""
        return (self.selection.page - self.selection.first) * PAGE_SIZE

    @property
    def is_searchable(self) -> bool:
        return self.selection.is_filtered or self.summary.total > UNDIVIDED

    @property
    def states(self) -> list[tuple[str, int, str]]:
        """Return each health with its number of environments, and the query of the URL that lists these."""
        return [
            (health, number, self.selection.of_health(health).query) for health, number in self.summary.counts.items()
        ]

    @property
    def bare(self) -> list[ListedProject]:
        """Return projects without an environment, which come last."""
        return [] if self.more_rows else self.standings.bare[:BARE_SHOWN]

    @property
    def more_bare(self) -> bool:
        return not self.more_rows and len(self.standings.bare) > BARE_SHOWN


def projects_of(user: User) -> QuerySet[Project]:
    """Return the user's projects that are not archived."""
    return Project.objects.visible_to(user).filter(archived_at__isnull=True)


def overview_of(projects: QuerySet[Project], selection: Selection | None = None) -> Overview:
    """Load the overview of these projects. Six queries, one more during an observation; fewer with less to show."""
    selection = selection or Selection()
    standings = standings_of(projects, selection)
    watched = deployments_by_id([*standings.watched, *standings.watched_on_page])
    shown = {*standings.page, *standings.in_trouble, *standings.hinted}
    environments = environments_of({*shown, *(one.environment_id for one in watched.values())})
    deployments = deployments_by_id([pk for one in environments.values() for pk in (one.latest_id, one.judged_id)])
    # An environment may have been deleted meanwhile.
    observed = [one for one in watched.values() if one.environment_id in environments]
    for deployment in (*deployments.values(), *observed):
        deployment.environment = environments[deployment.environment_id]
        deployment.project = deployment.environment.project
    watches = watches_of(observed)
    watches_in: defaultdict[int, list[Watch]] = defaultdict(list)
    for watch in watches.values():
        watches_in[watch.deployment.environment_id].append(watch)
    histories = history_bars_of([environments[pk] for pk in standings.page if pk in environments])
    rows = {
        pk: Row(
            environment=one,
            judged=deployments.get(one.judged_id),
            latest=deployments.get(one.latest_id),
            watches=watches_in[pk],
            history=histories.get(pk, EMPTY),
        )
        for pk, one in environments.items()
    }
    return Overview(
        selection=selection,
        standings=standings,
        rows=[rows[pk] for pk in standings.page if pk in rows],
        in_trouble=[rows[pk] for pk in standings.in_trouble if pk in rows and rows[pk].judged is not None],
        watches=[watches[pk] for pk in standings.watched if pk in watches],
        hints=open_hints([rows[pk] for pk in standings.hinted if pk in rows]),
    )


def environments_of(ids: Collection[int]) -> dict[int, Any]:
    """Return environments by id, with the ids of the latest deployment and of the latest with a verdict."""
    # Order by time only, like the index: with the id added, PostgreSQL reads the rows of all environments.
    own = Deployment.objects.filter(environment=OuterRef("pk")).order_by("-started_at")
    rows: Any = (
        Environment.objects.not_deleted()
        .filter(pk__in=ids)
        .annotate(
            latest_id=Subquery(own.values("id")[:1]),
            judged_id=Subquery(own.filter(verdict__isnull=False).values("id")[:1]),
        )
        .select_related("project")
        .only("id", "name", "metrics_endpoint", "source_kinds", "endpoint_blocked_at", "project__uuid", "project__name")
    )
    return {row.pk: row for row in rows}


def deployments_by_id(ids: Iterable[int | None]) -> dict[int, Deployment]:
    return with_verdict(Deployment.objects).in_bulk({pk for pk in ids if pk is not None})


def watches_of(deployments: Sequence[Deployment]) -> dict[int, Watch]:
    """Return what is shown of running and observed deployments, by id, latest first."""
    counts = samples_so_far([one for one in deployments if one.finished_at is not None])
    latest_first = sorted(deployments, key=lambda one: (one.started_at, one.pk), reverse=True)
    return {one.pk: Watch(one, counts.get(one.pk, 0), seconds_until(one.window_ends_at)) for one in latest_first}


def history_bars_of(environments: Sequence[Any]) -> dict[int, HistoryBar]:
    """Return by environment the verdicts of the last 30 days, by day of finish in the user's time zone."""
    today = timezone.localdate()
    since = timezone.make_aware(datetime.combine(first_day(today), time()))
    counted = (
        Deployment.objects.filter(
            environment__in=[one.pk for one in environments],
            started_at__gte=since - LONGEST_DEPLOYMENT,
            finished_at__gte=since,
            verdict__isnull=False,
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
    """Return the first critical hints of each environment's latest judged deployment, in the order of the rows."""
    judged = {row.judged.pk: row.judged for row in rows if row.judged is not None}
    places = {pk: place for place, pk in enumerate(judged)}
    found = Hint.objects.filter(deployment__in=list(judged), severity=Severity.CRITICAL).only(
        "id", "deployment_id", "position", "code", "metric", "severity", "title", "details", "created_at"
    )
    hints = sorted(found, key=lambda hint: (places[hint.deployment_id], hint.position))[:HINTS_SHOWN]
    for hint in hints:
        hint.deployment = judged[hint.deployment_id]
    return hints


def guide_of(user: User) -> Guide:
    """Return the guide of the user's project with the most deployments. Four queries; without a project up to three."""
    project = projects_with_facts(user).order_by("-last_number", "id").first()
    if project is None:
        return Guide(Facts(), may_create=may_create_project(user))
    environments = list(Environment.objects.not_deleted().filter(project=project).order_by("id"))
    environment = next((one for one in environments if one.measured), environments[0] if environments else None)
    answered = MetricSample.objects.filter(
        environment__in=[one.pk for one in environments], collected_at__gte=timezone.now() - ANSWERED_WITHIN
    ).exists()
    facts = Facts(
        has_project=True,
        has_endpoint=any(one.measured for one in environments),
        answered=answered,
        has_key=project.has_key,
        key_used=project.key_used,
        triggered=project.triggered,
        finished=project.finished,
        judged=project.judged,
    )
    latest = Deployment.objects.filter(project=project).order_by("-id").first()
    return Guide(facts, project, environment, latest)


def next_steps_of(user: User, rows: Sequence[Row]) -> NextSteps | None:
    """Return what is left to set up; None for users who may not, and where nothing is. One query.

    A service is connected where a key that a person made is in use, or a deployment on the page names its pipeline: the
    demo has neither.
    """
    used = ApiKey.objects.usable().filter(last_used_at__isnull=False, created_by__isnull=False)
    teams = teams_for(user, Action.MANAGE_CHANNELS).annotate(
        notified=Exists(Channel.objects.active().filter(team=OuterRef("pk"))),
        connected=Exists(used.filter(project__team=OuterRef("pk"))),
    )
    found: list[Any] = list(teams[:TEAMS_READ])
    if not found:
        return None
    shown = [one for row in rows for one in (row.latest, row.judged) if one is not None]
    steps = NextSteps(
        connected=any(one.connected for one in found) or any(one.url for one in shown),
        notified=any(one.notified for one in found),
        read=next((row.judged for row in rows if row.judged is not None), None),
        team=found[0] if len(found) == 1 else None,
    )
    return None if steps.all_done else steps


def projects_with_facts(user: User) -> Any:
    """Return the user's projects with the facts for the guide."""
    keys = ApiKey.objects.usable().filter(project=OuterRef("pk"))
    own = Deployment.objects.filter(project=OuterRef("pk"))
    # A verification takes no pipeline.
    piped = own.exclude(kind=Kind.VERIFICATION)
    return (
        Project.objects.visible_to(user)
        .filter(archived_at__isnull=True)
        .annotate(
            has_key=Exists(keys),
            key_used=Exists(keys.filter(last_used_at__isnull=False)),
            triggered=Exists(piped),
            finished=Exists(piped.filter(finished_at__isnull=False)),
            judged=Exists(own.filter(verdict__isnull=False)),
        )
    )
