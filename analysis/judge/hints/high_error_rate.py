"""The error rate failed."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, from_checks
from analysis.judge.types import Hint
from analysis.told import noop as _

TEXT = HintText(
    key="high_error_rate",
    title=_("Error rate over {threshold} in {samples_over}"),
    cause=_(
        "Requests are failing: {observed} on average, {worst} in the worst sample, {baseline} before. Errors in only "
        "some samples point at one bad instance, a rolling restart that dropped connections, or a code path that few "
        "requests take; errors in all of them point at a defect or a wrong setting on every instance."
    ),
    impact=_("Up to {worst} of the requests failed at a time; those users saw error pages or had to retry."),
    actions=(
        _(
            "Group the errors since the deployment by instance, endpoint and exception; what stands out tells which of "
            "the causes it is."
        ),
        _("Compare the times of the errors with those of restarts and of the rollout's steps."),
        _("If it is one instance, take it out of the load balancer and replace it."),
        _("If the restart dropped requests, make the old instances drain: readiness off, wait, then SIGTERM."),
    ),
    last_resort=_("If errors go on, roll back."),
)


def rule(findings: Findings) -> Hint | None:
    """When error_rate failed."""
    check = findings.failed("error_rate")
    return from_checks(findings, TEXT, (check,)) if check else None
