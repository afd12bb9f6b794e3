"""What services sent by themselves (metrics/pushing.py), by time. Kept for two hours: verdicts look back less."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from metrics.levels import LARGEST, fill_levels, slot_of
from metrics.models import OtlpState
from metrics.payload import METRICS, Metrics
from projects.models import Environment
from scheduler.queue import database_now
from scheduler.recurring import recurring

# The kind of source.
KIND = "push"
# Samples are taken so long after their time, and so long before it, for clocks that differ.
LATE, EARLY = timedelta(minutes=10), timedelta(seconds=60)
KEPT = timedelta(hours=2)
DELETED_AT_ONCE = 10_000
LEVELS_OF = timedelta(minutes=40)
MINUTE_S = 60.0

# Of each instance first, then of all: sums of rates, errors by requests, the highest p95, mean cpu, the highest memory.
GIVEN = f"""
given AS (SELECT environment_id, ceil((extract(epoch FROM at - %(since)s::timestamptz) / %(step_s)s)::float8)::int
    AS slot, instance, {", ".join(f"least({metric}, {LARGEST}) AS {metric}" for metric in METRICS)}, custom
    FROM pushed_samples WHERE {{which}} AND at > %(since)s::timestamptz - %(step_s)s * interval '1 second'
    AND at <= %(until)s)
"""  # noqa: S608  (built from the constants above)
BY_REQUESTS = """coalesce(sum(error_rate * requests_per_sec)
        / nullif(sum(requests_per_sec) FILTER (WHERE error_rate IS NOT NULL), 0), avg(error_rate))"""
LEVELS = f"""
WITH {GIVEN},
instances AS (SELECT environment_id, slot, avg(requests_per_sec) AS requests_per_sec,
    avg(latency_p95) FILTER (WHERE coalesce(requests_per_sec > 0, true)) AS latency_p95,
    {BY_REQUESTS} AS error_rate, avg(cpu_usage) AS cpu_usage, max(memory_usage) AS memory_usage
    FROM given GROUP BY environment_id, slot, instance)
SELECT environment_id, slot, count(*), sum(requests_per_sec), max(latency_p95), {BY_REQUESTS}, avg(cpu_usage),
    max(memory_usage)
FROM instances GROUP BY 1, 2 ORDER BY 1, 2
"""  # noqa: S608  (built from the constants above)
CUSTOM_LEVELS = f"""
WITH {GIVEN},
instances AS (SELECT slot, name, avg(value::float8) AS value FROM given CROSS JOIN jsonb_each_text(custom)
    AS one(name, value) GROUP BY slot, name, instance)
SELECT slot, name, avg(value), sum(value) FROM instances GROUP BY 1, 2
"""  # noqa: S608  (built from the constants above)
OF_ONE = "environment_id = %(environment)s"
# Kinds of custom metrics that instances have parts of.
SUMMED = ("rate", "count")


def levels_between(
    environment_id: int, *, since: datetime, until: datetime, step_s: float
) -> list[tuple[datetime, Metrics]]:
    """Return what was pushed at `since`, a step later and so on, each of the step that ends there; oldest first."""
    values: dict[str, Any] = {"environment": environment_id, "since": since, "until": until, "step_s": step_s}
    with connection.cursor() as cursor:
        cursor.execute(LEVELS.format(which=OF_ONE), values)
        slots = {slot: _metrics(levels, count) for _, slot, count, *levels in cursor.fetchall()}
        if slots:
            kinds = kinds_of(environment_id)
            cursor.execute(CUSTOM_LEVELS.format(which=OF_ONE), values)
            for slot, name, mean, total in cursor.fetchall():
                slots[slot].custom[name] = total if kinds.get(name) in SUMMED else mean
    return [(since + timedelta(seconds=slot * step_s), metrics) for slot, metrics in sorted(slots.items())]


def _metrics(levels: Sequence[float | None], instances: int | None = None) -> Metrics:
    found = Metrics(instances=instances)
    for name, level in zip(METRICS, levels, strict=True):
        setattr(found, name, level)
    return found


def kinds_of(environment_id: int) -> dict[str, str]:
    """Return the kinds of the custom metrics that the environment's policy names."""
    policy = Environment.objects.values_list("policy", flat=True).get(pk=environment_id)
    return {one["name"]: one.get("kind", "") for one in policy.get("custom_metrics", ()) if "name" in one}


@recurring("prune_pushed", every_s=300)
def prune(now: datetime | None = None) -> None:
    """Keep the levels of what was pushed, as of all samples, and remove what no verdict looks at any more."""
    now = now or database_now()
    keep_levels(now)
    batch = f"""DELETE FROM pushed_samples WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM pushed_samples WHERE at < %s LIMIT {DELETED_AT_ONCE}))"""  # noqa: S608  (our constant)
    with connection.cursor() as cursor:
        while cursor.execute(batch, [now - KEPT]).rowcount == DELETED_AT_ONCE:
            pass
    # Of instances that are gone, or began anew under another name.
    OtlpState.objects.filter(at__lt=(now - KEPT).timestamp()).delete()


def keep_levels(now: datetime) -> None:
    """Store the levels of the slots to which no sample can come any more."""
    since, until = slot_of(now - LEVELS_OF), slot_of(now - LATE) - timedelta(microseconds=1)
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"since": since, "until": until, "step_s": MINUTE_S}
        cursor.execute(LEVELS.format(which="at >= %(since)s"), values)
        found: dict[int, list[tuple[datetime, Metrics]]] = {}
        for environment, minute, _, *levels in cursor.fetchall():
            at = since + timedelta(seconds=max(0, minute - 1) * MINUTE_S)
            found.setdefault(environment, []).append((at, _metrics(levels)))
    for environment, samples in found.items():
        fill_levels(environment, samples)
