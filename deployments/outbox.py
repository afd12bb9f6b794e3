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
    """Return an event with the names of now, so that it can be delivered after the rows are deleted.

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
        "commit": redact_text(deployment.commit_sha),
        "title": beginning(deployment.commit_title),
        "author": beginning(deployment.author),
        "branch": beginning(deployment.branch),
        "version": beginning(deployment.version),
        "url": without_query(deployment.url),
        "pipeline": str(deployment.pipeline_result),
    }


def beginning(text: str) -> str:
    """Return the beginning of a text. Masked before it is cut: half a secret has not the form of one."""
    return redact_text(text)[:MOST_CHARACTERS]


def without_query(url: str) -> str:
    """Return a link without what may be a token in it."""
    return redact_text(url.split("?", 1)[0].split("#", 1)[0])
