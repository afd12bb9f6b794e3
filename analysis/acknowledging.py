"""Acknowledge a deployment: a person investigates it, rolled it back, or ignores its verdict for a reason.

Several people may acknowledge one deployment, each as often as something changes. A repetition, as when a button is
pressed twice, changes nothing.
"""

from dataclasses import dataclass

import structlog
from django.db import connection, transaction

from accounts.models import User
from analysis.models import Acknowledgement, DeploymentVerdict, Feedback, What
from analysis.outbox import refresh_messages
from analysis.services import give_feedback
from deployments.models import Deployment
from deployments.outbox import event_about
from deployments.shown import UNREADABLE, visible
from events.outbox import emit
from explain.errors import ExplainedError

logger = structlog.get_logger(__name__)

# More come from a script in a loop.
MOST_OF_ONE = 100


class CannotAcknowledge(ExplainedError):
    """The acknowledgement is refused; `field` names the wrong value."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The stored row, whether it is new, and whether it marked the verdict as right."""

    row: Acknowledgement
    is_new: bool
    marked: bool = False


def acknowledge(
    deployment: Deployment, what: str, *, who: str, via: str, by: User | None = None, reason: str = ""
) -> Acknowledged:
    """Store an acknowledgement of a deployment and emit its event.

    who: their current name; via: where it was sent from (Via); by: their account, if they have one here; deployment:
    with project and environment. ROLLED_BACK marks a recommendation to roll back as right, unless it has a mark.

    Raises: CannotAcknowledge, Deployment.DoesNotExist.
    """
    who, reason = readable(who, 150), readable(reason, 500)
    if what == What.IGNORED and not reason:
        raise CannotAcknowledge("acknowledged.no_reason", field="reason")
    with transaction.atomic():
        # One after the other: of two buttons pressed at once the second is a repetition.
        Deployment.objects.select_for_update(no_key=True).only("pk").get(pk=deployment.pk)
        verdict = DeploymentVerdict.objects.filter(deployment=deployment).only("verdict", "deployment_id").first()
        if what == What.IGNORED and verdict is None:
            raise CannotAcknowledge("acknowledged.no_verdict", field="what")
        said = list(Acknowledgement.objects.filter(deployment=deployment).order_by("pk"))
        repeated = repetition(said, what, (who, via), reason)
        if repeated is not None:
            return Acknowledged(repeated, is_new=False)
        if len(said) >= MOST_OF_ONE:
            raise CannotAcknowledge("acknowledged.too_often", field="what", most=MOST_OF_ONE)
        row = Acknowledgement.objects.create(
            deployment=deployment,
            environment_id=deployment.environment_id,
            what=what,
            reason=reason,
            who=who,
            via=via,
            by=by,
        )
        marked = mark(verdict, what, by)
        name = verdict.verdict if verdict is not None else None
        emit(event_about(deployment, "acknowledged", what=what, who=who, via=via, reason=reason, about=name))
        announce(deployment)
    logger.info("deployment_acknowledged", deployment_id=str(deployment.uuid), what=what, via=via)
    return Acknowledged(row, is_new=True, marked=marked)


def readable(text: str, most: int) -> str:
    """Return the text without control characters; "" where there is nothing to see, as of joiners alone."""
    shown = UNREADABLE.sub("", text).strip()[:most].rstrip()
    return shown if visible(shown) else ""


def repetition(said: list[Acknowledgement], what: str, person: tuple[str, str], reason: str) -> Acknowledgement | None:
    """Return the row of the same acknowledgement by the person (who, via), unless another kind came since."""
    for row in reversed(said):
        if row.what != what:
            return None
        if (row.who, row.via) == person:
            return row if reason in ("", row.reason) else None
    return None


def mark(verdict: DeploymentVerdict | None, what: str, by: User | None) -> bool:
    """Mark a recommendation to roll back that was followed as right; return False if it has a mark already."""
    if verdict is None or what != What.ROLLED_BACK or verdict.verdict != "rollback_recommended":
        return False
    if Feedback.objects.filter(verdict=verdict).exists():
        return False
    give_feedback(verdict, right=True, by=by)
    return True


def announce(deployment: Deployment) -> None:
    """Have open pages of the deployment updated (deployments/changes.py), and messages with buttons about it."""
    refresh_messages(deployment.pk)
    with connection.cursor() as cursor:
        ids = [[deployment.pk], [deployment.environment_id]]
        cursor.execute("SELECT announce_changes(%s::bigint[], %s::bigint[], false)", ids)
