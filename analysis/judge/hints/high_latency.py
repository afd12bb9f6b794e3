"""Latency failed."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, from_checks
from analysis.judge.types import Hint
from analysis.told import noop as _

TEXT = HintText(
    key="high_latency",
    title=_("p95 latency over {threshold} in {samples_over}"),
    cause=_(
        "The slowest requests take {observed} on average (worst sample {worst}, before {baseline}), without errors and "
        "without a busy CPU: they wait for something outside the process. Typical: a new or unindexed query, a remote "
        "call added to the request, a smaller connection pool, a cold cache."
    ),
    impact=_("At least one request in twenty takes longer than {observed}; pages and API clients feel slow."),
    actions=(
        _("Compare p95 per endpoint before and after: one slow endpoint is code, all of them a shared dependency."),
        _(
            "Look at the database's slowest statements since the deployment (pg_stat_statements, slow query log) and "
            "EXPLAIN the ones that are new."
        ),
        _("Look for requests waiting on a connection pool, a lock or a remote service (traces, pool metrics)."),
        _(
            "If the first samples were slow and the last ones are not, it was warm-up: compare with the chart before "
            "acting."
        ),
    ),
    last_resort=_("If it stays, roll back or switch the new feature off."),
)


def rule(findings: Findings) -> Hint | None:
    """When latency_p95 failed."""
    check = findings.failed("latency_p95")
    return from_checks(findings, TEXT, (check,)) if check else None
