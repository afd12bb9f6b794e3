"""The rollback of a deployment, as its page shows it."""

from dataclasses import dataclass
from typing import Any

from accounts.permissions import Action
from common.validation import localized
from dashboard.deployments.queries import Detail
from dashboard.labels import Status, verdict_of
from notifications.headlines import fact_of
from notifications.models import AttemptState, Result, RollbackAttempt
from notifications.rollbacks.attempts import why_not

KEYS = {
    AttemptState.ASKED: ("warning", "warning"),
    AttemptState.APPROVED: ("neutral", "pending"),
    AttemptState.SENDING: ("neutral", "pending"),
    AttemptState.SENT: ("ok", "ok"),
    AttemptState.FAILED: ("critical", "rollback"),
    AttemptState.UNKNOWN: ("critical", "rollback"),
    AttemptState.WITHDRAWN: ("warning", "warning"),
}


@dataclass(frozen=True, slots=True)
class RollbackView:
    """attempt: None: none yet. why_not: why there cannot be one now, "" if there can."""

    attempt: RollbackAttempt | None
    status: Status | None
    error: str
    why_not: str
    may_approve: bool
    verdict: Any

    @property
    def is_under_way(self) -> bool:
        """Return whether the answer of the receiver is still to come."""
        return self.attempt is not None and self.attempt.state in (AttemptState.APPROVED, AttemptState.SENDING)

    @property
    def failed(self) -> bool:
        return self.attempt is not None and self.attempt.result in (Result.NOT_OK, Result.MISSING)


def rollback_view(detail: Detail) -> RollbackView | None:
    """Return what the page shows of the rollback: None where there is none and none is possible."""
    deployment = detail.deployment
    attempt: RollbackAttempt | None = getattr(deployment, "rollback_attempt", None)
    why = why_not(deployment)
    if attempt is None and why is not None:
        return None
    waiting = attempt is None or attempt.state == AttemptState.ASKED
    error = fact_of(attempt.error) if attempt is not None else None
    status = None
    if attempt is not None:
        state = AttemptState(attempt.state)
        status = Status(*KEYS[state], state.label)
    return RollbackView(
        attempt=attempt,
        status=status,
        error=localized(error) if error else "",
        why_not=localized(why) if why and waiting else "",
        may_approve=waiting and why is None and Action.APPROVE_ROLLBACK in detail.actions,
        verdict=verdict_of(attempt.rollback) if attempt is not None and attempt.rollback else None,
    )
