"""From evidence to a stored verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from analysis.counting import count_hints, count_verdicts
from analysis.evidence import Evidence
from analysis.judge import judge, judge_early
from analysis.judge.hints import hints
from analysis.judge.types import Check, Hint, Quality, QualityIssue, Verdict, Window
from analysis.models import DeploymentVerdict, Feedback
from analysis.models import Hint as StoredHint
from analysis.recorded import hint_columns, left_out_json, verdict_json
from deployments.models import Deployment, State
from explain.facts import Fact
from projects.policy import policy_from_dict

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What analysis made of the evidence. took_s: how long that took, where somebody measured."""

    evidence: Evidence
    verdict: Verdict
    hints: tuple[Hint, ...]
    took_s: float | None = None


def assess(evidence: Evidence) -> Judgement:
    """Judges and explains. Pure."""
    return explained(evidence, judge(evidence.pre, evidence.post, evidence.policy, evidence.window))


def assess_early(evidence: Evidence) -> Judgement | None:
    """A rollback that need not wait for the end of the window; None: it has to wait. Pure."""
    verdict = judge_early(evidence.pre, evidence.post, evidence.policy, evidence.window)
    return explained(evidence, verdict) if verdict is not None else None


def explained(evidence: Evidence, verdict: Verdict) -> Judgement:
    return Judgement(evidence, verdict, tuple(hints(verdict, evidence.pre, evidence.post, evidence.window)))


def store_early(deployment_id: int, judgement: Judgement) -> bool:
    """Issues the verdict while the window goes on; False where one stands already or the window is over."""
    with transaction.atomic():
        observed = Deployment.objects.select_for_update().filter(pk=deployment_id, state=State.FINISHED)
        if not observed.exists() or DeploymentVerdict.objects.filter(deployment_id=deployment_id).exists():
            return False
        issue({deployment_id: judgement})
    log_verdicts({deployment_id: judgement})
    return True


def store_judgement(deployment_id: int, judgement: Judgement) -> bool:
    """As `store_judgements`, for one deployment; False where that was done already."""
    return bool(store_judgements({deployment_id: judgement}))


def store_judgements(judgements: Mapping[int, Judgement]) -> list[int]:
    """Writes verdicts, hints and states in one transaction; the deployments (keys) for which that was still to be done.

    Where an early verdict stands it stays, and the new one is kept beside it as the final verdict. A dozen queries for
    all of them: a few hundred deployments may end in the same second.
    """
    with transaction.atomic():
        # Locked in the order of ids: two pollers may have the same ones.
        unjudged = Deployment.objects.select_for_update().filter(pk__in=judgements.keys(), state=State.FINISHED)
        ids = list(unjudged.order_by("pk").values_list("pk", flat=True))
        Deployment.objects.filter(pk__in=ids).update(state=State.ANALYZED)
        early = {verdict.deployment_id: verdict for verdict in DeploymentVerdict.objects.filter(deployment_id__in=ids)}
        issue({deployment_id: judgements[deployment_id] for deployment_id in ids if deployment_id not in early})
        for deployment_id, verdict in early.items():
            judgement = judgements[deployment_id]
            verdict.final = final_json(judgement)
            verdict.save(update_fields=["final"])
            add_hints(deployment_id, judgements[deployment_id].hints)
    log_verdicts({deployment_id: judgements[deployment_id] for deployment_id in ids})
    return ids


def issue(judgements: Mapping[int, Judgement]) -> None:
    """Writes and counts verdicts and hints of deployments that have none, in the caller's transaction."""
    DeploymentVerdict.objects.bulk_create(
        [verdict_row(pk, judgement) for pk, judgement in judgements.items()], ignore_conflicts=True
    )
    StoredHint.objects.bulk_create(
        [row for pk, judgement in judgements.items() for row in hint_rows(pk, judgement.hints)]
    )
    count_verdicts({pk: (judgement.verdict, judgement.took_s) for pk, judgement in judgements.items()})
    count_hints(hint for judgement in judgements.values() for hint in judgement.hints)


