"""The evidence of a verdict as its page shows it: what was compared, what was left out, by which policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from analysis.judge.types import METRICS
from analysis.recorded import LeftOut
from dashboard import words
from dashboard.deployments.queries import Detail
from deployments.models import Deployment
from explain.facts import Fact
from explain.rendering import render
from projects.policy import LIMITED_METRICS


@dataclass(frozen=True, slots=True)
class Origin:
    """So many samples that the deployment was compared with, and where they come from."""

    name: str
    count: int
    label: Any


@dataclass(frozen=True, slots=True)
class LeftOutGroup:
    """Samples that were left out for one reason, the first and the last of them."""

    why: Fact
    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class PolicyUsed:
    """The policy of a verdict. number: of the version that the trigger call brought, None for the environment's own;
    limits: the hard limits by metric, in its unit; left_out: metrics that were not judged."""

    kind: Any
    sensitivity: Any
    number: int | None
    limits: list[tuple[str, float]]
    left_out: list[str]


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """The evidence of a verdict. helpers: the earlier deployments whose samples were used as well; seen and expected:
    POST samples when the verdict was issued."""

    origins: list[Origin]
    left_out: list[LeftOutGroup]
    policy: PolicyUsed
    compared: int
    seen: int
    expected: int
    helpers: list[Deployment] = field(default_factory=list)


def evidence_view(detail: Detail) -> EvidenceView | None:
    """None without a verdict."""
    verdict = detail.verdict
    if verdict is None:
        return None
    standing, issued = verdict.standing.judged_on, verdict.judged.judged_on
    counts = standing.pre_origins
    return EvidenceView(
        origins=[Origin(name, counts[name], label) for name, label in words.ORIGINS.items() if counts.get(name)],
        left_out=grouped(detail.excluded),
        policy=policy_used(verdict.policy, issued.policy_version),
        compared=standing.pre_samples,
        seen=issued.post_samples,
        expected=issued.expected_samples,
        helpers=detail.history_of,
    )


def grouped(excluded: Sequence[LeftOut]) -> list[LeftOutGroup]:
    """The left-out samples by reason."""
    by_reason: dict[str, list[LeftOut]] = {}
    for one in excluded:
        by_reason.setdefault(render(one.why), []).append(one)
    return [
        LeftOutGroup(
            group[0].why,
            len(group),
            first=min(one.collected_at for one in group),
            last=max(one.collected_at for one in group),
        )
        for group in by_reason.values()
    ]


def policy_used(policy: Mapping[str, Any], number: int | None) -> PolicyUsed:
    """From a stored policy snapshot to words; an unknown kind as it is."""
    kind = str(policy.get("kind", ""))
    if kind == "fixed":
        sections = [(metric, policy.get(metric, {}).get("limit")) for metric in LIMITED_METRICS]
    else:
        limits = policy.get("limits", {})
        sections = [(metric, limits.get(metric)) for metric in METRICS]
    return PolicyUsed(
        kind=words.POLICY_KINDS.get(kind, kind),
        sensitivity=words.SENSITIVITIES.get(policy.get("sensitivity", ""), ""),
        number=number,
        limits=[(metric, float(limit)) for metric, limit in sections if limit is not None],
        left_out=list(policy.get("left_out", [])),
    )
