"""Describe events in words: the messages of deliveries, in each channel's language.

An event has the names and numbers of when it happened, so it is described without the rows that it is about. Events
that say less are named by those rows, as far as they exist.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.charts import Chart
from analysis.outbox import SEVERITY, repeats_early
from common.links import public_link
from deployments.models import Deployment
from deployments.outbox import in_short
from events.kinds import Severity
from events.models import Event
from explain.rendering import render
from notifications.channels import channel_kind
from notifications.details import details_of, hint_of
from notifications.drawing import charts_of
from notifications.headlines import Said, fact_of, facts_of, headline_of, part, parts
from notifications.message import Message
from notifications.models import Delivery, DeliveryState
from notifications.standing import Standing, standings_of
from projects.models import Environment, Project

RESOLVING = frozenset({"recovered", "endpoint_answers"})
ABOUT_ENDPOINTS = frozenset({"endpoint_silent", "endpoint_answers", "signature_refused"})
BY_THEMSELVES = frozenset({"deployment_abandoned", "rolled_back", "freeze_forced"})
# Of the parameters, those that are described apart.
DESCRIBED = frozenset({"project", "environment", "deployment", "verdict", "hints", "recovers", "resolves"})


def describe(deliveries: Sequence[Delivery]) -> Mapping[int, Message]:
    """Return the message of each delivery, by its id. A handful of queries for all."""
    said = named([delivery.event for delivery in deliveries])
    threads = threads_of(deliveries)
    charts = charts_of(deliveries, said)
    found = {
        delivery.pk: message(
            delivery.event,
            said[delivery.event.pk],
            delivery.channel.language,
            message_id=f"{delivery.channel.uuid}.{delivery.event.pk}",
            thread=threads.get((delivery.channel_id, delivery.event.deployment_id), ""),
            chart=charts.get(delivery.pk),
        )
        for delivery in deliveries
    }
    return {**found, **with_standings(deliveries, found)}


def with_standings(deliveries: Sequence[Delivery], messages: Mapping[int, Message]) -> dict[int, Message]:
    """Return the messages with buttons with what became of their deployments since."""
    rows = [one for one in deliveries if one.event.deployment_id and has_buttons(one.channel.kind)]
    standings = standings_of(one.event.deployment_id for one in rows if one.event.deployment_id)
    found = {}
    for one in rows:
        standing = standings.get(one.event.deployment_id or 0, Standing())
        found[one.pk] = replace(
            messages[one.pk],
            standing=standing.texts(one.channel.language),
            actions=standing.actions,
            starts_rollback=standing.starts_rollback,
        )
    return found


def has_buttons(kind: str) -> bool:
    known = channel_kind(kind)
    return known is not None and known.buttons


def message(
    event: Event, said: Said, language: str, *, message_id: str, thread: str = "", chart: Chart | None = None
) -> Message:
    """Return the message of an event. said: its parameters, with names."""
    resolves = event.kind in RESOLVING or said.get("resolves") is True
    return Message(
        id=message_id,
        kind=event.kind,
        severity=Severity.INFO if resolves else gravity_of(event, said),
        headline=headline_of(event.kind, said, event.occurred_at, language),
        occurred_at=event.occurred_at,
        language=language,
        details=details_of(said, language),
        link=link_to(event, said),
        deployment=str(part(said, "deployment").get("id") or ""),
        incident=incident_of(event, said),
        resolves=resolves,
        thread=thread,
        data=data_of(event, said),
        chart=chart,
    )


def gravity_of(event: Event, said: Said) -> str:
    """Return how grave a message is. A final verdict has the severity of its early one, to reach all who got that."""
    name = part(said, "verdict").get("verdict")
    if event.kind == "verdict_issued" and part(said, "early") and name in SEVERITY and not repeats_early(said):
        return SEVERITY[name]
    return event.severity


def named(events: Sequence[Event]) -> dict[int, dict[str, Any]]:
    """Return the parameters of each event, with the names that they lack taken from the rows that there are."""
    lacking = [event for event in events if "project" not in event.parameters]
    deployments = by_id(
        Deployment.objects.select_related("project", "environment"), (event.deployment_id for event in lacking)
    )
    environments = by_id(Environment.objects.all(), (event.environment_id for event in lacking))
    projects = by_id(Project.objects.all(), (event.project_id for event in lacking))
    found: dict[int, dict[str, Any]] = {event.pk: dict(event.parameters) for event in events}
    for event in lacking:
        said = found[event.pk]
        if (project := projects.get(event.project_id)) is not None:
            said["project"] = project.name
        if (environment := environments.get(event.environment_id)) is not None:
            said["environment"] = environment.name
        if (deployment := deployments.get(event.deployment_id)) is not None:
            said["deployment"] = in_short(deployment)
    return found


def by_id(rows: Any, ids: Iterable[int | None]) -> dict[int | None, Any]:
    wanted = {pk for pk in ids if pk is not None}
    return dict(rows.in_bulk(wanted)) if wanted else {}


def threads_of(deliveries: Sequence[Delivery]) -> dict[tuple[int, int | None], str]:
    """Return what each receiver calls the first message about each of the deployments."""
    ids = {delivery.event.deployment_id for delivery in deliveries} - {None}
    if not ids:
        return {}
    sent = Delivery.objects.filter(
        channel_id__in={delivery.channel_id for delivery in deliveries},
        event_id__in=Event.objects.filter(deployment_id__in=ids).values("id"),
        state=DeliveryState.SENT,
    ).exclude(reference="")
    rows = sent.order_by("-id").values_list("channel_id", "event__deployment_id", "reference")
    # Of a reply, its own name follows.
    return {(channel, deployment): reference.partition(" ")[0] for channel, deployment, reference in rows}


def incident_of(event: Event, said: Said) -> str:
    """Return the name of the trouble that the event belongs to, which a recovery resolves.

    What no recovery follows on stands for itself: a verdict that is not conclusive, a deployment without a finish.
    """
    if event.environment_id is None:
        return f"project-{event.project_id}" if event.project_id else f"team-{event.team_id}"
    if event.kind in ABOUT_ENDPOINTS:
        return f"endpoint-{event.environment_id}"
    # What ends an alert has the name under which that was raised.
    judged = part(said, "was") if said.get("resolves") else part(said, "verdict")
    by_itself = event.kind in BY_THEMSELVES or not judged.get("conclusive", True)
    if by_itself and event.deployment_id is not None:
        return f"deployment-{event.deployment_id}"
    return f"environment-{event.environment_id}"


def link_to(event: Event, said: Said) -> str:
    """Return the address of the page about it; "" without SEQPULSE_PUBLIC_URL."""
    uuid = part(said, "deployment").get("id")
    if uuid:
        return public_link("dashboard:deployment", uuid)
    if event.environment_id:
        return public_link("dashboard:environment", event.environment_id)
    return public_link("dashboard:overview")


def data_of(event: Event, said: Said) -> dict[str, Any]:
    """Return the event as JSON for machines: codes and numbers, and texts in English (docs/notifications.md)."""
    data: dict[str, Any] = {
        "event_id": event.pk,
        "kind": event.kind,
        "severity": event.severity,
        "occurred_at": event.occurred_at.isoformat(),
        "project": said.get("project"),
        "environment": said.get("environment"),
        "deployment": said.get("deployment"),
        "verdict": verdict_data(found) if (found := part(said, "verdict")) else None,
        "hints": [
            {
                "code": one.get("code"),
                "severity": one.get("severity"),
                "title": render(hint.title),
                "actions": [render(action) for action in hint.actions],
            }
            for one in parts(said, "hints")
            if (hint := hint_of(one)) is not None
        ],
    }
    return {**data, "details": {name: in_english(value) for name, value in said.items() if name not in DESCRIBED}}


def verdict_data(found: Said) -> dict[str, Any]:
    summary = fact_of(found.get("summary"))
    return {
        **{name: found.get(name) for name in ("verdict", "confidence", "conclusive", "early", "shadow", "healthy")},
        **{name: found.get(name) for name in ("samples", "samples_before")},
        "summary": render(summary) if summary else "",
        "reasons": [render(fact) for fact in facts_of(found, "reasons")],
        "doubts": [render(fact) for fact in facts_of(found, "doubts")],
        "checks": [
            {
                **{name: check.get(name) for name in ("metric", "rule", "outcome", "observed", "baseline", "limit")},
                "sentence": render(fact) if (fact := fact_of(check.get("fact"))) else "",
            }
            for check in parts(found, "checks")
        ],
    }


def in_english(value: Any) -> Any:
    """Return a parameter as JSON, a fact as its English text."""
    fact = fact_of(value)
    return render(fact) if fact is not None else value
