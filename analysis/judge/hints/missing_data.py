"""Samples that should be there are not."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, build
from analysis.judge.types import Hint
from analysis.told import noop as _
from analysis.told import told
from analysis.wording import reasons

CODES = ("no_post", "no_pre", "few_post_samples", "incomplete_window", "expired_jobs", "failed_collections")

NO_POST = HintText(
    key="missing_data.no_post",
    title=_("No sample since the deployment"),
    cause=_(
        "None of the {expected} planned collections after the deployment returned a sample. Reasons: {reasons}. "
        "Either the service or its metrics endpoint has not answered since the deployment, or no poller ran."
    ),
    impact=_("Nothing is known about the service since the deployment; it may be down."),
    actions=(
        _("Check now, by hand, whether the service answers its users."),
        _("Call the metrics endpoint from the poller's host (curl -i) and read its status and body."),
        _("Check that the new version still serves the endpoint under the same path and with the same signing secret."),
        _("Check that a poller runs: its heartbeat is on the health page (/health)."),
    ),
)

NO_PRE = HintText(
    key="missing_data.no_pre",
    title=_("No sample from before the deployment"),
    cause=_(
        "There is nothing to compare with: no sample was taken before the deployment. Reasons: {reasons}. Typical: a "
        "first deployment, a pipeline that deploys immediately after calling trigger, or an endpoint that did not "
        "answer at that time."
    ),
    impact=_(
        "The level after the deployment ({collected} of {expected} samples) cannot be compared with the "
        "service's usual level."
    ),
    actions=(
        _("Compare the service with its usual level by hand, on your own dashboards."),
        _("Call trigger before the deployment begins, some seconds at least, so that a sample can be taken."),
        _("If there are reasons above, mend the endpoint: the next deployment will have the same gap."),
    ),
)

PARTIAL = HintText(
    key="missing_data.partial",
    title=_("{collected} of {expected} samples after the deployment"),
    cause=_(
        "Some collections brought nothing. Reasons: {reasons}. An endpoint that fails now and then may mean instances "
        "that restart or are too busy to answer; expired collections mean that no poller ran in time."
    ),
    impact=_("The verdict rests on fewer samples than planned; a fault between them would not be seen."),
    actions=(
        _("Compare the times of the missing samples with restarts and errors of the service."),
        _("Call the metrics endpoint ten times (curl -w '%{{time_total}}') and see whether it is slow or fails."),
        _("If collections expired, check the pollers' heartbeats and start another one."),
    ),
)

TEXTS = (NO_POST, NO_PRE, PARTIAL)


def rule(findings: Findings) -> Hint | None:
    """When samples are missing; a warning where the verdict is not conclusive, else for information."""
    issues = [issue for issue in findings.verdict.quality.issues if issue.code in CODES]
    if not issues:
        return None
    text = NO_POST if not findings.post else NO_PRE if not findings.pre else PARTIAL
    collected, expected = len(findings.post), findings.window.expected
    return build(
        findings,
        text,
        severity="info" if findings.verdict.conclusive else "warning",
        # Not a guess: the samples are missing. What is less sure is how much that matters.
        confidence=min(0.99, 0.6 + sum(issue.penalty for issue in issues) / 2),
        observed=float(collected),
        threshold=float(expected),
        evidence=tuple(issue.message for issue in issues),
        numbers={
            "collected": collected,
            "expected": expected,
            "pre": len(findings.pre),
            "quality": findings.verdict.quality.score,
            "issues": [issue.code for issue in issues],
        },
        values={
            "collected": collected,
            "expected": expected,
            "reasons": reasons(findings.window.misses) or told("none recorded"),
        },
    )
