"""Queries of the pages. They start from what the user may see; each function needs a fixed number of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, Manager, OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.shortcuts import get_object_or_404
from django.utils import timezone

from accounts.models import User
from accounts.permissions import Actions
from analysis.evidence import (
    BASELINE_SPAN,
    HISTORY_SAMPLES,
    load_left_out,
    load_neighbours,
    load_replaced,
    pre_samples,
    while_bad,
)
from analysis.judge.types import OK
from analysis.models import DeploymentVerdict, Feedback, Hint, Step
from analysis.recorded import LeftOut
from dashboard.deployments.acknowledgements import Said, all_said, read_said, said_in_short
from dashboard.findings import finding_in_words
from dashboard.labels import Status, status_of, verdict_of
from deployments.models import NEVER_JUDGED, Deployment, DeploymentQuerySet, State
from events.models import Event
from metrics.models import Group, MetricSample, Phase
from notifications.rollbacks.attempts import newer_than
from projects.models import Environment
from scheduler.models import JobStatus, ScheduledJob

COLLECTIONS = ("pre_collect", "post_collect")
ANALYSES = ("analysis",)
WIDE = ("summary", "fact", "failed_metrics", "checks", "quality", "basis", "policy", "evidence")
TIMELINE_EVENTS = ("freeze_forced", "rolled_back", "deployment_abandoned")
MISSED = (JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELLED)


@dataclass(frozen=True)
class Observed:
    """A deployment with its verdict and status."""

    deployment: Deployment

    @property
    def verdict(self) -> DeploymentVerdict | None:
        return verdict_of(self.deployment)

    @property
    def status(self) -> Status:
        return status_of(self.deployment)

    @property
    def in_progress(self) -> bool:
        return is_in_progress(self.deployment)


@dataclass(frozen=True)
class Row(Observed):
    """One row of the list.

    collected: stored POST samples, counted only while the window is open; finding: of a bad verdict, "" of others.
    """

    collected: int = 0
    finding: str = ""

    @property
    def said(self) -> str:
        """What was said last about the deployment, and by whom, "" for nothing."""
        return said_in_short(getattr(self.deployment, "said_last", None))


@dataclass(frozen=True)
class Detail(Observed):
    """One deployment with everything that its page shows.

    samples: its own; baseline: of the half hour before it, of a rollback also the PRE that it is compared with;
    history: POST of earlier deployments that were used (history_of); excluded: the left-out ones among these;
    collections: its pre_collect and post_collect jobs; analyses: its analysis job; acknowledgements: oldest first;
    events: of TIMELINE_EVENTS, oldest first: kind, parameters, at; actions: of the user; control: samples of its
    control group; steps: of its rollout.
    """

    hints: list[Hint]
    samples: list[MetricSample]
    baseline: list[MetricSample]
    history: list[MetricSample]
    history_of: list[Deployment]
    excluded: Sequence[LeftOut]
    collections: list[ScheduledJob]
    analyses: list[ScheduledJob]
    acknowledgements: list[Said]
    events: list[dict[str, Any]]
    actions: Actions
    control: list[MetricSample]
    steps: list[Step]

    def samples_of(self, phase: str) -> list[MetricSample]:
        return [sample for sample in self.samples if sample.phase == phase]

    @property
    def feedback(self) -> Feedback | None:
        return getattr(self.verdict, "feedback", None)

    @property
    def window_is_open(self) -> bool:
        return window_is_open(self.deployment)

    @property
    def missed(self) -> list[ScheduledJob]:
        return [job for job in self.collections if job.status in MISSED]


def is_in_progress(deployment: Deployment) -> bool:
    """Return whether a verdict, or the final one after an early one, is pending."""
    to_come = verdict_of(deployment) is None and deployment.state not in (State.ANALYZED, *NEVER_JUDGED)
    return to_come or window_is_open(deployment)


def window_is_open(deployment: Deployment) -> bool:
    """Return whether the verdict is early and the observation continues."""
    verdict = verdict_of(deployment)
    return verdict is not None and verdict.early and verdict.final is None and deployment.state == State.FINISHED


def seconds_until(moment: datetime | None) -> float | None:
    """Return the seconds that are left until then; None where it is unknown or over."""
    left = (moment - timezone.now()).total_seconds() if moment is not None else 0.0
    return left if left > 0 else None


def deployments_of(user: User) -> DeploymentQuerySet:
    return Deployment.objects.visible_to(user).select_related("project", "environment", "verdict")


def with_verdict(rows: Manager[Deployment] | QuerySet[Deployment]) -> QuerySet[Deployment]:
    """Join verdicts without the wide columns that lists do not show."""
    return rows.select_related("verdict").defer(*(f"verdict__{name}" for name in WIDE))


def with_latest(environments: QuerySet[Environment], part: slice = slice(None)) -> list[Any]:
    """Return the environments by name; `latest` of each is its last deployment, None if there is none. Two queries.

    part: places of those to return.
    """
    # By the time alone, as its index has it (dashboard/overview/queries.py).
    own = Deployment.objects.filter(environment=OuterRef("pk")).order_by("-started_at")
    rows: list[Any] = list(environments.annotate(latest_id=Subquery(own.values("id")[:1])).order_by("name")[part])
    found = with_verdict(Deployment.objects).in_bulk([row.latest_id for row in rows if row.latest_id])
    for row in rows:
        row.latest = Observed(found[row.latest_id]) if row.latest_id in found else None
    return rows


def findings_of(deployments: Iterable[Deployment]) -> dict[int, str]:
    """Return what bad verdicts found, in the active language. One query for their wide columns, none without any."""
    bad = {one.pk: one for one in deployments if (verdict := verdict_of(one)) is not None and verdict.verdict != OK}
    rows = DeploymentVerdict.objects.filter(deployment_id__in=bad) if bad else ()
    return {row.deployment_id: finding_in_words(row.judged, bad[row.deployment_id]) for row in rows}


def samples_so_far(deployments: Sequence[Deployment]) -> dict[int, int]:
    """Return the number of POST samples of each. One query, none without deployments."""
    rows = MetricSample.objects.of_all(deployments).filter(phase=Phase.POST)
    return dict(rows.values_list("deployment_id").annotate(Count("id")))


def deployment_detail(user: User, uuid: UUID) -> Detail:
    """Load a deployment. Five queries, one more with earlier deployments, two more without a verdict.

    Raises: Http404, the same for an unknown one and one of another team.
    """
    rows = deployments_of(user).select_related("verdict__feedback__given_by", "policy_version", "superseded_by")
    rows = rows.select_related(
        "environment__rollback_policy", "rollback_attempt__last_good", "rollback_attempt__rollback__verdict"
    )
    rows = rows.annotate(said=all_said(), is_replaced=newer_than(), events=timeline_events())
    deployment: Any = get_object_or_404(rows, uuid=uuid)
    jobs = ScheduledJob.objects.filter(deployment=deployment, job_type__in=(*COLLECTIONS, *ANALYSES))
    verdict = verdict_of(deployment)
    judged_on = verdict.standing.judged_on if verdict is not None else None
    helpers = earlier_deployments(deployment, judged_on.history_of if judged_on is not None else ())
    replaced = list(load_replaced([deployment]).values())
    about = samples_about(deployment, helpers, replaced)
    samples = [sample for sample in about if sample.group == Group.TREATMENT]
    own = [one for one in samples if one.deployment_id == deployment.pk and one.phase != Phase.STEP]
    others = [sample for sample in samples if sample.deployment_id != deployment.pk]
    helping = {helper.pk for helper in helpers}
    history = [sample for sample in others if sample.phase == Phase.POST and sample.deployment_id in helping]
    before = {None, *(one.pk for one in replaced)}
    baseline = [one for one in others if one.phase in (Phase.BASELINE, Phase.PRE) and one.deployment_id in before]
    by_place = list(jobs.order_by("-job_type", "sequence_index"))
    return Detail(
        deployment=deployment,
        hints=list(Hint.objects.filter(deployment=deployment).order_by("position")),
        samples=own,
        baseline=baseline,
        history=history[-HISTORY_SAMPLES:],
        history_of=helpers,
        excluded=judged_on.excluded if judged_on is not None else left_out_so_far(deployment, replaced, own, baseline),
        collections=[job for job in by_place if job.job_type in COLLECTIONS],
        analyses=[job for job in by_place if job.job_type in ANALYSES],
        acknowledgements=[read_said(one) for one in deployment.said],
        events=deployment.events,
        actions=deployment.project.actions_of(user),
        steps=list(Step.objects.filter(deployment=deployment).order_by("number")),
        control=[one for one in about if one.group == Group.CONTROL and one.deployment_id == deployment.pk],
    )


def timeline_events() -> ArraySubquery:
    """Return the events of a deployment that nothing else of it tells, as JSON: as long as events are kept."""
    rows = Event.objects.filter(deployment_id=OuterRef("pk"), kind__in=TIMELINE_EVENTS).order_by("pk")
    return ArraySubquery(rows.values(event=JSONObject(kind="kind", parameters="parameters", at="occurred_at")))


def siblings_of(deployment: Deployment) -> DeploymentQuerySet:
    """Return the deployments of the same environment."""
    # Filter by project, too: the index starts with it.
    return Deployment.objects.filter(project_id=deployment.project_id, environment_id=deployment.environment_id)


def neighbours_of(deployment: Deployment) -> dict[str, Deployment]:
    """Return the previous ("older") and the next ("newer") deployment of its environment. One query."""
    older = siblings_of(deployment).filter(pk__lt=deployment.pk).order_by("-pk")[:1]
    newer = siblings_of(deployment).filter(pk__gt=deployment.pk).order_by("pk")[:1]
    return {"older" if one.pk < deployment.pk else "newer": one for one in older.union(newer)}


def last_good_before(deployment: Deployment) -> Deployment | None:
    """Return the environment's last earlier deployment that one can roll back to. One query."""
    return siblings_of(deployment).filter(pk__lt=deployment.pk).restorable().order_by("-pk").first()


