"""Writing samples: one statement for a batch, each place of a deployment once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, models
from django.db.models.functions import Now

from common.arrays import array
from metrics.collecting import Collected
from metrics.partitions import ensure_days, utc_day
from metrics.payload import Metrics
from projects.models import Environment
from scheduler.registry import Job

COLUMNS = {
    "environment_id": "bigint",
    "deployment_id": "bigint",
    "phase": "text",
    "sequence_index": "int",
    **dict.fromkeys(Metrics.__slots__, "float8"),
    "collected_at": "timestamptz",
}
NAMES = ", ".join(COLUMNS)

# First the places: whoever comes second finds them taken, waits for nothing and writes no sample.
STORE = f"""
WITH given AS (SELECT * FROM unnest({", ".join(f"%s::{kind}[]" for kind in COLUMNS.values())}) AS given({NAMES})),
placed AS (
    INSERT INTO sample_places (deployment_id, phase, sequence_index)
    SELECT deployment_id, phase, sequence_index FROM given WHERE deployment_id IS NOT NULL
    ON CONFLICT DO NOTHING RETURNING deployment_id, phase, sequence_index)
INSERT INTO metric_samples ({NAMES})
SELECT {NAMES} FROM given
WHERE deployment_id IS NULL OR (deployment_id, phase, sequence_index) IN (SELECT * FROM placed)
ON CONFLICT DO NOTHING
"""  # noqa: S608  (put together from the constants above)


NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Row:
    """A sample on its way into the table; deployment_id: None for the baseline, which belongs to none."""

    environment_id: int
    deployment_id: int | None
    phase: str
    sequence_index: int
    metrics: Metrics
    collected_at: datetime

    @property
    def place(self) -> tuple[int, str, int] | None:
        """What may have one sample; None where there are no places."""
        return None if self.deployment_id is None else (self.deployment_id, self.phase, self.sequence_index)


def store_collected(done: Iterable[tuple[Job, Collected | None]]) -> int:
    """Writes what jobs have collected; returns how many samples are new."""
    return store(
        [
            Row(
                collected.environment_id,
                job.deployment_id,
                job.phase,
                job.sequence_index,
                collected.metrics,
                collected.collected_at,
            )
            for job, collected in done
            if collected is not None
        ]
    )


def note_previous_secret(collected: Iterable[Collected | None]) -> None:
    """Notes, to the minute, which environments' endpoints know only the secret from before a rotation."""
    ids = {one.environment_id for one in collected if one is not None and one.with_previous}
    if not ids:
        return
    stale = models.Q(previous_hmac_used_at__isnull=True) | models.Q(previous_hmac_used_at__lt=Now() - NOTED_EVERY)
    # Only what nobody else holds: a note is not worth waiting for, nor a deadlock.
    rows = Environment.objects.filter(stale, pk__in=ids).select_for_update(no_key=True, skip_locked=True)
    free = list(rows.order_by("pk").values_list("pk", flat=True))
    Environment.objects.filter(pk__in=free).update(previous_hmac_used_at=Now())


def store(samples: Sequence[Row]) -> int:
    """Writes the samples, those of a deployment only where their place (phase, index) is free; returns how many."""
    if not samples:
        return 0
    # Once per place, and in one order for everybody: two writers of the same places must not wait for each other.
    once = {sample.place or (number,): sample for number, sample in enumerate(samples)}
    rows = [once[key] for key in sorted(once, key=lambda key: (len(key), key))]
    ensure_days({utc_day(row.collected_at) for row in rows})
    with connection.cursor() as cursor:
        cursor.execute(STORE, columns_of(rows))
        written: int = cursor.rowcount
        return written


def columns_of(rows: Sequence[Row]) -> list[str]:
    """One array per column."""
    return [
        array(row.environment_id for row in rows),
        array(row.deployment_id for row in rows),
        array(row.phase for row in rows),
        array(row.sequence_index for row in rows),
        *(array(getattr(row.metrics, name) for row in rows) for name in Metrics.__slots__),
        array(row.collected_at for row in rows),
    ]
