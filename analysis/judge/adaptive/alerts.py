"""Judge by alerts that others sent. One that began with the deployment is evidence, one from before is none. Pure."""

from collections.abc import Sequence

from analysis.judge.adaptive.evidence import Finding, outcome
from analysis.judge.types import ALERTS, Alert, Check, Sample, Window
from explain.facts import Fact

# Twice a clear finding of the early rules (early.py) only where it fires at two samples in a row.
STRENGTH = 1.5
MOST_NAMED = 5


def judge_alerts(window: Window, post: Sequence[Sample]) -> list[Finding]:
    """Judge the alerts of the window: those that fire since the deployment, those that fired and ended, and those from
    before."""
    seen = window.alerts
    if not window.final:
        # In the middle of a window, what had begun by then.
        latest = max((sample.collected_at for sample in post), default=None)
        seen = tuple(one for one in seen if latest is not None and one.started_at <= latest)
    new = [one for one in seen if not one.before]
    firing = [one for one in new if one.ended_at is None]
    found = []
    if firing:
        critical = STRENGTH if any(one.critical for one in firing) else 0.0
        found.append(_finding("alerts_began", firing, STRENGTH, critical))
    if ended := [one for one in new if one.ended_at is not None]:
        found.append(_finding("alerts_ended", ended, 1.0))
    if before := [one for one in seen if one.before]:
        still = any(one.ended_at is None for one in before)
        found.append(_finding("alerts_before" if still else "alerts_gone", before, 0.0))
    return found


def _finding(code: str, alerts: Sequence[Alert], strength: float, critical: float = 0.0) -> Finding:
    named = sorted(alerts, key=lambda one: (not one.critical, one.started_at, one.name))[:MOST_NAMED]
    facts = [Fact("alert_named", {"name": one.name, "severity": one.severity or "warning"}) for one in named]
    check = Check(
        metric="alerts",
        rule=ALERTS,
        outcome=outcome(strength, critical),
        code=code,
        params={"alerts": facts, "n": len(alerts)},
        margin=max(strength, critical),
    )
    return Finding(check, strength, critical)


def alert_checks(window: Window, post: Sequence[Sample]) -> tuple[Check, ...]:
    """Return the checks, for a judge without findings."""
    return tuple(finding.check for finding in judge_alerts(window, post))
