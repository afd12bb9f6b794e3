"""Close deployments without a finish: superseded or abandoned. They get no verdict, so they never read as ok."""

from datetime import UTC, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from deployments.models import NEVER_JUDGED, Deployment, State
from deployments.outbox import event_about
from events.outbox import emit_all
from explain.facts import Fact
from scheduler.queue import cancel

logger = structlog.get_logger(__name__)

# Jobs of a deployment before its finish.
UNFINISHED = ("pre_collect", "step_collect", "step_analysis")
# Deployments per transaction.
BATCH = 200


def supersede(deployment: Deployment) -> bool:
    """Close a running deployment for a later one; return False where it is no longer running."""
    closed = Deployment.objects.filter(pk=deployment.pk, state=State.RUNNING).update(state=State.SUPERSEDED)
    if closed != 1:
        return False
    cancel([deployment.pk], UNFINISHED, Fact("superseded"))
    logger.info("deployment_superseded", deployment_id=str(deployment.uuid))
    return True


def abandon_stale() -> int:
    """Close the deployments without a finish within SEQPULSE_ABANDON_AFTER_HOURS; return how many."""
    hours = settings.SEQPULSE_ABANDON_AFTER_HOURS
    total = 0
    while True:
        with transaction.atomic():
            stale = Deployment.objects.filter(state=State.RUNNING, started_at__lt=Now() - timedelta(hours=hours))
            # A locked one is being finished.
            named = stale.select_related("project", "environment")
            found = list(named.select_for_update(skip_locked=True, of=("self",)).order_by("pk")[:BATCH])
            ids = [deployment.pk for deployment in found]
            Deployment.objects.filter(pk__in=ids, state=State.RUNNING).update(state=State.ABANDONED)
            cancel(ids, UNFINISHED, Fact("abandoned", {"hours": hours}))
            emit_all(event_about(deployment, "deployment_abandoned", hours=hours) for deployment in found)
        for deployment in found:
            logger.warning("deployment_abandoned", deployment_id=str(deployment.uuid), after_hours=hours)
        total += len(found)
        if len(found) < BATCH:
            return total


def why_closed(deployment: Deployment) -> Fact:
    """Return the note for calls about a deployment that is no longer running."""
    number = {"number": deployment.number}
    if deployment.state == State.SUPERSEDED:
        by = deployment.superseded_by
        return Fact("was_superseded_by", {**number, "by": by.number}) if by else Fact("was_superseded", number)
    return Fact("was_abandoned" if deployment.state == State.ABANDONED else "not_running", number)


def earlier_attempt(deployment: Deployment) -> list[Fact]:
    """Return the note for calls about a deployment whose idempotency key a later attempt brought too."""
    if deployment.attempts == 1:
        return []
    code = "attempt_without_verdict" if deployment.state in NEVER_JUDGED else "verdict_of_attempt"
    started = f"{deployment.started_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return [Fact(code, {"number": deployment.number, "started": started, "attempt": deployment.attempts})]
