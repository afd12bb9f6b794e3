"""Events about verdicts: issued, early, and that an environment recovered. All of a batch in one statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.db import connection

from analysis.evidence import Evidence
from analysis.judge.types import OK, ROLLBACK, WARNING, Check, Hint, Verdict
from analysis.models import DeploymentVerdict
from deployments.models import Deployment, PipelineResult
from deployments.outbox import event_about
from events import incidents
from events.kinds import Severity
from events.models import Incident
from events.outbox import NewEvent, emit_all
from explain.facts import Fact

if TYPE_CHECKING:
    from analysis.services import Judgement

SEVERITY = {OK: Severity.INFO, WARNING: Severity.WARNING, ROLLBACK: Severity.CRITICAL}
# What people notice first, first.
GRAVITY = ("critical", "warning")
NOTICED = ("error_rate", "requests_per_sec", "latency_p95", "memory_usage", "cpu_usage")
MOST_CHECKS, MOST_HINTS, MOST_REASONS = 5, 3, 3

# As DeploymentQuerySet.restorable, for many environments at once; and the next deployment, if there is one already.
AROUND = """
SELECT bad.id, good.number, good.uuid, good.commit_sha, next.number FROM deployments AS bad LEFT JOIN LATERAL (
    SELECT earlier.number, earlier.uuid::text, earlier.commit_sha FROM deployments AS earlier
    JOIN deployment_verdicts AS verdict ON verdict.deployment_id = earlier.id
    LEFT JOIN verdict_feedback AS feedback ON feedback.verdict_id = verdict.id
    WHERE earlier.environment_id = bad.environment_id AND earlier.started_at < bad.started_at
        AND verdict.verdict = 'ok' AND verdict.conclusive AND feedback."right" IS NOT false
        AND earlier.pipeline_result IN ('', 'success')
    ORDER BY earlier.started_at DESC LIMIT 1) AS good ON true
LEFT JOIN LATERAL (
    SELECT later.number FROM deployments AS later
    WHERE later.environment_id = bad.environment_id AND later.started_at > bad.started_at
        AND later.kind <> 'verification'
    ORDER BY later.started_at LIMIT 1) AS next ON true
WHERE bad.id = ANY(%s)
"""


def emit_verdicts(
    judgements: Mapping[int, Judgement],
    deployments: Mapping[int, Deployment],
    *,
    early: Mapping[int, DeploymentVerdict] | None = None,
) -> None:
    """Write the events of verdicts that are issued in the caller's transaction. A few statements for all.

    deployments: with project and environment. early: earlier verdicts of those whose final verdict this is.
    """
    bad = [pk for pk, judgement in judgements.items() if judgement.verdict.verdict != OK]
    around = neighbours(bad)
    changes = incidents_of(judgements, deployments)
    events = []
    for pk in sorted(judgements):
        judgement = judgements[pk]
        issued = (early or {}).get(pk)
        facts: dict[str, Any] = {
            "verdict": verdict_facts(judgement.verdict, judgement.evidence),
            "hints": [hint_facts(hint) for hint in judgement.hints[:MOST_HINTS]],
            **around.get(pk, {"last_good": None}),
        }
        if issued is not None:
            facts["early"] = {"verdict": issued.verdict, "at": issued.created_at.isoformat()}
        kind = "early_rollback" if judgement.verdict.early else "verdict_issued"
        events.append(event_about(deployments[pk], kind, severity=severity(judgement.verdict, issued), **facts))
        if pk in changes:
            events.append(recovered(deployments[pk], changes[pk], facts))
    emit_all(events)


def severity(verdict: Verdict, early: DeploymentVerdict | None) -> Severity:
    """Return the severity of a verdict.

    A final verdict that confirms the early one is info; one that differs reaches all whom the early one reached.
    """
    if early is None:
        return SEVERITY[verdict.verdict]
    return Severity.INFO if early.verdict == verdict.verdict else SEVERITY[early.verdict]


def incidents_of(judgements: Mapping[int, Judgement], deployments: Mapping[int, Deployment]) -> dict[int, Incident]:
    """Open and end the environments' incidents; return those that are over, by the deployment that ended them.

    An inconclusive verdict neither opens nor ends one: too little data is neither a failure nor a recovery. Nor does an
    ok end one whose service is not healthy, or whose pipeline failed: nobody knows what runs then.
    """
    conclusive = [pk for pk in sorted(judgements) if judgements[pk].verdict.conclusive]
    latest = {key_of(deployments[pk]): pk for pk in conclusive}  # of several of one environment, the last one
    ok = {key: pk for key, pk in latest.items() if judgements[pk].verdict.verdict == OK}
    over = {key: pk for key, pk in ok.items() if ends_incident(judgements[pk].verdict, deployments[pk])}
    opened = incidents.seen({key: 1 for key in latest if key not in ok})
    for key, incident in opened.items():
        pk = latest[key]
        incident.severity = incidents.graver(incident.severity, SEVERITY[judgements[pk].verdict.verdict])
        incident.parameters = incident.parameters or {"number": deployments[pk].number}
    incidents.update(opened.values())
    return {over[key]: incident for key, incident in incidents.close(over).items()}


def ends_incident(verdict: Verdict, deployment: Deployment) -> bool:
    """Return whether an ok says that the environment is well again."""
    return verdict.health.healthy != "no" and deployment.pipeline_result in ("", PipelineResult.SUCCESS)


def key_of(deployment: Deployment) -> str:
    return incidents.key_of(incidents.VERDICTS, deployment.environment_id)


def recovered(deployment: Deployment, incident: Incident, facts: Mapping[str, Any]) -> NewEvent:
    """Return the event that an environment recovered: of the incident's severity, to reach the same channels."""
    since = {"number": incident.parameters.get("number"), "at": incident.opened_at.isoformat()}
    return event_about(deployment, "recovered", severity=Severity(incident.severity), bad_since=since, **facts)


