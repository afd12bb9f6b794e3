"""Actions of operators on projects of any team: change plans, block endpoints."""

from collections.abc import Iterable
from typing import Any, TypeVar

import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from projects.models import Environment, Project
from projects.plans import PLANS

logger = structlog.get_logger(__name__)

Row = TypeVar("Row", Project, Environment)


def changed_rows(rows: Iterable[Row], condition: Q, **columns: Any) -> list[Row]:
    """Update each row for which the condition still holds, in one transaction; return those rows."""
    with transaction.atomic():
        return [row for row in rows if type(row)._default_manager.filter(condition, pk=row.pk).update(**columns)]


def change_plan(projects: Iterable[Project], plan: str, *, by: str) -> list[Project]:
    """Put the projects on the plan; return those that were on another one. Deployments under way keep their window.

    Raises ValueError for a plan that does not exist.
    """
    if plan not in PLANS:
        raise ValueError(f"There is no plan {plan!r}: choose one of {', '.join(PLANS)}.")
    changed = changed_rows(projects, ~Q(plan=plan), plan=plan)
    for project in changed:
        logger.info("plan_changed", project=str(project.uuid), plan=plan, by=by)
    return changed


def block_endpoints(environments: Iterable[Environment], reason: str, *, by: str) -> list[Environment]:
    """Block the endpoints of these environments; return those that were not blocked before.

    Samples not taken count as missing, with the reason: no verdict reads ok for lack of samples.
    """
    block = {"endpoint_blocked_at": Now(), "endpoint_blocked_reason": reason}
    changed = changed_rows(environments, Q(endpoint_blocked_at__isnull=True), **block)
    for environment in changed:
        logger.warning("endpoint_blocked", environment=environment.pk, reason=reason, by=by)
    return changed


def unblock_endpoints(environments: Iterable[Environment], *, by: str) -> list[Environment]:
    """Unblock the endpoints of these environments; return those that were blocked."""
    unblock: dict[str, Any] = {"endpoint_blocked_at": None, "endpoint_blocked_reason": ""}
    changed = changed_rows(environments, Q(endpoint_blocked_at__isnull=False), **unblock)
    for environment in changed:
        logger.info("endpoint_unblocked", environment=environment.pk, by=by)
    return changed
