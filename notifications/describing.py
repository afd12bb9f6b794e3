"""Describe events in words: the messages of deliveries, in each channel's language."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings

from deployments.models import Deployment
from events.models import Event
from explain.facts import Fact
from explain.rendering import render
from notifications.message import Message
from notifications.models import Delivery
from projects.models import Environment, Project

RESOLVING = frozenset({"recovered", "endpoint_answers"})


def describe(deliveries: Sequence[Delivery]) -> Mapping[int, Message]:
    """Return the message of each delivery, by its id. A handful of queries for all."""
    events = {delivery.event.pk: delivery.event for delivery in deliveries}.values()
    deployments = by_id(Deployment.objects.all(), (event.deployment_id for event in events))
    environments = by_id(Environment.objects.all(), (event.environment_id for event in events))
    projects = by_id(Project.objects.all(), (event.project_id for event in events))
    return {
        delivery.pk: message(
            delivery,
            deployments.get(delivery.event.deployment_id),
            environments.get(delivery.event.environment_id),
            projects.get(delivery.event.project_id),
        )
        for delivery in deliveries
    }


def by_id(rows: Any, ids: Iterable[int | None]) -> dict[int | None, Any]:
    return dict(rows.in_bulk({pk for pk in ids if pk is not None}))


def message(
    delivery: Delivery, deployment: Deployment | None, environment: Environment | None, project: Project | None
) -> Message:
    event, channel = delivery.event, delivery.channel
    where = Fact(
        "event.where",
        {
            "project": project.name if project else None,
            "environment": environment.name if environment else None,
            "number": deployment.number if deployment else None,
        },
    )
    headline = render(
        Fact(
            f"event.{event.kind}",
            {**Fact.from_json({"code": event.kind, "params": event.parameters}).params, "where": where},
        ),
        channel.language,
    )
    return Message(
        id=f"{channel.uuid}.{event.pk}",
        kind=event.kind,
        severity=event.severity,
        headline=headline,
        occurred_at=event.occurred_at,
        language=channel.language,
        link=link_to(event, deployment),
        deployment=str(deployment.uuid) if deployment else "",
        incident=f"environment-{event.environment_id}" if event.environment_id else f"team-{event.team_id}",
        resolves=event.kind in RESOLVING,
        data=event.parameters,
    )


def link_to(event: Event, deployment: Deployment | None) -> str:
    """Return the address of the page about it; "" without SEQPULSE_PUBLIC_URL."""
    base = settings.SEQPULSE_PUBLIC_URL
    return f"{base}/dashboard/deployments/{deployment.uuid}/" if base and deployment else base
