"""Errors and latency together: requests reach the service, but it can no longer serve them properly."""

from __future__ import annotations

from analysis.judge.hints.base import ROLL_BACK_FIRST, Findings, HintText, from_checks
from analysis.judge.types import Hint
from analysis.told import noop as _

TEXT = HintText(
    key="service_degradation",
    title=_("Service degraded: {error_rate_observed} errors and p95 at {latency_p95_observed}"),
    cause=_(
        "Requests got slower and failed in the same window, which points at something that every request waits for: a "
        "database, cache or remote API that the new version calls differently (new query, missing migration or index, "
        "smaller pool, shorter timeout), and whose timeouts then come out as errors."
    ),
    impact=_(
        "Users wait {latency_p95_observed} at p95 (before: {latency_p95_baseline}) and {error_rate_observed} of their "
        "requests fail; retries of clients add load and make it worse."
    ),
    actions=(
        ROLL_BACK_FIRST,
        _(
            "Group the errors since the deployment by exception and by endpoint; timeouts and pool errors name the "
            "dependency."
        ),
        _(
            "Look at the database: long-running queries, lock waits and the number of connections (pg_stat_activity), "
            "compared with before the deployment."
        ),
        _("Read the diff for new queries in loops, changed timeouts, pool sizes and migrations that were not applied."),
        _(
            "After the rollback, check that both errors and p95 are back at {error_rate_baseline} and "
            "{latency_p95_baseline}; if not, the dependency itself is ill."
        ),
    ),
    replaces=("persistent_breach", "high_error_rate", "high_latency"),
)


def rule(findings: Findings) -> Hint | None:
    """When both error_rate and latency_p95 failed."""
    checks = findings.all_failed("error_rate", "latency_p95")
    return from_checks(findings, TEXT, checks) if checks else None
