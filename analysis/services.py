"""Judge evidence and store verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models.functions import Now

from accounts.models import User
from analysis.counting import count_hints, count_verdicts
from analysis.evidence import Evidence
from analysis.judge import judge, judge_early
from analysis.judge.hints import hints
from analysis.judge.types import METRICS, Check, Hint, Quality, QualityIssue, Verdict, Window
from analysis.models import DeploymentVerdict, EnvironmentStanding, Feedback
from analysis.models import Hint as StoredHint
from analysis.outbox import Stance, emit_revised, emit_verdicts, refresh_messages
from analysis.recorded import alert_json, expectation_json, hint_columns, left_out_json, verdict_json
from deployments.models import Deployment, State
from explain.facts import Fact
from projects.policy import policy_from_dict
from security.redaction import redact_text

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Result of an analysis. took_s: seconds of judging, None if not measured."""

    evidence: Evidence
    verdict: Verdict
    hints: tuple[Hint, ...]
    took_s: float | None = None


def assess(evidence: Evidence) -> Judgement:
    """Judge and find hints. Pure."""
    return explained(evidence, judge(evidence.pre, evidence.post, evidence.policy, evidence.window))


def assess_early(evidence: Evidence) -> Judgement | None:
    """Return a rollback that can be recommended before the end of the window, else None. Pure."""
    verdict = judge_early(evidence.pre, evidence.post, evidence.policy, evidence.window)
    return explained(evidence, verdict) if verdict is not None else None


def explained(evidence: Evidence, verdict: Verdict) -> Judgement:
    return Judgement(evidence, verdict, tuple(hints(verdict, evidence.pre, evidence.post, evidence.window)))


def store_early(deployment_id: int, judgement: Judgement) -> bool:
    """Issue an early verdict; return False if there is one, or the window is over."""
    with transaction.atomic():
        observed = Deployment.objects.select_for_update().filter(pk=deployment_id, state=State.FINISHED)
        if not observed.exists() or DeploymentVerdict.objects.filter(deployment_id=deployment_id).exists():
            return False
        issue({deployment_id: judgement})
        deployments = named([deployment_id])
        emit_verdicts({deployment_id: judgement}, deployments)
    log_verdicts({deployment_id: judgement}, deployments)
    return True


def store_judgement(deployment_id: int, judgement: Judgement) -> bool:
    """Store one judgement; return False if it was done before."""
    return bool(store_judgements({deployment_id: judgement}))


def store_judgements(judgements: Mapping[int, Judgement]) -> list[int]:
    """Write verdicts, hints and states in one transaction; return the deployments (keys) that had none.

    An early verdict stays, with the new one beside it as the final verdict. A dozen queries for all: a few hundred
    deployments may end in the same second.
    """
    with transaction.atomic():
        # Lock in the order of ids: two pollers may have the same ones.
        unjudged = Deployment.objects.select_for_update().filter(pk__in=judgements.keys(), state=State.FINISHED)
        ids = list(unjudged.order_by("pk").values_list("pk", flat=True))
        Deployment.objects.filter(pk__in=ids).update(state=State.ANALYZED)
        early = {verdict.deployment_id: verdict for verdict in DeploymentVerdict.objects.filter(deployment_id__in=ids)}
        if early:
            lock_standings(ids)
        issue({deployment_id: judgements[deployment_id] for deployment_id in ids if deployment_id not in early})
        for deployment_id, verdict in early.items():
            judgement = judgements[deployment_id]
            verdict.final = final_json(judgement)
            verdict.save(update_fields=["final"])
            add_hints(deployment_id, judgements[deployment_id].hints)
        stored, deployments = {deployment_id: judgements[deployment_id] for deployment_id in ids}, named(ids)
        emit_verdicts(stored, deployments, early=early)
    log_verdicts(stored, deployments)
    return ids


def lock_standings(deployment_ids: Sequence[int]) -> None:
    """Lock the rows that triggers write, in one order: the statements of two pollers would lock them crosswise."""
    environments = Deployment.objects.filter(pk__in=deployment_ids).values("environment_id")
    rows = EnvironmentStanding.objects.select_for_update().filter(environment_id__in=environments)
    list(rows.order_by("environment_id").values_list("environment_id"))


