"""Note how the sources of environments do, for their pages, and what they keep until the next sample."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, models
from django.db.models.functions import Now

from common.arrays import array
from explain.facts import Fact, NotAFact
from metrics.measuring import NOTES
from metrics.models import Source

NOTED_EVERY = timedelta(minutes=1)
# What a job that failed says of each source (metrics/measuring.py).
TROUBLES = (
    "SELECT error_fact FROM scheduled_jobs WHERE id = ANY(%s::bigint[]) AND error_fact #> '{params,sources}' <> '[]'"
)

# Locked, so that no source is deleted meanwhile.
KEEP = """
WITH given AS (SELECT * FROM unnest(%(ids)s::bigint[], %(groups)s::text[], %(states)s::bytea[])
    AS given(source_id, "group", state)),
locked AS (SELECT id FROM metric_sources WHERE id IN (SELECT source_id FROM given) ORDER BY id FOR KEY SHARE)
INSERT INTO source_states (source_id, "group", state, stored_at)
SELECT source_id, "group", state, now() FROM given JOIN locked ON locked.id = source_id ORDER BY 1, 2
ON CONFLICT (source_id, "group") DO UPDATE SET state = EXCLUDED.state, stored_at = EXCLUDED.stored_at
"""


def note_sources(troubles: Mapping[int, Fact | None]) -> None:
    """Note how sources did: that one answers to the minute, why one does not whenever that changes."""
    answered = models.Q(answered_at__isnull=True) | models.Q(answered_at__lt=Now() - NOTED_EVERY)
    stale = models.Q(failure__isnull=False) | answered
    well = [pk for pk, trouble in troubles.items() if trouble is None]
    if well:
        rows = Source.objects.filter(stale, pk__in=well).select_for_update(no_key=True, skip_locked=True)
        free = list(rows.order_by("pk").values_list("pk", flat=True))
        Source.objects.filter(pk__in=free).update(answered_at=Now(), failure=None)
    for pk, trouble in sorted(troubles.items()):
        if trouble is not None:
            noted: dict[str, Any] = {"failed_at": Now(), "failure": trouble.to_json()}
            if trouble.code == NOTES:
                noted["answered_at"] = Now()
            Source.objects.filter(pk=pk).update(**noted)


def note_failed(job_ids: Iterable[int]) -> None:
    """Note why sources gave nothing to jobs that failed, in the transaction that ends these."""
    with connection.cursor() as cursor:
        cursor.execute(TROUBLES, [array(job_ids)])
        rows = cursor.fetchall()
    note_sources(troubles_of(json.loads(fact) for (fact,) in rows))


def troubles_of(facts: Iterable[Any]) -> dict[int, Fact | None]:
    """Return what stored failures say of sources, by their ids."""
    found: dict[int, Fact | None] = {}
    for stored in facts:
        try:
            notes = Fact.from_json(stored).params.get("sources")
        except NotAFact:
            continue
        for note in notes if isinstance(notes, Sequence) and not isinstance(notes, str) else ():
            pk, problem = note.params.get("source"), note.params.get("problem")
            if isinstance(pk, int) and isinstance(problem, Fact):
                found[pk] = problem
    return found


def keep_states(states: Mapping[tuple[int, str], bytes]) -> None:
    """Store what sources keep until the next sample; that of a source that is gone is dropped."""
    if not states:
        return
    rows = sorted(states.items())
    with connection.cursor() as cursor:
        cursor.execute(
            KEEP,
            {
                "ids": array(pk for (pk, _), _ in rows),
                "groups": array(group for (_, group), _ in rows),
                "states": [state for _, state in rows],
            },
        )
