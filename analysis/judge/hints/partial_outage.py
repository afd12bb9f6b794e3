"""Errors and lost traffic together: part of the service is gone."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, from_checks
from analysis.judge.types import Hint
from analysis.told import noop as _

TEXT = HintText(
    key="partial_outage",
    title=_("Partial outage: traffic down to {requests_per_sec_observed}, {error_rate_observed} errors"),
    cause=_(
        "Fewer requests arrive than before and of those that do {error_rate_observed} fail: instances of the new "
        "version probably crash, do not start or fail their health checks, so that the load balancer turns requests "
        "away before they reach the application."
    ),
    impact=_(
        "Some users get no answer at all (traffic {requests_per_sec_observed}, before: {requests_per_sec_baseline}), "
        "others get errors. The error rate understates the outage: requests that never arrived are not counted."
    ),
    actions=(
        _("Roll back now; this is an outage for some users."),
        _(
            "Compare the number of ready instances with the number wanted (kubectl get pods, docker ps, systemctl "
            "status) and look for restarts since the deployment."
        ),
        _(
            "Read the last log lines of an instance that restarted: missing environment variable, failed migration, "
            "killed for memory (OOMKilled, exit code 137)."
        ),
        _(
            "Look at the load balancer's own 502/503/504 counts and health checks: they show the requests that the "
            "service did not see."
        ),
        _("After the rollback, check that traffic returns to about {requests_per_sec_baseline}."),
    ),
    replaces=("persistent_breach", "high_error_rate", "traffic_below_baseline"),
)


def rule(findings: Findings) -> Hint | None:
    """When both requests_per_sec and error_rate failed; traffic leads."""
    checks = findings.all_failed("requests_per_sec", "error_rate")
    return from_checks(findings, TEXT, checks) if checks else None