def issue(judgements: Mapping[int, Judgement]) -> None:
    """Write and count verdicts and hints of deployments without a verdict, in the caller's transaction."""
    DeploymentVerdict.objects.bulk_create(
        [verdict_row(pk, judgement) for pk, judgement in judgements.items()], ignore_conflicts=True
    )
    StoredHint.objects.bulk_create(
        [row for pk, judgement in judgements.items() for row in hint_rows(pk, judgement.hints)]
    )
    count_verdicts({pk: (judgement.verdict, judgement.took_s) for pk, judgement in judgements.items()})
    count_hints(hint for judgement in judgements.values() for hint in judgement.hints)


def named(deployment_ids: Sequence[int]) -> dict[int, Deployment]:
    """Return the deployments by id, with the names of their projects and environments."""
    rows = Deployment.objects.select_related("project", "environment").only(*NAMES)
    return {one.pk: one for one in rows.filter(pk__in=deployment_ids).order_by("pk")}


NAMES = (
    *("uuid", "number", "kind", "commit_sha", "commit_message", "author", "branch", "version", "url"),
    "pipeline_result",
    *("project__uuid", "project__name", "project__team_id", "environment__name"),
)


def log_verdicts(judgements: Mapping[int, Judgement], deployments: Mapping[int, Deployment]) -> None:
    """Log one line for each."""
    for pk, deployment in deployments.items():
        verdict, took_s = judgements[pk].verdict, judgements[pk].took_s
        logger.info(
            "verdict_issued",
            deployment_id=str(deployment.uuid),
            project_id=str(deployment.project.uuid),
            verdict=verdict.verdict,
            confidence=verdict.confidence,
            conclusive=verdict.conclusive,
            early=verdict.early,
            hints=[hint.code for hint in judgements[pk].hints],
            duration_ms=round(took_s * 1000, 1) if took_s is not None else None,
        )


def store_unjudged(deployment_id: int, why: Fact) -> bool:
    """Store the verdict of a deployment that could not be judged: an inconclusive warning, never ok."""
    missing = QualityIssue(NOT_ANALYZED, why, 1.0)
    verdict = Verdict(
        verdict="warning",
        confidence=0.0,
        conclusive=False,
        score=0.5,
        summary=Fact("unjudged", {"why": why}),
        checks=(),
        quality=Quality(0.0, (missing,)),
        policy={},
    )
    evidence = Evidence(pre=(), post=(), window=Window(expected=0), policy=policy_from_dict({}))
    return store_judgement(deployment_id, Judgement(evidence, verdict, ()))


NOT_ANALYZED = "not_analyzed"


def take_back_unjudged(deployment_ids: Sequence[int]) -> None:
    """Remove verdicts written by store_unjudged, so that these deployments wait for their verdict. Others stay."""
    unjudged = [{"code": NOT_ANALYZED}]
    verdicts = DeploymentVerdict.objects.filter(deployment_id__in=deployment_ids)
    as_final = verdicts.filter(early=True, final__quality__issues__contains=unjudged)
    alone = verdicts.filter(early=False, quality__issues__contains=unjudged)
    ids = [verdict.deployment_id for verdict in (*as_final, *alone)]
    as_final.update(final=None)
    alone.delete()
    Deployment.objects.filter(pk__in=ids, state=State.ANALYZED).update(state=State.FINISHED)


def verdict_row(deployment_id: int, judgement: Judgement) -> DeploymentVerdict:
    """Return the row of a verdict."""
    verdict = judgement.verdict
    return DeploymentVerdict(
        deployment_id=deployment_id,
        **verdict_json(verdict),
        failed_metrics=failed_metrics(verdict.checks),
        policy=verdict.policy,
        evidence=evidence_json(judgement.evidence),
        early=verdict.early,
        shadow=bool(verdict.policy.get("shadow", False)),
    )


