"""What is counted of verdicts: which, with which hints, and how fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from django.db import connection

from analysis.models import Severity, VerdictName
from analysis.types import Hint, Verdict
from scheduler import totals

VERDICTS = totals.counter(
    "seqpulse_analysis_verdict_total", "Verdicts issued.", ("verdict",), [(name,) for name in VerdictName.values]
)
HINTS = totals.counter(
    "seqpulse_analysis_hint_total", "Hints given.", ("severity",), [(name,) for name in Severity.values]
)
JUDGING = totals.histogram(
    "seqpulse_analysis_duration_seconds",
    "How long the judge and the hints took for one verdict.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
# 2 s is what is promised.
TIME_TO_VERDICT = totals.histogram(
    "seqpulse_time_to_verdict_seconds",
    "From the end of a deployment's last collection to its verdict; early verdicts do not wait for that.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300),
)
# clock_timestamp: of this transaction now() is only the beginning.
SINCE_LAST_SAMPLE = """
SELECT extract(epoch FROM clock_timestamp() - max(finished_at))::float8 FROM scheduled_jobs
WHERE deployment_id = %s AND job_type = 'post_collect'
"""


def count_verdict(deployment_id: int, verdict: Verdict, *, took_s: float | None) -> None:
    """Counts a verdict in the transaction that issues it. took_s: seconds that judging took, where it was measured."""
    VERDICTS.add({(verdict.verdict,): 1})
    if took_s is not None:
        JUDGING.observe([((), took_s)])
    if not verdict.early:
        with connection.cursor() as cursor:
            cursor.execute(SINCE_LAST_SAMPLE, [deployment_id])
            [waited_s] = cursor.fetchone()
        if waited_s is not None:
            TIME_TO_VERDICT.observe([((), max(0.0, waited_s))])


def count_hints(hints: Sequence[Hint]) -> None:
    """Counts hints in the transaction that stores them."""
    HINTS.add(Counter((hint.severity,) for hint in hints))
