"""Events about verdicts: issued, early, revised, and that an environment recovered. All of a batch in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connection

from analysis.evidence import Evidence
from analysis.judge.types import OK, ROLLBACK, WARNING, Check, Hint, Verdict
from analysis.models import DeploymentVerdict
from deployments.models import Deployment, PipelineResult
from deployments.outbox import event_about
from events import incidents
from events.kinds import Severity
from events.models import Event, Incident
from events.outbox import NewEvent, emit_all
from explain.facts import Fact
from scheduler.queue import NewJob, enqueue

if TYPE_CHECKING:
    from analysis.services import Judgement

# The job that changes messages with buttons (notifications/jobs.py).
REFRESH = "refresh_messages"
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
        AND earlier.pipeline_result IN ('', 'success') AND earlier.kind <> 'verification'
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
    earlier = issued_before(judgements)
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
        more: dict[str, Any] = {}
        if (was := earlier.get(pk)) is not None:
            over = was.bad and not was.conclusive and judgement.verdict.verdict == OK
            more = replaced_stance(was, resolves=over)
        if pk in changes:
            more["recovers"] = True
        kind = "early_rollback" if judgement.verdict.early else "verdict_issued"
        level = severity(judgement.verdict, issued)
        events.append(event_about(deployments[pk], kind, severity=level, **facts, **more))
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


def repeats_early(said: Mapping[str, Any]) -> bool:
    """Return whether an event of a final verdict only repeats the early one."""
    early, final = said.get("early"), said.get("verdict")
    names = [one.get("verdict") if isinstance(one, dict) else None for one in (early, final)]
    return names[0] is not None and names[0] == names[1]


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


# --- revised --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stance:
    """What is said of a deployment: a verdict; name: None: only that the verdict was wrong."""

    name: str | None
    conclusive: bool = True

    @property
    def bad(self) -> bool:
        return self.name in (WARNING, ROLLBACK)


def issued_before(deployment_ids: Iterable[int]) -> dict[int, Stance]:
    """Return the final verdicts that were issued before, as where an analysis was given up and then tried again."""
    said = Event.objects.filter(deployment_id__in=list(deployment_ids), kind="verdict_issued").order_by("id")
    return {
        pk: Stance(found.get("verdict"), bool(found.get("conclusive", True)))
        for pk, found in said.values_list("deployment_id", "parameters__verdict")
        if pk is not None and isinstance(found, dict)
    }


def replaced_stance(was: Stance, *, resolves: bool) -> dict[str, Any]:
    """Return the parameters of an event that says something else than before. resolves: it ends an alert."""
    return {"was": {"verdict": was.name, "conclusive": was.conclusive}, "resolves": resolves}


def emit_revised(deployment: Deployment, was: Stance, now: Stance, **facts: Any) -> None:
    """Emit that something else is said of a deployment now, and open or end its environment's incident accordingly.

    In the caller's transaction. deployment: with project and environment. Nothing where it is the same as before.
    An earlier deployment than the latest judged one is no alert any more.
    """
    if was == now:
        return
    later = DeploymentVerdict.objects.filter(
        deployment__environment=deployment.environment_id, deployment__pk__gt=deployment.pk, conclusive=True
    )
    is_latest = not later.exists()
    resolves = was.bad and not now.bad and (not was.conclusive or (is_latest and end_incident(deployment, now)))
    level = Severity.INFO
    if is_latest and not resolves:
        level = SEVERITY[now.name] if now.name is not None else Severity.INFO if was.bad else Severity.WARNING
        if now.bad and now.conclusive:
            open_incident(deployment, level)
    facts = {**facts, **replaced_stance(was, resolves=resolves)}
    emit_all([event_about(deployment, "verdict_revised", severity=level, **facts)])


def end_incident(deployment: Deployment, now: Stance) -> bool:
    """End the incident of an environment where it is over, or was opened by this deployment; return whether it did."""
    key = key_of(deployment)
    if now.name != OK and not Incident.objects.filter(key=key, parameters__number=deployment.number).exists():
        return False
    return bool(incidents.close([key]))


def open_incident(deployment: Deployment, level: Severity) -> None:
    for incident in incidents.seen({key_of(deployment): 1}).values():
        incident.severity = incidents.graver(incident.severity, level)
        incident.parameters = incident.parameters or {"number": deployment.number}
        incidents.update([incident])


def refresh_messages(deployment_id: int) -> None:
    """Have the messages with buttons about a deployment changed (notifications/updating.py), after the commit."""
    enqueue([NewJob(REFRESH, metadata={"deployment": deployment_id})])
