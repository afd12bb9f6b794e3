"""The levels of environments in slots of five minutes, computed from their samples and kept longer than those.

They say how a service usually is at a time of day. All samples of the whole service feed them; what was judged bad is
left out by whoever reads them (analysis/earlier_days.py), so that a mark or an excluded window has its effect later as
well.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max

from common.arrays import array
from metrics.models import Group, MetricLevel, Phase
from metrics.payload import METRICS, Metrics
from scheduler.queue import database_now
from scheduler.recurring import recurring

SLOT = timedelta(minutes=5)
LEVELS_KEPT = timedelta(days=30)
# Every run computes the latest slots again: a sample may be stored this long after it was collected.
OVERLAP = timedelta(minutes=30)
# The samples of one statement: after an upgrade there are weeks of them.
AT_ONCE = timedelta(days=1)
# Larger values, which an endpoint may report, would overflow.
LARGEST = 1e150

# A filter, because least() ignores NULL.
KNOWN = {metric: f"{metric} IS NOT NULL" for metric in METRICS}
KNOWN["latency_p95"] = "coalesce(requests_per_sec > 0, true) AND latency_p95 > 0"
MEANS = {metric: f"avg(least({metric}, {LARGEST})) FILTER (WHERE {known})" for metric, known in KNOWN.items()}
# What samples have of custom metrics, in one pass over them; and its means, of those that the policy names now.
GIVEN = "jsonb_agg(custom_metrics) FILTER (WHERE custom_metrics IS NOT NULL)"
CUSTOM_MEANS = f"""(
    SELECT jsonb_object_agg(name, mean) FROM (
        SELECT name, avg(greatest(least(number::text::float8, {LARGEST}), -{LARGEST})) AS mean
        FROM jsonb_array_elements(given) AS sample CROSS JOIN LATERAL jsonb_each(sample) AS one(name, number)
        WHERE jsonb_typeof(number) = 'number'
            AND to_jsonb(name) IN (SELECT jsonb_path_query(policy, '$.custom_metrics[*].name'))
        GROUP BY 1
    ) AS means)"""  # noqa: S608  (a constant)

OF_SAMPLES = ", ".join([*(f"{mean} AS {metric}" for metric, mean in MEANS.items()), f"{GIVEN} AS given"])
COLUMNS = f"environment_id, start, samples, {', '.join(MEANS)}, custom_metrics"

# By environment: an index leads to its few samples, whatever the day has. In the order of the key, so that two runs at
# once do not wait for each other. A slot without a new sample is not written again.
AGGREGATE = f"""
INSERT INTO metric_levels ({COLUMNS})
SELECT projects_environment.id, start, samples, {", ".join(MEANS)}, {CUSTOM_MEANS}
FROM projects_environment CROSS JOIN LATERAL (
    SELECT date_bin(%(slot)s, collected_at, 'epoch'::timestamptz) AS start, count(*) AS samples, {OF_SAMPLES}
    FROM metric_samples
    WHERE environment_id = projects_environment.id AND phase = ANY(%(phases)s) AND "group" = %(group)s
        AND collected_at >= %(since)s AND collected_at < %(until)s
        AND NOT (phase = '{Phase.POST}'
            AND EXISTS (SELECT FROM deployments WHERE id = deployment_id AND control IS NOT NULL))
    GROUP BY 1
) AS slots
WHERE deleting_at IS NULL ORDER BY 1, 2
ON CONFLICT (environment_id, start) DO UPDATE
SET {", ".join(f"{name} = EXCLUDED.{name}" for name in ("samples", *MEANS, "custom_metrics"))}
WHERE metric_levels.samples <> EXCLUDED.samples
"""  # noqa: S608  (built from the constants above)


# Of what a source tells about earlier days. Slots that samples have filled stay as they are.
FILL = f"""
INSERT INTO metric_levels ({COLUMNS})
SELECT projects_environment.id, start, samples, {", ".join(MEANS)}, {CUSTOM_MEANS}
FROM projects_environment CROSS JOIN LATERAL (
    SELECT date_bin(%(slot)s, collected_at, 'epoch'::timestamptz) AS start, count(*) AS samples, {OF_SAMPLES}
    FROM unnest(%(times)s::timestamptz[], %(custom)s::jsonb[],
            {", ".join(f"%({metric})s::float8[]" for metric in MEANS)})
        AS found(collected_at, custom_metrics, {", ".join(MEANS)})
    GROUP BY 1
) AS slots
WHERE projects_environment.id = %(environment)s ORDER BY 2 ON CONFLICT DO NOTHING
"""  # noqa: S608  (built from the constants above)


def fill_levels(environment_id: int, samples: Sequence[tuple[datetime, Metrics]]) -> None:
    """Store the levels of these samples of the past."""
    if not samples:
        return
    given: dict[str, Any] = {metric: array(getattr(metrics, metric) for _, metrics in samples) for metric in MEANS}
    given |= {"environment": environment_id, "slot": SLOT, "times": array(at for at, _ in samples)}
    given["custom"] = array(json.dumps(metrics.custom) if metrics.custom else None for _, metrics in samples)
    with connection.cursor() as cursor:
        cursor.execute(FILL, given)


# A new version beside a control group, or in a step, has a part of the traffic: no level of the environment.
WHOLE = [str(phase) for phase in Phase.values if phase != Phase.STEP]
OF: dict[str, Any] = {"slot": SLOT, "phases": WHOLE, "group": str(Group.TREATMENT)}


def slot_of(moment: datetime) -> datetime:
    """Return the start of the slot that contains a time."""
    return datetime.fromtimestamp(moment.timestamp() // SLOT.total_seconds() * SLOT.total_seconds(), UTC)


@recurring("metric_levels", every_s=SLOT.total_seconds())
def aggregate(now: datetime | None = None) -> None:
    """Compute the complete slots since the latest that is stored. A repeated or interrupted run does no harm."""
    now = now or database_now()
    until, earliest = slot_of(now), slot_of(now - LEVELS_KEPT)
    latest = MetricLevel.objects.aggregate(latest=Max("start"))["latest"]
    since = max(latest + SLOT - OVERLAP, earliest) if latest is not None else earliest
    while since < until:
        end = min(since + AT_ONCE, until)
        with connection.cursor() as cursor:
            cursor.execute(AGGREGATE, {"since": since, "until": end, **OF})
        since = end
