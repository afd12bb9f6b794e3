"""Actions of operators on projects of any team: change plans, block endpoints."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from django.db import transaction
from django.utils import timezone

from projects.models import Environment, Project
from projects.plans import PLANS

logger = structlog.get_logger(__name__)


def change_plan(projects: Iterable[Project], plan: str, *, by: str) -> list[Project]:
    """Put the projects on the plan; return those that were on another one. Deployments under way keep their window.

    Raises ValueError for a plan that there is not.
    """
    if plan not in PLANS:
        raise ValueError(f"There is no plan {plan!r}: choose one of {', '.join(PLANS)}.")
    changed = []
    with transaction.atomic():
        for project in projects:
            if Project.objects.filter(pk=project.pk).exclude(plan=plan).update(plan=plan):
                changed.append(project)
                logger.info("plan_changed", project=str(project.uuid), plan=plan, by=by)
    return changed


def block_endpoints(environments: Iterable[Environment], reason: str, *, by: str) -> list[Environment]:
    """Block the endpoints of these environments; return those that were not blocked before.

    What would have been measured counts as missed, with the reason: no verdict reads ok for lack of samples.
    """
    changed = []
    with transaction.atomic():
        for environment in environments:
            rows = Environment.objects.filter(pk=environment.pk, endpoint_blocked_at__isnull=True)
            if rows.update(endpoint_blocked_at=timezone.now(), endpoint_blocked_reason=reason):
                changed.append(environment)
                logger.warning("endpoint_blocked", environment=environment.pk, reason=reason, by=by)
    return changed


def unblock_endpoints(environments: Iterable[Environment], *, by: str) -> list[Environment]:
    """Unblock the endpoints of these environments; return those that were blocked."""
    changed = []
    with transaction.atomic():
        for environment in environments:
            rows = Environment.objects.filter(pk=environment.pk, endpoint_blocked_at__isnull=False)
            if rows.update(endpoint_blocked_at=None, endpoint_blocked_reason=""):
                changed.append(environment)
                logger.info("endpoint_unblocked", environment=environment.pk, by=by)
    return changed