def deployment_of(user: User, uuid: UUID) -> tuple[Deployment, Actions]:
    """Return a deployment with the columns for judging, and the user's actions. Two queries. Raises Http404."""
    rows = deployments_of(user).select_related("verdict__feedback", "policy_version")
    deployment = get_object_or_404(rows, uuid=uuid)
    return deployment, deployment.project.actions_of(user)


def samples_about(
    deployment: Deployment, helpers: list[Deployment], replaced: Sequence[Deployment]
) -> list[MetricSample]:
    """Return the samples of these deployments, and of the baseline of the first and the replaced one; oldest first.

    Also those of control groups, if it has one.
    """
    groups = Group.values if deployment.control is not None else (Group.TREATMENT,)
    rows = MetricSample.objects.of_all([deployment, *helpers, *replaced], groups=groups)
    for one in (deployment, *replaced):
        rows |= MetricSample.objects.measured().filter(
            environment_id=deployment.environment_id,
            phase=Phase.BASELINE,
            collected_at__gte=one.started_at - BASELINE_SPAN,
            collected_at__lte=one.started_at,
        )
    return list(rows.order_by("collected_at", "id"))


def earlier_deployments(deployment: Deployment, ids: Sequence[int]) -> list[Deployment]:
    if not ids:
        return []
    rows = Deployment.objects.filter(environment_id=deployment.environment_id, pk__in=ids)
    return list(rows.order_by("number"))


def left_out_so_far(
    deployment: Deployment, replaced: Sequence[Deployment], own: list[MetricSample], before: list[MetricSample]
) -> Sequence[LeftOut]:
    """Return the samples that the judge would leave out now."""
    [compared_before] = replaced or [deployment]
    neighbours = load_neighbours([deployment, *replaced])
    periods = load_left_out([deployment, *replaced], neighbours).get(deployment.environment_id, [])
    left_out = pre_samples(compared_before, before if replaced else own, before, periods)[1]
    return [*left_out, *(one for bad in replaced for one in while_bad(deployment, bad, own, before))]
