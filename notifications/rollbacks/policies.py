"""What an environment does where a rollback is recommended: set it, test it, and its record so far."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import Now

from accounts.models import User
from analysis.models import DeploymentVerdict
from deployments.models import Kind
from explain.errors import ExplainedError
from notifications.channels.base import Sent
from notifications.rollbacks.payload import Outcome, Request, request_for, send, test_body_of
from notifications.services import new_signing_secret
from projects.models import Environment, RollbackMode, RollbackPolicy
from scheduler.queue import database_now

RECORD_DAYS = 90


class NoReceiver(ExplainedError):
    """Rollbacks need a webhook."""


@dataclass(frozen=True, slots=True)
class Record:
    """What an environment's verdicts recommended within RECORD_DAYS. right, wrong, unmarked: of the recommended ones.

    missed: other verdicts that people marked as wrong, because a rollback was due.
    """

    judged: int
    recommended: int
    right: int
    wrong: int
    missed: int

    @property
    def unmarked(self) -> int:
        return self.recommended - self.right - self.wrong


def record_of(environment: Environment) -> Record:
    """Count the verdicts of deployments: early ones and those in shadow mode too, as far as they are conclusive."""
    rows = DeploymentVerdict.objects.filter(
        deployment__environment=environment,
        deployment__kind=Kind.DEPLOYMENT,
        deployment__started_at__gt=Now() - timedelta(days=RECORD_DAYS),
    )
    due = Q(verdict="rollback_recommended", conclusive=True)
    return Record(
        **rows.aggregate(
            judged=Count("id"),
            recommended=Count("id", filter=due),
            right=Count("id", filter=due & Q(feedback__right=True)),
            wrong=Count("id", filter=due & Q(feedback__right=False)),
            missed=Count("id", filter=~due & Q(feedback__should_have_been="rollback_recommended")),
        )
    )


def set_policy(
    environment: Environment, *, mode: str, url: str = "", secret: str = "", minutes: int = 30, by: User | None = None
) -> str:
    """Set what is done; an empty URL or secret stays as it is. Return a secret that was made for it, "" for none.

    Raises: NoReceiver where a mode needs a URL and there is none.
    """
    with transaction.atomic():
        policy, _ = RollbackPolicy.objects.select_for_update().get_or_create(environment=environment)
        if mode != RollbackMode.OFF and not url and not policy.url:
            raise NoReceiver("rollback.needs_url", field="url")
        created = new_signing_secret() if (url or policy.url) and not secret and not policy.secret else ""
        policy.mode, policy.verify_within_minutes, policy.changed_by = mode, minutes, by
        policy.url, policy.secret = url or policy.url, secret or created or policy.secret
        policy.changed_at = database_now()
        policy.save()
    return created


def send_test(environment: Environment) -> Outcome:
    """Send a request that can roll nothing back, and wait for the answer."""
    policy = RollbackPolicy.objects.filter(environment=environment).first() or RollbackPolicy()
    request_id = str(uuid.uuid4())
    request = request_for(policy, request_id, test_body_of(environment, request_id, database_now()))
    return send(request) if isinstance(request, Request) else Outcome(Sent(), request)
