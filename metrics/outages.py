"""Emit once that an environment's endpoint stopped answering or refuses our signature, and once that it recovered."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection

from common.arrays import array
from events import incidents
from events.kinds import KINDS, Severity
from events.models import Incident
from events.outbox import NewEvent, emit_all
from metrics.source_notes import note_failed
from projects.models import Environment
from scheduler.registry import Ended

# So many collections in a row without metrics: one or two fail while a service restarts.
SILENT_AFTER = 3
REFUSED = "unauthorized"
SILENT, SIGNATURE = "endpoint_silent", "signature_refused"
# Failures that say nothing about the endpoint: it was not called.
NOT_ASKED = frozenset(
    {"no_endpoint", "no_deployment", "blocked_by_ops", "blocked", "proxy", "poller_lost", "cannot_record"}
)

ENVIRONMENTS = """
SELECT job.id, coalesce(deployment.environment_id, (job_metadata ->> 'environment_id')::bigint)
FROM scheduled_jobs AS job LEFT JOIN deployments AS deployment ON deployment.id = job.deployment_id
WHERE job.id = ANY(%s::bigint[])
"""
# One that never answered is not set up yet, and did not stop.
ANSWERED_BEFORE = """
SELECT asked FROM unnest(%s::bigint[]) AS asked WHERE EXISTS (SELECT FROM metric_samples WHERE environment_id = asked)
    OR EXISTS (SELECT FROM metric_levels WHERE environment_id = asked)
"""


def key_of(environment_id: int) -> str:
    return incidents.key_of(incidents.ENDPOINT, environment_id)


def note_failures(jobs: Sequence[Ended]) -> None:
    """Count collections that failed for good, in the transaction that ends them, and emit the events of outages."""
    failed = {job.id: job.error_code for job in jobs if job.status == "failed" and job.error_code not in NOT_ASKED}
    if not failed:
        return
    note_failed(failed)
    with connection.cursor() as cursor:
        cursor.execute(ENVIRONMENTS, [array(failed)])
        environments = {job_id: pk for job_id, pk in cursor.fetchall() if pk is not None}
    # The last one decides what is said of several of one environment.
    codes = {environments[job_id]: code for job_id, code in failed.items() if job_id in environments}
    signs = Counter(environments.values())
    found = incidents.seen({key_of(pk): count for pk, count in signs.items()})
    refused = {pk for pk, code in codes.items() if code == REFUSED and kind_of(found[key_of(pk)]) != SIGNATURE}
    silent = answered_before(pk for pk in codes if codes[pk] != REFUSED and begins_outage(found[key_of(pk)], signs[pk]))
    emit_outages(found, {**dict.fromkeys(silent, SILENT), **dict.fromkeys(refused, SIGNATURE)}, codes)


def begins_outage(incident: Incident, new_signs: int) -> bool:
    """Return whether these signs make it an outage."""
    return not incident.severity and incident.signs - new_signs < SILENT_AFTER <= incident.signs


def kind_of(incident: Incident) -> str:
    """Return the kind of the event of the incident, "" if it has none."""
    return str(incident.parameters.get("kind", ""))


def answered_before(environment_ids: Iterable[int]) -> list[int]:
    ids = sorted(environment_ids)
    if not ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(ANSWERED_BEFORE, [ids])
        return [pk for (pk,) in cursor.fetchall()]


def emit_outages(found: dict[str, Incident], kinds: dict[int, str], codes: dict[int, str]) -> None:
    """Write the events of these environments, and in their incidents what the event of their end needs."""
    events = []
    environments = Environment.objects.select_related("project").only("name", "project__name", "project__team_id")
    for environment in environments.filter(pk__in=kinds) if kinds else ():
        kind, incident = kinds[environment.pk], found[key_of(environment.pk)]
        names = {"project": environment.project.name, "environment": environment.name}
        place = (environment.project.team_id, environment.project_id, environment.pk)
        parameters = {**names, "times": incident.signs, "reason": codes[environment.pk]}
        # Once per incident, whichever poller counts it.
        events.append(NewEvent(kind, *place, key=f"{kind} {incident.pk}", parameters=parameters))
        incident.severity = incidents.graver(incident.severity, KINDS[kind].severity)
        incident.parameters = {"kind": kind, "place": place, "names": names}
    incidents.update(found[key_of(pk)] for pk in kinds)
    emit_all(events)


def note_answers(environment_ids: Iterable[int]) -> None:
    """End the incidents of endpoints that answered, in the transaction that stores their samples. One statement."""
    over = incidents.close(key_of(pk) for pk in environment_ids)
    emit_all(end_of(incident) for incident in over.values() if incident.severity)


def end_of(incident: Incident) -> NewEvent:
    """Return the event that an endpoint answers again: of the incident's severity, to reach the same channels."""
    parameters: dict[str, Any] = {
        **incident.parameters["names"],
        "was": kind_of(incident),
        "since": incident.opened_at.isoformat(),
        "times": incident.signs,
    }
    team, project, environment = incident.parameters["place"]
    severity = Severity(incident.severity)
    return NewEvent("endpoint_answers", team, project, environment, severity=severity, parameters=parameters)