def log_verdicts(judgements: Mapping[int, Judgement]) -> None:
    """One line for each."""
    names = Deployment.objects.filter(pk__in=judgements.keys()).order_by("pk")
    for pk, deployment, project in names.values_list("pk", "uuid", "project__uuid"):
        verdict, took_s = judgements[pk].verdict, judgements[pk].took_s
        logger.info(
            "verdict_issued",
            deployment_id=str(deployment),
            project_id=str(project),
            verdict=verdict.verdict,
            confidence=verdict.confidence,
            conclusive=verdict.conclusive,
            early=verdict.early,
            hints=[hint.code for hint in judgements[pk].hints],
            duration_ms=round(took_s * 1000, 1) if took_s is not None else None,
        )


def store_unjudged(deployment_id: int, why: Fact) -> bool:
    """A verdict for a deployment that could not be judged: a warning that is not conclusive, never an ok."""
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
    """Removes what store_unjudged wrote for these; they wait for their verdict again. What was judged stays."""
    unjudged = [{"code": NOT_ANALYZED}]
    verdicts = DeploymentVerdict.objects.filter(deployment_id__in=deployment_ids)
    as_final = verdicts.filter(early=True, final__quality__issues__contains=unjudged)
    alone = verdicts.filter(early=False, quality__issues__contains=unjudged)
    ids = [verdict.deployment_id for verdict in (*as_final, *alone)]
    as_final.update(final=None)
    alone.delete()
    Deployment.objects.filter(pk__in=ids, state=State.ANALYZED).update(state=State.FINISHED)


def verdict_row(deployment_id: int, judgement: Judgement) -> DeploymentVerdict:
    """The row of a verdict."""
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
    """What the verdict was judged on, so that it can be followed and recomputed."""
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
        "policy_version": evidence.policy_number,
    }


def final_json(judgement: Judgement) -> dict[str, Any]:
    """What the judge said at the end of a window whose verdict had been issued early."""
    return {
        **verdict_json(judgement.verdict),
        "evidence": evidence_json(judgement.evidence),
        "at": timezone.now().isoformat(),
    }


def hint_rows(deployment_id: int, found: Sequence[Hint], *, first: int = 0) -> list[StoredHint]:
    """The rows of hints, at positions from `first` on."""
    return [
        StoredHint(deployment_id=deployment_id, position=position, **hint_columns(hint))
        for position, hint in enumerate(found, start=first)
    ]


def add_hints(deployment_id: int, found: Sequence[Hint]) -> None:
    """Adds the hints that the early verdict did not have yet."""
    known = set(StoredHint.objects.filter(deployment_id=deployment_id).values_list("code", flat=True))
    new = [hint for hint in found if hint.code not in known]
    StoredHint.objects.bulk_create(hint_rows(deployment_id, new, first=len(known)))
    count_hints(new)


class VerdictRevised(Exception):
    """The verdict is another one by now than the one that was looked at."""


def give_feedback(
    verdict: DeploymentVerdict, *, right: bool, by: User | None, reason: str = "", should_have_been: str = ""
) -> Feedback:
    """Marks a verdict right or wrong; a later mark replaces an earlier one. Raises VerdictRevised."""
    values = {"right": right, "reason": reason, "given_by": by, "should_have_been": "" if right else should_have_been}
    with transaction.atomic():
        # A mark is about the verdict that the person saw; whoever revises it waits until the mark is there.
        rows = DeploymentVerdict.objects.select_for_update().filter(pk=verdict.pk, verdict=verdict.verdict)
        if not rows.exists():
            raise VerdictRevised
        feedback, _ = Feedback.objects.update_or_create(verdict=verdict, defaults=values)
    logger.info("verdict_marked", deployment_id=str(verdict.deployment.uuid), right=right)
    return feedback
