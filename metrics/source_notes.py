"""Note how the sources of environments do, for their pages."""

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
