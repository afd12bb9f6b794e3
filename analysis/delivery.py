"""Compute the delivery figures, which docs/dashboard.md defines.

In SQL, with index-only scans over a hundred thousand deployments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from analysis.models import VerdictName


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations in s, None without values. count: number of values."""

    median: float | None = None
    p90: float | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of the deployments finished in the last `days`.

    deployed: changes with the result success; rollbacks: with that result, counted apart; judged: changes with a
    verdict; failed: of these, with a deserved rollback (a mark overrides the verdict); unrestored: failures, of
    rollbacks too, not followed by an ok yet.
    """

    days: int
    deployed: int = 0
    rollbacks: int = 0
    judged: int = 0
    failed: int = 0
    to_verdict: Spread = Spread()
    to_restore: Spread = Spread()
    unrestored: int = 0
    lead: Spread = Spread()

    @property
    def per_day(self) -> float:
        return self.deployed / self.days

    @property
    def per_day_digits(self) -> int:
        """Return the decimals to show: more for few deployments."""
        return 0 if self.per_day >= 10 else 1 if self.per_day >= 1 else 2

    @property
    def failure_rate(self) -> float | None:
        """Return 0..1, None if nothing was judged."""
        return self.failed / self.judged if self.judged else None

    @property
    def failure_percent(self) -> float | None:
        rate = self.failure_rate
        return None if rate is None else rate * 100


# Condition that a deployment deserved the verdict: it has it and was not marked wrong, or a mark names it. Not a CASE,
# which would be shorter: the planner assumes its result to be rare, and reads whole tables.
DESERVED = (
    "(({feedback}.id IS NULL OR {feedback}.right) AND {verdict}.verdict = {name}"
    " OR NOT {feedback}.right AND {feedback}.should_have_been = {name})"
)
FAILED = DESERVED.format(feedback="feedback", verdict="verdict", name="%(rollback)s")
RESTORES = DESERVED.format(feedback="later_feedback", verdict="later_verdict", name="%(ok)s")
SCOPE = "deployment.project_id = ANY(%(projects)s) AND deployment.finished_at BETWEEN %(since)s AND %(until)s"

# What restores or changes nothing is no change that could fail, or take its time to get there.
CHANGE = "kind = 'deployment'"

# date_part instead of extract, whose numeric takes three times as long.
COUNTED = f"""
SELECT count(*) FILTER (WHERE pipeline_result = 'success' AND {CHANGE}),
    count(*) FILTER (WHERE pipeline_result = 'success' AND kind = 'rollback'),
    count(verdict.id) FILTER (WHERE {CHANGE}),
    count(*) FILTER (WHERE {FAILED} AND {CHANGE}),
    count(verdict.id),
    percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (
        ORDER BY greatest(0, date_part('epoch', verdict.created_at - finished_at))
    ) FILTER (WHERE verdict.id IS NOT NULL),
    count(committed_at) FILTER (WHERE committed_at <= finished_at AND pipeline_result = 'success' AND {CHANGE}),
    percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY date_part('epoch', finished_at - committed_at))
        FILTER (WHERE committed_at <= finished_at AND pipeline_result = 'success' AND {CHANGE})
FROM deployments AS deployment
LEFT JOIN deployment_verdicts AS verdict ON verdict.deployment_id = deployment.id
LEFT JOIN verdict_feedback AS feedback ON feedback.verdict_id = verdict.id
WHERE {SCOPE}
"""  # noqa: S608  (put together from the constants above)

# Of every kind: a rollback restores, and may fail. An acknowledged rollback restores at once, before the
# next verdict shows it. Consecutive failures before one ok count as one, from the first of them.
RESTORED = f"""
WITH failures AS (
    SELECT deployment.environment_id, verdict.created_at AS failed_at,
        least(ok.created_at, said.at) AS restored_at
    FROM deployments AS deployment
    JOIN deployment_verdicts AS verdict ON verdict.deployment_id = deployment.id
    LEFT JOIN verdict_feedback AS feedback ON feedback.verdict_id = verdict.id
    LEFT JOIN LATERAL (
        SELECT later_verdict.created_at FROM deployments AS later
        JOIN deployment_verdicts AS later_verdict ON later_verdict.deployment_id = later.id
        LEFT JOIN verdict_feedback AS later_feedback ON later_feedback.verdict_id = later_verdict.id
        WHERE later.environment_id = deployment.environment_id AND later.started_at > deployment.started_at
            AND {RESTORES}
        ORDER BY later.started_at LIMIT 1
    ) AS ok ON true
    LEFT JOIN LATERAL (
        SELECT min(said.at) AS at FROM acknowledgements AS said
        WHERE said.environment_id = deployment.environment_id AND said.what = 'rolled_back'
            AND (said.deployment_id = deployment.id OR said.at >= verdict.created_at)
    ) AS said ON true
    WHERE {SCOPE} AND {FAILED}
), lasted AS (
    SELECT restored_at, greatest(0, date_part('epoch', restored_at - min(failed_at))) AS seconds
    FROM failures GROUP BY environment_id, restored_at
)
SELECT count(restored_at), count(*) - count(restored_at),
    percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE restored_at IS NOT NULL)
FROM lasted
"""  # noqa: S608  (put together from the constants above)


def figures_of(projects: Sequence[int], days: int, now: datetime) -> Figures:
    """Return the figures of these projects (ids) for the last days. Two queries."""
    scope: dict[str, Any] = {
        "projects": list(projects),
        "since": now - timedelta(days=days),
        "until": now,
        "rollback": VerdictName.ROLLBACK_RECOMMENDED.value,
        "ok": VerdictName.OK.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(COUNTED, scope)
        deployed, rollbacks, judged, failed, verdicts, verdict_after, committed, lead = cursor.fetchone()
        cursor.execute(RESTORED, scope)
        restored, unrestored, restored_after = cursor.fetchone()
    return Figures(
        days=days,
        deployed=deployed,
        rollbacks=rollbacks,
        judged=judged,
        failed=failed,
        to_verdict=spread(verdict_after, verdicts),
        to_restore=spread(restored_after, restored),
        unrestored=unrestored,
        lead=spread(lead, committed),
    )


def spread(percentiles: list[float | None] | None, count: int) -> Spread:
    """Build a Spread from the two percentiles of SQL (or None) over `count` values."""
    median, p90 = percentiles or (None, None)
    return Spread(median, p90, count)
