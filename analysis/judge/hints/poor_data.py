"""Samples are there, but their times make them doubtful."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, build
from analysis.judge.hints.missing_data import CODES as MISSING_CODES
from analysis.judge.types import Hint
from analysis.told import clauses, number
from analysis.told import noop as _

TEXT = HintText(
    key="poor_data",
    title=_("The data are doubtful: quality {quality} of 1"),
    cause=_(
        "The times of the samples do not fit the deployment: {issues}. Typical: clocks that differ between hosts, a "
        "poller that was stopped or overloaded, an analysis that ran long after the window."
    ),
    impact=_("The comparison of before and after may compare the wrong things; the verdict is less sure for it."),
    actions=(
        _("Compare the clocks of the pollers' hosts and of the database (timedatectl, SELECT now())."),
        _(
            "Check that pollers were running all the time: heartbeats on the health page (/health), restarts in their "
            "logs."
        ),
        _("Compare the chart of this deployment with your own dashboards before acting on the verdict."),
    ),
)


def rule(findings: Findings) -> Hint | None:
    """When quality has issues of order or time; a gap that missing samples explain is left to missing_data."""
    issues = findings.verdict.quality.issues
    missing = any(issue.code in MISSING_CODES for issue in issues)
    doubtful = [issue for issue in issues if issue.code not in MISSING_CODES and not (missing and issue.code == "gap")]
    if not doubtful:
        return None
    score = findings.verdict.quality.score
    return build(
        findings,
        TEXT,
        severity="info" if findings.verdict.conclusive else "warning",
        confidence=0.6 + sum(issue.penalty for issue in doubtful) / 2,
        observed=score,
        evidence=tuple(issue.message for issue in doubtful),
        numbers={"quality": score, "issues": [issue.code for issue in doubtful]},
        values={"quality": number(f"{score:.2f}"), "issues": clauses(issue.message for issue in doubtful)},
    )
