"""Export a deployment as JSON: the input of its verdict, and all results.

Format: docs/dashboard.md. `judged_on` is the input of the judge, so that the verdict can be recomputed.
"""

from dataclasses import asdict
from typing import Any

from django.utils import translation

from analysis.evidence import problem_of_control
from analysis.judge.types import METRICS
from analysis.models import DeploymentVerdict, Feedback, Step
from analysis.recorded import JudgedOn, alert_json, expectation_json, without_facts
from analysis.serializers import HintSerializer, VerdictSerializer
from dashboard.deployments.queries import Detail
from dashboard.deployments.timeline import timeline_of
from explain.facts import Fact
from explain.rendering import render
from metrics.models import MetricSample, Phase

# Raise it when existing readers would fail.
FORMAT = 1
# Of the API's verdict; policy and evidence are elsewhere in the document.
VERDICT = [name for name in VerdictSerializer.Meta.fields if name not in ("policy", "evidence")]
DEPLOYMENT = (
    "number",
    "kind",
    "branch",
    "commit_sha",
    "commit_message",
    "version",
    "author",
    "url",
    "state",
    "pipeline_result",
    "committed_at",
    "started_at",
    "finished_at",
    "duration_ms",
    "window_samples",
    "interval_s",
    "settle_s",
)


def document(detail: Detail) -> dict[str, Any]:
    """Return JSON values with datetimes, for DjangoJSONEncoder. Texts are English; no secrets."""
    verdict = detail.verdict
    with translation.override("en"):
        return {
            "format": FORMAT,
            "deployment": deployment_of(detail),
            "policy": verdict.policy if verdict is not None else None,
            "judged_on": judged_on(detail),
            "verdict": verdict_of(verdict),
            "steps": [step_of(step) for step in detail.steps],
            "hints": HintSerializer(detail.hints, many=True).data,
            "feedback": feedback_of(detail.feedback),
            "revisions": without_facts(verdict.revisions or []) if verdict is not None else [],
            "timeline": [
                {"at": one.at, "event": one.event, "what": one.what, "note": english(one.note)}
                for one in timeline_of(detail)
            ],
        }


def deployment_of(detail: Detail) -> dict[str, Any]:
    deployment = detail.deployment
    return {
        "deployment_id": deployment.uuid,
        "project": deployment.project.name,
        "project_id": deployment.project.uuid,
        "environment": deployment.environment.name,
        **{name: getattr(deployment, name) for name in DEPLOYMENT},
    }


def judged_on(detail: Detail) -> dict[str, Any]:
    """Return the input of the judge: samples with their origin, left-out ones with why, and the control group."""
    evidence = detail.verdict.standing.judged_on if detail.verdict is not None else JudgedOn()
    left_out = {(one.phase, one.collected_at): render(one.why) for one in detail.excluded}
    rows = (
        *((sample, "history") for sample in detail.history),
        *((sample, sample.phase) for sample in (*detail.baseline, *detail.samples)),
    )
    return {
        "window": {
            "expected": evidence.expected_samples or detail.deployment.window_samples,
            "interval_s": evidence.interval_s or detail.deployment.interval_s,
            "settle_s": detail.deployment.settle_s,
            "evaluated_at": evidence.evaluated_at.isoformat() if evidence.evaluated_at is not None else None,
            "started_at": detail.deployment.started_at,
            "finished_at": detail.deployment.finished_at,
            "misses": [
                {"phase": miss.phase, "sequence_index": miss.sequence_index, "reason": miss.reason}
                for miss in evidence.misses
            ],
            "earlier_days": [asdict(day) for day in evidence.earlier_days],
            "bad_predecessor": evidence.bad_predecessor,
            "endpoint_answered_before": evidence.endpoint_answered_before,
            "has_control": evidence.has_control,
            "expectations": [expectation_json(one) for one in evidence.expectations],
            "alerts": [alert_json(one) for one in evidence.alerts],
        },
        "policy_version": evidence.policy_version,
        "samples": [
            {**sample_of(sample, origin), "left_out": left_out.get((sample.phase, sample.collected_at))}
            for sample, origin in rows
        ],
        "control": [sample_of(sample, sample.phase) for sample in detail.control if sample.phase != Phase.STEP],
        "control_problem": english(problem_of_control(detail.deployment) or "") or None,
    }


def sample_of(sample: MetricSample, origin: str) -> dict[str, Any]:
    return {
        "origin": origin,
        "index": sample.sequence_index if sample.phase == Phase.POST else None,
        "collected_at": sample.collected_at,
        **{metric: getattr(sample, metric) for metric in METRICS},
        "custom": sample.custom_metrics or {},
        "instances": sample.instances,
    }


def verdict_of(verdict: DeploymentVerdict | None) -> dict[str, Any] | None:
    return without_facts({name: getattr(verdict, name) for name in VERDICT}) if verdict is not None else None


def step_of(step: Step) -> dict[str, Any]:
    values = {name: getattr(step, name) for name in ("number", "percent", "samples", "interval_s", "starts_at")}
    return {**values, **without_facts(step.outcome or {}), "verdict": step.verdict or None, "judged_at": step.judged_at}


def english(note: Any) -> str:
    return render(note) if isinstance(note, Fact) else str(note)


def feedback_of(mark: Feedback | None) -> dict[str, Any] | None:
    if mark is None:
        return None
    values = {name: getattr(mark, name) for name in ("right", "should_have_been", "reason", "given_at")}
    return {**values, "given_by": mark.given_by.get_username() if mark.given_by is not None else None}
