"""Emit events, inside the transaction of what they report.

This app knows no recipients: a trigger (notifications/migrations) has the deliveries made after the commit.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from events.kinds import KINDS, Severity
from events.models import Event


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be written. severity: None: the kind's; key: written once only; parameters: JSON, no secrets."""

    kind: str
    team_id: int
    project_id: int | None = None
    environment_id: int | None = None
    deployment_id: int | None = None
    severity: Severity | None = None
    key: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


def emit(*events: NewEvent) -> None:
    """Write the events in the caller's transaction; those whose key was used before are left out.

    Raises: KeyError for an unknown kind, before anything is written.
    """
    emit_all(events)


def emit_all(events: Iterable[NewEvent]) -> None:
    """Write many events, as `emit`, in one statement; none for no events."""
    Event.objects.bulk_create(
        [
            Event(
                kind=event.kind,
                severity=event.severity or KINDS[event.kind].severity,
                team_id=event.team_id,
                project_id=event.project_id,
                environment_id=event.environment_id,
                deployment_id=event.deployment_id,
                key=event.key,
                parameters=event.parameters,
            )
            for event in events
        ],
        ignore_conflicts=True,
    )