def neighbours(deployment_ids: list[int]) -> dict[int, dict[str, Any]]:
    """Return the last good deployment before each of these (last_good), and the next one (replaced_by) if any."""
    if not deployment_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(AROUND, [deployment_ids])
        return {
            pk: {
                "last_good": {"number": number, "id": uuid, "commit": sha} if number else None,
                **({"replaced_by": {"number": later}} if later else {}),
            }
            for pk, number, uuid, sha, later in cursor.fetchall()
        }


def verdict_facts(verdict: Verdict, evidence: Evidence | None = None) -> dict[str, Any]:
    """Return what a message needs of a verdict, as JSON: facts without their words. evidence: what was judged."""
    samples = {} if evidence is None else {"samples": len(evidence.post), "samples_before": len(evidence.pre)}
    return {
        **samples,
        "verdict": verdict.verdict,
        "confidence": verdict.confidence,
        "conclusive": verdict.conclusive,
        "early": verdict.early,
        "shadow": bool(verdict.policy.get("shadow", False)),
        "healthy": verdict.health.healthy,
        "summary": verdict.summary.to_json(),
        "reasons": [reason.to_json() for reason in verdict.health.reasons[:MOST_REASONS]],
        "doubts": [doubt.to_json() for doubt in verdict.basis.doubts[:MOST_REASONS]],
        "checks": list(failed_checks(verdict)),
    }


def failed_checks(verdict: Verdict) -> Iterator[dict[str, Any]]:
    """Yield the failed checks, most severe first; among equals those with a level, in the order of NOTICED."""

    def rank(check: Check) -> tuple[int, bool, int, float]:
        place = NOTICED.index(check.metric) if check.metric in NOTICED else len(NOTICED)
        return GRAVITY.index(check.outcome), check.observed is None, place, -(check.margin or 0.0)

    for check in sorted((check for check in verdict.checks if check.failed), key=rank)[:MOST_CHECKS]:
        yield {
            "metric": check.metric,
            "rule": check.rule,
            "outcome": check.outcome,
            "observed": check.observed,
            "baseline": check.baseline,
            "limit": check.limit,
            "fact": check.fact.to_json(),
        }


def hint_facts(hint: Hint) -> dict[str, Any]:
    """Return a hint as JSON: its texts are made of it where they are read (analysis/texts/hints.py)."""
    return {
        "code": hint.code,
        "severity": hint.severity,
        "text_key": hint.text_key,
        "params": Fact(hint.text_key, hint.params).to_json()["params"],
        "roll_back": hint.roll_back,
    }
