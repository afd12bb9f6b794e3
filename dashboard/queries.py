"""What the pages read. Every query starts from what the person may see; each function needs a fixed number of them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count
from django.shortcuts import get_object_or_404

from analysis.models import DeploymentVerdict, Hint
from dashboard.words import Status, status_of
from deployments.models import NEVER_JUDGED, Deployment, DeploymentQuerySet, State
from metrics.models import MetricSample, Phase
from projects.models import Environment, Project, User
from scheduler.models import JobStatus, ScheduledJob

PAGE_SIZE = 25
COLLECTIONS = ("pre_collect", "post_collect")
MISSED = (JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list. collected: POST samples in so far; counted only while there is no verdict."""

    deployment: Deployment
    verdict: DeploymentVerdict | None
    collected: int = 0

    @property
    def status(self) -> Status:
        return status_of(self.deployment, self.verdict)

    @property
    def in_progress(self) -> bool:
        return is_in_progress(self.deployment, self.verdict)


@dataclass(frozen=True, slots=True)
class Page:
    """Deployments, newest first; older: the cursor of the next page, None on the last one."""

    rows: list[Row]
    older: int | None

    @property
    def in_progress(self) -> bool:
        return any(row.in_progress for row in self.rows)


@dataclass(frozen=True, slots=True)
class Detail:
    """One deployment with everything that its page shows. collections: its pre_collect and post_collect jobs."""

    deployment: Deployment
    verdict: DeploymentVerdict | None
    hints: list[Hint]
    samples: list[MetricSample]
    collections: list[ScheduledJob]

    @property
    def status(self) -> Status:
        return status_of(self.deployment, self.verdict)

    @property
    def in_progress(self) -> bool:
        return is_in_progress(self.deployment, self.verdict)

    def samples_of(self, phase: str) -> list[MetricSample]:
        return [sample for sample in self.samples if sample.phase == phase]

    @property
    def missed(self) -> list[ScheduledJob]:
        return [job for job in self.collections if job.status in MISSED]


def is_in_progress(deployment: Deployment, verdict: DeploymentVerdict | None) -> bool:
    """Whether a verdict is still to come."""
    return verdict is None and deployment.state not in (State.ANALYZED, *NEVER_JUDGED)


def deployments_of(user: User) -> DeploymentQuerySet:
    # The secret is left out: no page needs it, and reading it would decrypt it once per row.
    return (
        Deployment.objects.visible_to(user)
        .select_related("project", "environment", "verdict")
        .defer("environment__hmac_secret")
    )


def verdict_of(deployment: Deployment) -> DeploymentVerdict | None:
    return getattr(deployment, "verdict", None)


def deployments_page(user: User, *, before: int | None = None, size: int = PAGE_SIZE) -> Page:
    """The deployments that the person may see with an id below `before`, newest first. Two queries."""
    rows = deployments_of(user).order_by("-id")
    if before is not None:
        rows = rows.filter(id__lt=before)
    # One more than is shown tells whether there is a next page.
    found = list(rows[: size + 1])
    shown = found[:size]
    open_ids = [deployment.pk for deployment in shown if verdict_of(deployment) is None]
    counts = dict(
        MetricSample.objects.filter(deployment_id__in=open_ids, phase=Phase.POST)
        .values_list("deployment_id")
        .annotate(Count("id"))
    )
    return Page(
        rows=[Row(deployment, verdict_of(deployment), counts.get(deployment.pk, 0)) for deployment in shown],
        older=shown[-1].pk if len(found) > size else None,
    )


def deployment_detail(user: User, uuid: UUID) -> Detail:
    """One deployment. Four queries. Raises Http404, the same for an unknown one and one the person may not see."""
    deployment = get_object_or_404(deployments_of(user), uuid=uuid)
    return Detail(
        deployment=deployment,
        verdict=verdict_of(deployment),
        hints=list(Hint.objects.filter(deployment=deployment).order_by("position")),
        samples=list(MetricSample.objects.of(deployment)),
        collections=list(
            ScheduledJob.objects.filter(deployment=deployment, job_type__in=COLLECTIONS).order_by(
                "-job_type", "sequence_index"
            )
        ),
    )


def first_environment(user: User) -> tuple[Project | None, Environment | None]:
    """A project of the person and an environment of it, for the examples on an empty page."""
    project = Project.objects.visible_to(user).order_by("id").first()
    if project is None:
        return None, None
    return project, Environment.objects.filter(project=project).defer("hmac_secret").order_by("id").first()
