"""A rollback whose reason no other rule has words for: the judge's own words are shown."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, build
from analysis.judge.types import Hint
from analysis.told import clauses
from analysis.told import noop as _

TEXT = HintText(
    key="critical_finding",
    title=_("The judge recommends a rollback"),
    cause=_("{finding}"),
    impact=_("The service no longer does what it did before the deployment, by the limits of its policy."),
    actions=(
        _("Roll back to the previous version."),
        _("Compare the samples before and after on the deployment's page with your own dashboards."),
        _("Read the logs of the new version since the deployment, errors and restarts first."),
    ),
)


def hint(findings: Findings) -> Hint:
    """A critical hint out of the verdict's critical checks, or out of its summary where it has none. Not in RULES:
    `hints()` asks for it where a rollback has no critical hint from them."""
    critical = [check for check in findings.verdict.checks if check.outcome == "critical"]
    found = tuple(check.sentence for check in critical if check.sentence) or (findings.verdict.summary,)
    lead = critical[0] if critical else None
    return build(
        findings,
        TEXT,
        metric=lead.metric if lead else None,
        metrics=tuple(check.metric for check in critical),
        severity="critical",
        confidence=findings.verdict.confidence,
        observed=lead.observed if lead else None,
        threshold=lead.limit if lead else None,
        evidence=found,
        values={"finding": clauses(found)},
    )
