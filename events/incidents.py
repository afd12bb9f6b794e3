"""Store open incidents, so that each is notified once, and its end once.

All statements lock rows in the order of their keys: pollers work on the same environments at once.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection

from events.kinds import SEVERITIES, Severity
from events.models import Incident

UPSERT = """
INSERT INTO incidents (key, signs, severity, parameters)
SELECT key, signs, '', '{}' FROM unnest(%s::text[], %s::int[]) AS given (key, signs) ORDER BY key
ON CONFLICT (key) DO UPDATE SET signs = least(incidents.signs + excluded.signs, 1000000), seen_at = now()
RETURNING id, key, signs, severity, parameters, opened_at, seen_at
"""
CLOSE = """
DELETE FROM incidents WHERE key IN (SELECT key FROM incidents WHERE key = ANY(%s) ORDER BY key FOR UPDATE)
RETURNING id, key, signs, severity, parameters, opened_at, seen_at
"""
UPDATE_INCIDENTS = """
UPDATE incidents SET severity = given.severity, parameters = given.parameters::jsonb
FROM unnest(%s::text[], %s::text[], %s::text[]) AS given (key, severity, parameters) WHERE incidents.key = given.key
"""
# What of an environment an incident is about: its key begins with it.
ENDPOINT, VERDICTS = "endpoint", "verdicts"


def key_of(subject: str, environment_id: int) -> str:
    return f"{subject} {environment_id}"


def seen(signs: Mapping[str, int]) -> dict[str, Incident]:
    """Count so many further signs of these incidents, which open with the first; return all of them by key."""
    return rows(UPSERT, [list(signs), list(signs.values())]) if signs else {}


def update(incidents: Iterable[Incident]) -> None:
    """Write the severity and the parameters of incidents that `seen` returned in this transaction."""
    given = [(one.key, one.severity, json.dumps(one.parameters)) for one in incidents]
    if given:
        with connection.cursor() as cursor:
            cursor.execute(UPDATE_INCIDENTS, [list(column) for column in zip(*given, strict=True)])


def close(keys: Iterable[str]) -> dict[str, Incident]:
    """End the incidents with these keys; return those that there were, by key."""
    wanted = sorted(set(keys))
    return rows(CLOSE, [wanted]) if wanted else {}


def remove(environment_ids: Iterable[int]) -> None:
    """Remove the incidents of environments that are being deleted."""
    keys = [key_of(subject, pk) for pk in environment_ids for subject in (ENDPOINT, VERDICTS)]
    Incident.objects.filter(key__in=keys).delete()


def rows(statement: str, values: list[Any]) -> dict[str, Incident]:
    return {incident.key: incident for incident in Incident.objects.raw(statement, values)}


def graver(one: str, other: str) -> Severity:
    """Return the graver of two severities; "" is less than any."""
    return max((Severity(name) for name in (one, other) if name), key=SEVERITIES.index)
