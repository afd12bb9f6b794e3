"""Prepare the evidence of a verdict for its page: compared samples, left-out samples, policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.judge.types import METRICS
from analysis.recorded import LeftOut
from dashboard import labels
from dashboard.deployments.queries import Detail
from explain.rendering import render
from projects.policy import LIMITED_METRICS


@dataclass(frozen=True, slots=True)
class PolicyUsed:
    """The policy of a verdict.

    number: version sent with the trigger call, None for the environment's own; limits: by metric, in its unit;
    left_out: metrics that were not judged.
    """

    kind: Any
    sensitivity: Any
    number: int | None
    limits: list[tuple[str, float]]
    left_out: list[str]


def evidence_view(detail: Detail) -> dict[str, Any] | None:
    """Return the evidence, None without a verdict.

    origins: name, number and label of the compared samples of each origin; left_out: groups of left-out samples;
    helpers: earlier deployments whose samples were used too; compared_before: of a rollback, number
    of the deployment before which PRE was taken; earlier_days: number of days with levels of the same
    minutes; control_samples: of the control group; seen, expected: POST samples when it was issued.
    """
    verdict = detail.verdict
    if verdict is None:
        return None
    standing, issued = verdict.standing.judged_on, verdict.judged.judged_on
    counts = standing.pre_origins
    return {
        "origins": [(name, counts[name], label) for name, label in labels.ORIGINS.items() if counts.get(name)],
        "left_out": grouped(detail.excluded),
        "policy": policy_used(verdict.policy, issued.policy_version),
        "compared": standing.pre_samples,
        "seen": issued.post_samples,
        "expected": issued.expected_samples,
        "helpers": detail.history_of,
        "compared_before": standing.compared_before,
        "earlier_days": len(standing.earlier_days),
        "control_samples": standing.control_samples,
    }


def grouped(excluded: Sequence[LeftOut]) -> list[dict[str, Any]]:
    """Group left-out samples by reason: their number, and the times of the first and the last."""
    by_reason: dict[str, list[LeftOut]] = {}
    for one in excluded:
        by_reason.setdefault(render(one.why), []).append(one)
    return [
        {
            "why": group[0].why,
            "count": len(group),
            "first": min(one.collected_at for one in group),
            "last": max(one.collected_at for one in group),
        }
        for group in by_reason.values()
    ]


def policy_used(policy: Mapping[str, Any], number: int | None) -> PolicyUsed:
    """Describe a stored policy; unknown kinds unchanged."""
    kind = str(policy.get("kind", ""))
    if kind == "fixed":
        sections = [(metric, policy.get(metric, {}).get("limit")) for metric in LIMITED_METRICS]
    else:
        limits = policy.get("limits", {})
        sections = [(metric, limits.get(metric)) for metric in METRICS]
    return PolicyUsed(
        kind=labels.POLICY_KINDS.get(kind, kind),
        sensitivity=labels.SENSITIVITIES.get(policy.get("sensitivity", ""), ""),
        number=number,
        limits=[(metric, float(limit)) for metric, limit in sections if limit is not None],
        left_out=list(policy.get("left_out", [])),
    )
