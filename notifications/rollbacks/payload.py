"""What is sent to have a deployment rolled back (docs/rollback.schema.json), and sending it."""

import json
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured

from analysis.models import DeploymentVerdict
from common.links import public_link
from deployments.models import Deployment
from deployments.outbox import without_query
from explain.facts import Fact
from explain.rendering import render
from notifications.channels.base import SendError, Sent
from notifications.channels.posting import post
from notifications.channels.webhook import signature
from notifications.masking import without_secrets
from notifications.models import RollbackAttempt
from outbound.transfer import OutboundError
from projects.models import Environment, RollbackPolicy
from security.redaction import redact_text

logger = structlog.get_logger(__name__)

VERSION = 1


@dataclass(frozen=True, slots=True)
class Request:
    """A signed request that is to be sent."""

    url: str
    secret: str
    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answer of the receiver. why: reason of a failure; unclear: the request may have arrived."""

    sent: Sent
    why: Fact | None = None
    unclear: bool = False


def request_for(policy: RollbackPolicy, request_id: str, body: dict[str, Any]) -> Request | Fact:
    """Return the request; a fact where what is stored cannot be read."""
    try:
        url, secret = policy.url.open(), policy.secret.open()
    except (ImproperlyConfigured, ValueError):
        return Fact("rollback.unreadable")
    if not url or not secret:
        return Fact("rollback.no_receiver")
    return Request(url, secret, request_id, json.dumps(body).encode())


def body_of(attempt: RollbackAttempt, verdict: DeploymentVerdict, at: datetime) -> dict[str, Any]:
    """Return the body of the request to roll back. attempt: with deployment, project, environment and last_good."""
    bad, good = attempt.deployment, attempt.last_good
    return {
        "type": "rollback.requested",
        "version": VERSION,
        "timestamp": at.isoformat(),
        "attempt_id": str(attempt.uuid),
        **place_of(attempt.environment),
        "deployment": described(bad),
        "leave_commit": redact_text(bad.commit_sha) or None,
        "return_to": described(good) if good is not None else None,
        "reason": {
            "verdict": verdict.verdict,
            "confidence": verdict.confidence,
            "early": verdict.early,
            "summary": render(verdict.standing.verdict.summary),
        },
        "approved_by": {"name": attempt.who or None, "via": attempt.via},
    }


def test_body_of(environment: Environment, request_id: str, at: datetime) -> dict[str, Any]:
    """Return the body of a test. It names no deployment, so that nothing can be rolled back by it."""
    return {
        "type": "rollback.test",
        "version": VERSION,
        "timestamp": at.isoformat(),
        "attempt_id": request_id,
        **place_of(environment),
    }


def place_of(environment: Environment) -> dict[str, Any]:
    project = environment.project
    return {
        "project": {"id": str(project.uuid), "name": project.name},
        "environment": {"name": environment.name},
    }


def described(deployment: Deployment) -> dict[str, Any]:
    return {
        "id": str(deployment.uuid),
        "number": deployment.number,
        "commit": redact_text(deployment.commit_sha) or None,
        "branch": redact_text(deployment.branch) or None,
        "version": redact_text(deployment.version) or None,
        "url": without_query(deployment.url) or None,
        "page": public_link("dashboard:deployment", deployment.uuid) or None,
    }


def send(request: Request) -> Outcome:
    """Send the request, once. Never raises: what a receiver does is an outcome."""
    headers = {"Content-Type": "application/json", "webhook-id": request.id}
    headers |= signature(request.secret, request.id, request.body, int(time.time()))
    try:
        return Outcome(masked(post(request.url, request.body, headers), request))
    except SendError as error:
        unclear = may_have_acted(error.sent.status)
        why = Fact("rollback.unclear" if unclear else "rollback.refused", {"status": error.sent.status})
        return Outcome(masked(error.sent, request), why, unclear)
    except OutboundError as error:
        return Outcome(Sent(), error.fact, unclear=error.sent)
    except Exception as error:
        # Only its type: a text may contain the address, which is a secret.
        logger.error("rollback_raised", attempt=request.id, error=type(error).__name__)
        return Outcome(Sent(), Fact("rollback.raised", {"error": type(error).__name__}), unclear=True)


def may_have_acted(status: int | None) -> bool:
    """Return whether a receiver that answered this, and not 2xx, may have carried the request out.

    A 5xx may be a gateway's, in front of a receiver that has the request (502, 503, 504, 52x), or of one that failed
    on the way (500). 501 and 505 refuse the request itself, and 303 redirects after it was carried out (RFC 9110, 15).
    """
    return status is None or status == 303 or (status >= 500 and status not in (501, 505))


def masked(sent: Sent, request: Request) -> Sent:
    """Return a receiver's answer without what it repeats of the secrets."""
    return replace(sent, answer=without_secrets(sent.answer, urls=[request.url], secrets=[request.secret]))
