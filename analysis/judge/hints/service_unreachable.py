"""The metrics endpoint answered before the deployment and does not any more."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, build
from analysis.judge.types import Hint
from analysis.told import noop as _
from analysis.told import told
from analysis.wording import reasons

TEXT = HintText(
    key="service_unreachable",
    title=_("The service stopped answering: {missing} of {expected} collections failed"),
    cause=_(
        "Before the deployment the metrics endpoint answered; since then {missing} of {expected} collections brought "
        "nothing ({reasons}). Typical: the new version does not start or keeps restarting, listens on another port or "
        "path, or a certificate, route or firewall rule came with the deployment."
    ),
    impact=_("If SeqPulse cannot reach its metrics, users most likely cannot reach the service either."),
    actions=(
        _("Call the service from outside now: if its users get errors or nothing, roll back."),
        _(
            "Look at the state and the last log lines of the new instances: crash loops, failed readiness checks, exit "
            "codes, out-of-memory kills."
        ),
        _("Compare port, path, TLS and host names of the new version with the endpoint that SeqPulse asks."),
        _("If the service is well and only its metrics moved, set the environment's new endpoint."),
    ),
    replaces=("missing_data", "poor_data"),
)


def rule(findings: Findings) -> Hint | None:
    """When the judge found failed collections to speak against the service."""
    check = findings.unreachable()
    if check is None:
        return None
    missing, expected = check.details.get("missing", 0), check.details.get("expected", findings.window.expected)
    why = reasons(miss for miss in findings.window.misses if miss.phase == "post") or told("no reason on record")
    return build(
        findings,
        TEXT,
        severity="critical" if check.outcome == "critical" else "warning",
        # The judge's own confidence: there is no level of a metric to measure a deviation by.
        confidence=findings.verdict.confidence,
        observed=float(missing),
        evidence=(check.sentence,),
        values={"missing": missing, "expected": expected, "reasons": why},
    )