def failed_metrics(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [
        {
            "metric": check.metric,
            "value": check.observed,
            "limit": check.limit,
            "share": check.share,
            "tolerance": check.tolerance,
        }
        for check in checks
        if check.failed
    ]


def evidence_json(evidence: Evidence) -> dict[str, Any]:
    """Return the evidence of a verdict as JSON, from which it can be recomputed."""
    window = evidence.window
    origins = [sample.origin for sample in evidence.pre]
    return {
        "pre_samples": len(evidence.pre),
        "pre_origins": {origin: origins.count(origin) for origin in sorted(set(origins))},
        "post_samples": len(evidence.post),
        "expected_samples": window.expected,
        "interval_s": window.interval_s,
        "evaluated_at": window.evaluated_at.isoformat() if window.evaluated_at else None,
        "misses": [
            {"phase": miss.phase, "sequence_index": miss.sequence_index, "reason": miss.reason}
            for miss in window.misses
        ],
        "excluded": left_out_json(evidence.excluded),
        "history_of": list(evidence.history_of),
        "compared_before": evidence.compared_before,
        "policy_version": evidence.policy_number,
        "earlier_days": [asdict(day) for day in window.earlier_days],
        "bad_predecessor": window.bad_predecessor,
        "endpoint_answered_before": window.endpoint_answered_before,
        "expectations": [expectation_json(one) for one in window.expectations],
        "alerts": [alert_json(one) for one in window.alerts],
        "control_samples": len(window.control_before) + len(window.control_after),
        "has_control": window.has_control,
    }


def statement_time() -> datetime:
    """Return the time by which the database stamps rows that are written now, not that of the transaction's start."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def final_json(judgement: Judgement) -> dict[str, Any]:
    """Return the final verdict of a window with an early verdict, as JSON."""
    return {
        **verdict_json(judgement.verdict),
        "evidence": evidence_json(judgement.evidence),
        "at": statement_time().isoformat(),
    }


def hint_rows(deployment_id: int, found: Sequence[Hint], *, first: int = 0) -> list[StoredHint]:
    """Return the rows of hints, at positions from `first` on."""
    return [
        StoredHint(deployment_id=deployment_id, position=position, **hint_columns(hint))
        for position, hint in enumerate(found, start=first)
    ]


def add_hints(deployment_id: int, found: Sequence[Hint]) -> None:
    """Add hints that the early verdict did not have."""
    rows = StoredHint.objects.filter(deployment_id=deployment_id).values_list("code", "metric")
    # Each custom metric has a hint of its own.
    known = {(code, "" if metric in METRICS else metric) for code, metric in rows}
    new = [hint for hint in found if (hint.code, "" if hint.metric in METRICS else hint.metric or "") not in known]
    StoredHint.objects.bulk_create(hint_rows(deployment_id, new, first=len(known)))
    count_hints(new)


def marked(verdict: DeploymentVerdict, mark: Feedback | None) -> Stance:
    """Return what a verdict says with its mark."""
    name = verdict.verdict if mark is None or mark.right else mark.should_have_been or None
    return Stance(name, verdict.conclusive)


class VerdictRevised(Exception):
    """The verdict was revised since it was shown."""


def give_feedback(
    verdict: DeploymentVerdict,
    *,
    right: bool,
    by: User | None,
    reason: str = "",
    should_have_been: str = "",
    who: str = "",
) -> Feedback:
    """Mark a verdict right or wrong, replacing an earlier mark; notify those who were told something else.

    who: their name, where they have no account here. Raises VerdictRevised.
    """
    values = {
        "right": right,
        "reason": reason,
        "given_by": by,
        "given_at": Now(),
        "should_have_been": "" if right else should_have_been,
    }
    with transaction.atomic():
        # A mark is about the verdict that was shown; a concurrent revision waits for this lock.
        rows = DeploymentVerdict.objects.select_for_update().filter(pk=verdict.pk, verdict=verdict.verdict)
        if not rows.exists():
            raise VerdictRevised
        was = marked(verdict, Feedback.objects.filter(verdict=verdict).first())
        feedback, _ = Feedback.objects.update_or_create(verdict=verdict, defaults=values)
        now = marked(verdict, feedback)
        if was != now:
            mark = {"right": right, "should_have_been": feedback.should_have_been, "reason": redact_text(reason)}
            who = by.get_username() if by is not None else who
            deployment = named([verdict.deployment_id])[verdict.deployment_id]
            emit_revised(deployment, was, now, mark=mark, about=verdict.verdict, who=who)
        refresh_messages(verdict.deployment_id)
    logger.info("verdict_marked", deployment_id=str(verdict.deployment.uuid), right=right)
    return feedback
