"""Store samples: one statement for a batch, each place of a deployment once."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from django.db import models
from django.db.models.functions import Now

from common.arrays import Value, array
from common.database import prepared
from deployments.models import Deployment
from explain.facts import Fact
from metrics.counting import count_samples
from metrics.levels import fill_levels
from metrics.models import Group, Phase
from metrics.outages import note_answers
from metrics.partitions import ensure_days, utc_day
from metrics.payload import METRICS, Metrics
from metrics.source_notes import NOTED_EVERY, keep_states, note_sources
from metrics.sources.base import Past
from projects.models import Environment
from scheduler.registry import Job

# What makes a sample of a deployment unique.
PLACE = 'deployment_id, environment_id, phase, "group", sequence_index'
TYPES = (
    *("bigint", "bigint", "text", "text", "int"),
    *("float8" for _ in METRICS),
    *("jsonb", "int", "timestamptz"),
)
COLUMNS = f"{PLACE}, {', '.join(METRICS)}, custom_metrics, instances, collected_at"

# Places first: the second writer of a place finds it taken, waits for nothing and stores no sample. The commit
# announces the samples (deployments/changes.py).
STORE = f"""
WITH given AS (SELECT * FROM unnest({", ".join(f"%(column{place})s::{kind}[]" for place, kind in enumerate(TYPES))})
    AS given({COLUMNS})),
placed AS (
    INSERT INTO sample_places ({PLACE}) SELECT {PLACE} FROM given WHERE deployment_id IS NOT NULL
    ON CONFLICT DO NOTHING RETURNING {PLACE}),
announced AS MATERIALIZED (
    SELECT announce_changes(array_agg(deployment_id), array_agg(DISTINCT environment_id), false) FROM given),
written AS (
    INSERT INTO metric_samples ({COLUMNS})
    SELECT {COLUMNS} FROM given CROSS JOIN announced WHERE deployment_id IS NULL OR ({PLACE}) IN (SELECT * FROM placed)
    ON CONFLICT DO NOTHING RETURNING 1)
SELECT count(*) FROM written
"""  # noqa: S608  (built from the constants above)

METRICS_OF = attrgetter(*METRICS)


@dataclass(slots=True)  # not frozen: that makes it four times as slow, thousands of times a second
class Sample:
    """What was measured at one instant, on its way into metric_samples.

    deployment_id: None for the baseline. with_previous: the endpoint accepted only the secret from before a rotation.
    """

    environment_id: int
    metrics: Metrics
    collected_at: datetime
    deployment_id: int | None = None
    phase: str = Phase.BASELINE
    sequence_index: int = 0
    group: str = Group.TREATMENT
    with_previous: bool = False

    @property
    def place(self) -> tuple[int | None, int, str, str, int]:
        """The values of PLACE."""
        return self.deployment_id, self.environment_id, self.phase, self.group, self.sequence_index

    @property
    def values(self) -> tuple[Value, ...]:
        """The values of COLUMNS."""
        metrics = self.metrics
        return *self.place, *METRICS_OF(metrics), custom_json(metrics), metrics.instances, self.collected_at


def custom_json(metrics: Metrics) -> str | None:
    """Return the value of custom_metrics."""
    return json.dumps(metrics.custom) if metrics.custom else None


@dataclass(slots=True)
class Collected:
    """What sources gave to one job.

    days: samples of earlier days, which are kept as levels; troubles: how each source did, by its id, None: well;
    states: what sources keep until the next sample, by their id and group.
    control_problem: why the deployment's control group gave nothing, or gave less than it could.
    """

    environment_id: int
    samples: list[Sample]
    days: Past = ()
    troubles: dict[int, Fact | None] = field(default_factory=dict)
    states: dict[tuple[int, str], bytes] = field(default_factory=dict)
    control_problem: Fact | None = None


def store_samples(done: Sequence[tuple[Job, Sample | Collected | None]]) -> None:
    """Store what jobs collected, in the transaction that completes them."""
    samples: list[Sample] = []
    troubles: dict[int, Fact | None] = {}
    states: dict[tuple[int, str], bytes] = {}
    for job, result in done:
        if isinstance(result, Collected):
            samples += result.samples
            if result.control_problem is not None:
                problem = result.control_problem.to_json()
                Deployment.objects.filter(pk=job.deployment_id or 0).update(control_problem=problem)
            troubles |= result.troubles
            states |= result.states
            fill_levels(result.environment_id, result.days)
        elif result is not None:
            samples.append(result)
    store(samples)
    note_sources(troubles)
    keep_states(states)
    note_previous_secret(samples)
    note_answers(sample.environment_id for sample in samples)
    count_samples(job for job, result in done if result is not None)


def note_previous_secret(samples: Iterable[Sample]) -> None:
    """Note, to the minute, which environments' endpoints know only the secret from before a rotation."""
    ids = {sample.environment_id for sample in samples if sample.with_previous}
    if not ids:
        return
    stale = models.Q(previous_hmac_used_at__isnull=True) | models.Q(previous_hmac_used_at__lt=Now() - NOTED_EVERY)
    # Rows that another transaction has locked are skipped: a note is not worth waiting for, nor a deadlock.
    rows = Environment.objects.filter(stale, pk__in=ids).select_for_update(no_key=True, skip_locked=True)
    free = list(rows.order_by("pk").values_list("pk", flat=True))
    Environment.objects.filter(pk__in=free).update(previous_hmac_used_at=Now())


def store(samples: Iterable[Sample]) -> int:
    """Write the samples, those of a deployment only where their place is free; return how many were written."""
    once = {number if one.deployment_id is None else one.place: one for number, one in enumerate(samples)}
    if not once:
        return 0
    # Always in the same order: two writers of the same places must not wait for each other.
    rows = sorted(once.values(), key=lambda sample: (sample.deployment_id or 0, *sample.place[1:]))
    ensure_days({utc_day(row.collected_at) for row in rows})
    columns = zip(*(row.values for row in rows), strict=True)
    [(written,)] = prepared(STORE, {f"column{place}": array(column) for place, column in enumerate(columns)})
    return int(written)
