"""Events about a deployment."""

from typing import Any

from deployments.models import Deployment
from events.kinds import Severity
from events.outbox import NewEvent
from security.redaction import redact_text

# Of texts that a pipeline brings: an event has the beginning, the deployment all of it.
MOST_CHARACTERS = 200


def event_about(
    deployment: Deployment, kind: str, *, severity: Severity | None = None, key: str | None = None, **parameters: Any
) -> NewEvent:
    """Return an event with the names of now, so that it can be told when the rows are gone.

    deployment: with project and environment.
    """
    return NewEvent(
        kind,
        team_id=deployment.project.team_id,
        project_id=deployment.project_id,
        environment_id=deployment.environment_id,
        deployment_id=deployment.pk,
        severity=severity,
        key=key,
        parameters={
            "project": deployment.project.name,
            "environment": deployment.environment.name,
            "deployment": in_short(deployment),
            **parameters,
        },
    )


def in_short(deployment: Deployment) -> dict[str, Any]:
    """Return what names a deployment, as JSON."""
    return {
        "id": str(deployment.uuid),
        "number": deployment.number,
        "kind": str(deployment.kind),
        "commit": deployment.commit_sha,
        "title": redact_text(deployment.commit_title[:MOST_CHARACTERS]),
        "author": redact_text(deployment.author[:MOST_CHARACTERS]),
        "branch": redact_text(deployment.branch[:MOST_CHARACTERS]),
        "version": redact_text(deployment.version[:MOST_CHARACTERS]),
        "url": without_query(deployment.url),
    }


def without_query(url: str) -> str:
    """Return a link without what may be a token in it."""
    return redact_text(url.split("?", 1)[0].split("#", 1)[0])
