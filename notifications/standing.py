"""What became of a deployment since, and what people may still do about it: for messages with buttons.

Messages are sent with it, and changed whenever it changes (refreshing.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch

from analysis.judge.types import OK
from analysis.models import Acknowledgement, What
from deployments.models import Kind
from explain.facts import Fact
from explain.rendering import render
from notifications.headlines import AUTHOR, acknowledged, as_sentence, fact_of
from notifications.models import AttemptState, Result, RollbackAttempt
from notifications.plain import line
from notifications.rollbacks.attempts import AUTOMATIC, candidates, why_not

MOST_SAID = 5
WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Standing:
    """lines: facts, oldest first. actions: of the buttons that still make sense; starts_rollback: whether "Roll back"
    calls the environment's webhook.
    """

    lines: tuple[Fact, ...] = ()
    actions: tuple[str, ...] = ()
    starts_rollback: bool = False

    def texts(self, language: str) -> tuple[str, ...]:
        # What begins with a name stays as it is.
        texts = ((fact.code, render(fact, language)) for fact in self.lines)
        return tuple(as_sentence(text) if code.startswith("event.") else text for code, text in texts)


def standings_of(deployment_ids: Iterable[int]) -> dict[int, Standing]:
    """Return the standing of each of the deployments that there are. Three queries at most."""
    wanted = set(deployment_ids)
    if not wanted:
        return {}
    said = Prefetch("acknowledgements", Acknowledgement.objects.order_by("pk"))
    rows = candidates().filter(pk__in=wanted).select_related("rollback_attempt__rollback").prefetch_related(said)
    return {row.pk: standing_of(row, list(row.acknowledgements.all())) for row in rows}


def standing_of(deployment: Any, said: list[Acknowledgement]) -> Standing:
    """Return the standing of a deployment of `candidates`."""
    why = why_not(deployment)
    return Standing(
        tuple(lines_of(deployment, said)), tuple(actions_of(deployment, said, why)), starts_rollback=why is None
    )


def lines_of(deployment: Any, said: list[Acknowledgement]) -> Iterator[Fact]:
    for row in said[-MOST_SAID:]:
        yield acknowledged({"what": row.what, "who": row.who, "reason": row.reason}, row.at)
    if marked_wrong(deployment):
        yield Fact("standing.marked_wrong")
    attempt: RollbackAttempt | None = getattr(deployment, "rollback_attempt", None)
    if attempt is not None:
        yield from about_attempt(attempt)
    if deployment.is_replaced:
        yield Fact("standing.replaced")


def about_attempt(attempt: RollbackAttempt) -> Iterator[Fact]:
    if attempt.via == AUTOMATIC:
        yield Fact("standing.automatic")
    elif attempt.state != AttemptState.ASKED:
        yield Fact("standing.approved", {"who": line(attempt.who, AUTHOR) or Fact("says.somebody")})
    why = fact_of(attempt.error)
    if attempt.state == AttemptState.SENT:
        yield Fact("event.rollback_fired")
    elif attempt.state in (AttemptState.FAILED, AttemptState.WITHDRAWN):
        yield Fact("event.rollback_failed", {"why": why}) if why else Fact("event.rollback_failed.short")
    elif attempt.state == AttemptState.UNKNOWN:
        yield Fact("event.rollback_unknown", {"why": why}) if why else Fact("event.rollback_unknown.short")
    if attempt.result == Result.MISSING:
        yield Fact("standing.missing")
    elif attempt.result and attempt.rollback is not None:
        code = "standing.worked" if attempt.result == Result.WORKED else "standing.not_ok"
        yield Fact(code, {"number": attempt.rollback.number})


def actions_of(deployment: Any, said: list[Acknowledgement], why: Fact | None) -> Iterator[str]:
    """Yield the actions that still make sense. why: why its webhook may not be called."""
    if not said and not deployment.is_replaced:
        yield What.ON_IT
    if may_roll_back(deployment, said, why):
        yield What.ROLLED_BACK
    if getattr(deployment, "verdict", None) is not None and not marked_wrong(deployment):
        yield WRONG


def may_roll_back(deployment: Any, said: list[Acknowledgement], why: Fact | None) -> bool:
    """Return whether a rollback may be approved or, where there is no webhook, acknowledged."""
    attempt: RollbackAttempt | None = getattr(deployment, "rollback_attempt", None)
    if attempt is not None and attempt.state != AttemptState.ASKED:
        return False
    if why is None:
        return True
    verdict = getattr(deployment, "verdict", None)
    return (
        why.code == "rollback.off"
        and deployment.kind == Kind.DEPLOYMENT
        and not deployment.is_replaced
        and not marked_wrong(deployment)
        and all(row.what != What.ROLLED_BACK for row in said)
        and (verdict is None or verdict.standing.verdict.verdict != OK)
    )


def marked_wrong(deployment: Any) -> bool:
    feedback = getattr(getattr(deployment, "verdict", None), "feedback", None)
    return feedback is not None and not feedback.right
