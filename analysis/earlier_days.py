"""Load what the environment's levels were at the same minutes of earlier days (UTC), without what was judged bad."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.db import connection

from analysis.judge.levels import mean_of
from analysis.judge.types import METRICS, EarlierDay, Sample
from common.arrays import array
from deployments.models import Deployment
from metrics.levels import LEVELS_KEPT, SLOT

DAYS_USED = 14
# The oldest whole day that is stored.
OLDEST_DAY = LEVELS_KEPT.days - 1
# So few minutes have one or two slots, of a few samples each.
LEAST_SPAN = timedelta(minutes=15)
# A deployment that started earlier than this before a slot is not observed within it.
LONGEST_DEPLOYMENT = timedelta(hours=6)
# Stored with the verdict, so that it can be computed again.
SIGNIFICANT_DIGITS = 6

Period = tuple[datetime, datetime]

# A slot counts where its middle is in the wanted time, and where no deployment was under way or observed in it whose
# verdict is not a good one (as `ended_ok` in evidence.py decides), and which is not excluded. OFFSET 0 keeps
# the inner queries apart: each looks up its own few hours instead of joining all deployments of the environment.
FIND = f"""
SELECT place, days_ago, jsonb_agg(custom_metrics) FILTER (WHERE custom_metrics IS NOT NULL)::text,
    {", ".join(f"avg(level.{metric})" for metric in METRICS)}
FROM unnest(%(places)s::int[], %(environments)s::bigint[], %(since)s::timestamptz[], %(until)s::timestamptz[])
    AS wanted(place, environment, since, until)
CROSS JOIN generate_series(1, %(oldest)s) AS days_ago
CROSS JOIN LATERAL (
    SELECT * FROM metric_levels
    WHERE environment_id = environment AND start >= since - days_ago * interval '24 hours' - %(slot)s / 2
        AND start < until - days_ago * interval '24 hours' - %(slot)s / 2
        AND NOT EXISTS (
            SELECT FROM deployments
            LEFT JOIN deployment_verdicts AS given ON given.deployment_id = deployments.id
            LEFT JOIN verdict_feedback AS mark ON mark.verdict_id = given.id
            WHERE deployments.environment_id = environment
                AND started_at < start + %(slot)s AND started_at >= start - %(longest)s
                AND coalesce(finished_at, started_at)
                    + (settle_s + window_samples * interval_s) * interval '1 second' >= start
                AND NOT coalesce(given.verdict = 'ok' AND given.conclusive AND coalesce(mark."right", true), false)
            OFFSET 0)
        AND NOT EXISTS (
            SELECT FROM projects_excludedwindow AS excluded
            WHERE excluded.environment_id = environment
                AND excluded.starts_at < start + %(slot)s AND excluded.ends_at >= start)
    OFFSET 0
) AS level
GROUP BY 1, 2
ORDER BY 1, 2
"""  # noqa: S608  (built from the constants above)


@dataclass(frozen=True, slots=True)
class TimesOfDay:
    """The times whose minutes are looked up on earlier days: of PRE and of POST."""

    before: Period
    after: Period


def times_of_day(deployment: Deployment, pre: Sequence[Sample], post: Sequence[Sample], until: datetime) -> TimesOfDay:
    """Return the times of the deployment's own samples; without them, of its start, or of the window until `until`."""
    begin = deployment.finished_at or deployment.started_at
    own = [sample for sample in pre if sample.origin != "history"]
    return TimesOfDay(
        before=_span_of(own) or widened(deployment.started_at, deployment.started_at),
        after=_span_of(post) or widened(begin, until),
    )


def _span_of(samples: Sequence[Sample]) -> Period | None:
    times = [sample.collected_at for sample in samples]
    return widened(min(times), max(times)) if times else None


def widened(since: datetime, until: datetime) -> Period:
    """Return the period, at least LEAST_SPAN long: around its middle, where a slope does not change its mean."""
    lacking = max(LEAST_SPAN - (until - since), timedelta(0)) / 2
    return since - lacking, until + lacking


def load_earlier_days(wanted: Sequence[tuple[int, TimesOfDay]]) -> list[tuple[EarlierDay, ...]]:
    """Return for each (environment id, times of day) up to DAYS_USED days that have both levels, newest first.

    One query for all of them, none without any.
    """
    if not wanted:
        return []
    spans = [(environment, *span) for environment, times in wanted for span in (times.before, times.after)]
    environments, since, until = zip(*spans, strict=True)
    values: dict[str, Any] = {
        "places": array(range(len(spans))),
        "environments": array(environments),
        "since": array(since),
        "until": array(until),
        "oldest": OLDEST_DAY,
        "slot": SLOT,
        "longest": LONGEST_DEPLOYMENT,
    }
    with connection.cursor() as cursor:
        cursor.execute(FIND, values)
        found = {
            (place, days_ago): levels_from(means) | custom_levels(custom)
            for place, days_ago, custom, *means in cursor.fetchall()
        }
    return [tuple(islice(_days(found, 2 * number), DAYS_USED)) for number in range(len(wanted))]


def _days(found: dict[tuple[int, int], dict[str, float]], place: int) -> Iterable[EarlierDay]:
    for days_ago in range(1, OLDEST_DAY + 1):
        before, after = (found.get((place + part, days_ago)) for part in (0, 1))
        if before and after:
            yield EarlierDay(days_ago, before, after)


def levels_from(means: Sequence[float | None]) -> dict[str, float]:
    """Return the known levels by metric."""
    return {metric: rounded(mean) for metric, mean in zip(METRICS, means, strict=True) if mean is not None}


def custom_levels(text: str | None) -> dict[str, float]:
    """Return the levels of custom metrics by name. text: a JSON list of those of each slot; None: there are none."""
    slots: list[dict[str, float]] = json.loads(text or "[]")
    names = dict.fromkeys(name for slot in slots for name in slot)
    return {name: rounded(mean_of([slot[name] for slot in slots if name in slot])) for name in names}


def rounded(mean: float) -> float:
    return float(f"{mean:.{SIGNIFICANT_DIGITS}g}")
