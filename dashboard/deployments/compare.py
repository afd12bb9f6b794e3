"""Compare a deployment with an earlier one of the same environment."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404

from accounts.models import User
from analysis.judge.types import METRICS
from dashboard.charts import RATIOS, Chart, Span, change_between
from dashboard.deployments.detail import charts_of
from dashboard.deployments.queries import Detail, deployment_detail
from dashboard.overlay import Overlay, overlay
from deployments.models import Deployment
from metrics.models import MetricSample, Phase

OFFERED = 20


@dataclass(frozen=True, slots=True)
class MetricPair:
    """One metric of both. difference: of the levels after, relative or in points like a chart's change."""

    metric: str
    mine: Chart | None
    other: Chart | None
    difference: float | None
    drawn: Overlay | None

    @property
    def in_points(self) -> bool:
        return self.metric in RATIOS


@dataclass(frozen=True, slots=True)
class Pair:
    """Two deployments of one environment; other: None if there is none. offered: other choices, newest first."""

    mine: Detail
    other: Detail | None
    offered: list[Deployment]
    metrics: list[MetricPair]


def compared(user: User, uuid: UUID, other: str | None) -> Pair:
    """Return the deployment and the one to compare with: `other`, else the one finished before it.

    Raises: Http404, also if they are of different environments, or the same.
    """
    mine = deployment_detail(user, uuid)
    offered = offered_for(mine.deployment)
    if other is None:
        before = next((one for one in offered if one.pk < mine.deployment.pk), None) or previous(mine.deployment)
        beside = deployment_detail(user, before.uuid) if before is not None else None
    else:
        beside = deployment_detail(user, uuid_of(other))
        same = beside.deployment.environment_id == mine.deployment.environment_id
        if not same or beside.deployment.pk == mine.deployment.pk:
            raise Http404("These two cannot be compared.")
    return Pair(mine, beside, offered, pairs(mine, beside) if beside is not None else [])


def uuid_of(text: str) -> UUID:
    """Parse an id.

    Raises: Http404.
    """
    try:
        return UUID(text)
    except ValueError:
        raise Http404("There is no such deployment.") from None


def finished_beside(deployment: Deployment) -> QuerySet[Deployment]:
    rows = Deployment.objects.filter(project_id=deployment.project_id, environment_id=deployment.environment_id)
    return rows.filter(finished_at__isnull=False).exclude(pk=deployment.pk).select_related("verdict").order_by("-pk")


def offered_for(deployment: Deployment) -> list[Deployment]:
    """Return the latest finished deployments."""
    return list(finished_beside(deployment)[:OFFERED])


def previous(deployment: Deployment) -> Deployment | None:
    """Return the deployment finished before this one."""
    return finished_beside(deployment).filter(pk__lt=deployment.pk).first()


def pairs(mine: Detail, other: Detail) -> list[MetricPair]:
    ours, theirs = by_metric(mine), by_metric(other)
    return [
        MetricPair(
            metric=metric,
            mine=ours.get(metric),
            other=theirs.get(metric),
            difference=difference(ours.get(metric), theirs.get(metric), metric),
            drawn=drawn(metric, mine, other),
        )
        for metric in METRICS
    ]


def by_metric(detail: Detail) -> dict[str, Chart]:
    return {chart.metric: chart for chart in charts_of(detail)}


def difference(ours: Chart | None, theirs: Chart | None, metric: str) -> float | None:
    """Return the difference of the levels after both; None if one is missing."""
    if ours is None or theirs is None:
        return None
    return change_between(theirs.after, ours.after, ratio=metric in RATIOS)


def drawn(metric: str, mine: Detail, other: Detail) -> Overlay | None:
    """Draw both windows in one chart, None if neither has a sample."""
    ours, theirs = (observed(detail) for detail in (mine, other))
    return overlay(metric, ours, theirs) if ours[1] or theirs[1] else None


def observed(detail: Detail) -> tuple[Span, list[MetricSample]]:
    return span_of(detail.deployment), detail.samples_of(Phase.POST)


def span_of(deployment: Deployment) -> Span:
    return Span(deployment.started_at, deployment.finished_at, deployment.window_samples, deployment.interval_s)
