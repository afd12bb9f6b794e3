"""Counters of verdicts: names, hints, and durations."""

from collections import Counter
from collections.abc import Iterable, Mapping

from django.db import connection

from analysis.judge.types import Hint, Verdict
from analysis.models import Severity, VerdictName
from common import totals

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
# The objective is 2 s.
TIME_TO_VERDICT = totals.histogram(
    "seqpulse_time_to_verdict_seconds",
    "From the end of a deployment's last collection to its verdict; early verdicts do not wait for that.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300),
)
# clock_timestamp(), because now() is the start of the transaction.
SINCE_LAST_SAMPLE = """
SELECT extract(epoch FROM clock_timestamp() - max(finished_at))::float8 FROM scheduled_jobs
WHERE deployment_id = ANY(%s) AND job_type = 'post_collect' GROUP BY deployment_id
"""


def count_verdicts(issued: Mapping[int, tuple[Verdict, float | None]]) -> None:
    """Count verdicts by deployment, in the transaction that issues them. A few queries: hundreds may be issued at once.

    Args:
        issued: verdict and seconds of judging (None: not measured) by deployment.
    """
    VERDICTS.add(Counter((verdict.verdict,) for verdict, _ in issued.values()))
    JUDGING.observe(((), took_s) for _, took_s in issued.values() if took_s is not None)
    waited = [deployment_id for deployment_id, (verdict, _) in issued.items() if not verdict.early]
    if waited:
        with connection.cursor() as cursor:
            cursor.execute(SINCE_LAST_SAMPLE, [waited])
            TIME_TO_VERDICT.observe(((), max(0.0, row[0])) for row in cursor.fetchall() if row[0] is not None)


def count_hints(hints: Iterable[Hint]) -> None:
    """Count hints in the transaction that stores them."""
    HINTS.add(Counter((hint.severity,) for hint in hints))
