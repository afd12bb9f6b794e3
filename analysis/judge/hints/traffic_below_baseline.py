"""Traffic failed."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, from_checks
from analysis.judge.types import Hint
from analysis.told import noop as _

TEXT = HintText(
    key="traffic_below_baseline",
    title=_("Traffic below {threshold} in {samples_over}"),
    cause=_(
        "Traffic fell to {observed} on average, {worst} in the lowest sample, {baseline} before. A dip in some "
        "samples points at instances that came up one after the other or that the load balancer removed for a while; "
        "a lasting loss points at routes, host names or health checks that changed, or at callers that stopped."
    ),
    impact=_("Requests did not reach the service; those users were turned away or waited, unseen by its error rate."),
    actions=(
        _("Compare the times of the low samples with the steps of the rollout and with restarts."),
        _("Look at the load balancer's health checks and its 502/503 answers at these times."),
        _("Compare with the same hour yesterday: traffic that always dips now is no fault of the deployment."),
    ),
    last_resort=_("If it keeps dropping, roll back and see whether traffic returns to {baseline}."),
)


def rule(findings: Findings) -> Hint | None:
    """When requests_per_sec failed."""
    check = findings.failed("requests_per_sec")
    return from_checks(findings, TEXT, (check,)) if check else None
