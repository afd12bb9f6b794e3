"""Compare a deployment with an earlier one of the same environment."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import Http404

from accounts.models import User
from analysis.charts import change_between, is_ratio, overlay
from analysis.judge.types import METRICS
from dashboard.deployments.detail import charts_of, custom_metrics, span_with_missed
from dashboard.deployments.queries import Detail, deployment_detail, siblings_of
from deployments.models import Deployment
from metrics.models import Phase

OFFERED = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two deployments of one environment.

    other: None if there is none; offered: other choices, newest first; metrics: of each metric both charts, their
    overlay, and the difference of the levels after, relative or in points like a chart's change.
    """

    mine: Detail
    other: Detail | None
    offered: list[Deployment]
    metrics: list[dict[str, Any]]


def compared(user: User, uuid: UUID, other: str | None) -> Pair:
    """Return the deployment and the one to compare with: `other`, else the one finished before it.

    Raises: Http404, also if they are of different environments, or the same.
    """
    mine = deployment_detail(user, uuid)
    finished = siblings_of(mine.deployment).filter(finished_at__isnull=False).exclude(pk=mine.deployment.pk)
    finished = finished.select_related("verdict").order_by("-pk")
    offered = list(finished[:OFFERED])
    if other is None:
        before = next((one for one in offered if one.pk < mine.deployment.pk), None)
        before = before or finished.filter(pk__lt=mine.deployment.pk).first()
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


def pairs(mine: Detail, other: Detail) -> list[dict[str, Any]]:
    ours, theirs = ({chart.metric: chart for chart in charts_of(detail)} for detail in (mine, other))
    windows = [(span_with_missed(detail), detail.samples_of(Phase.POST)) for detail in (mine, other)]
    found = []
    custom = {one.name: one for detail in (mine, other) for one in custom_metrics(detail)}
    for metric in (*METRICS, *custom):
        own = custom.get(metric)
        left, right, in_points = ours.get(metric), theirs.get(metric), is_ratio(metric, own)
        if metric in custom and not left and not right:
            continue
        found.append(
            {
                "metric": metric,
                "mine": left,
                "other": right,
                "difference": change_between(right.after, left.after, ratio=in_points) if left and right else None,
                "in_points": in_points,
                "drawn": overlay(metric, *windows, custom=own) if any(samples for _span, samples in windows) else None,
            }
        )
    return found
