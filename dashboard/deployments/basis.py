"""What a verdict rests on, as its page tells it: what was compared, what was left out, by which policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from analysis.judge.types import METRICS
from analysis.models import DeploymentVerdict
from dashboard import words
from dashboard.deployments.queries import Detail, evidence_of
from dashboard.words import Status
from deployments.models import Deployment
from projects.policy import LIMITED_METRICS


@dataclass(frozen=True, slots=True)
class Origin:
    """So many samples that the deployment was compared with, and where they come from."""

    name: str
    count: int
    label: Any


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Samples that were left out for one reason, the first and the last of them."""

    why: str
    count: int
    first: datetime | None
    last: datetime | None


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
class Basis:
    """What the verdict rests on. helpers: the earlier deployments whose samples helped out."""

    origins: list[Origin]
    left_out: list[LeftOut]
    policy: PolicyUsed
    compared: int
    seen: int
    expected: int
    helpers: list[Deployment] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FinalWord:
    """What the judge said at the end of a window whose verdict had been issued early."""

    status: Status
    confidence: float
    conclusive: bool
    summary: str
    checks: list[dict[str, Any]]
    quality: dict[str, Any]
    at: datetime | None
    agrees: bool


@dataclass(frozen=True, slots=True)
class Revised:
    """The last time that somebody let the analysis run again and stored what it said. was: what stood before."""

    was: Status
    at: datetime | None
    by: str


def revised(verdict: DeploymentVerdict | None) -> Revised | None:
    """None where the verdict is as the analysis job wrote it."""
    if verdict is None or not verdict.revisions:
        return None
    last = verdict.revisions[-1]
    return Revised(
        was=words.VERDICTS.get(last.get("verdict"), words.UNKNOWN),
        at=parse_datetime(last.get("replaced_at") or ""),
        by=last.get("by") or "–",
    )


def basis_of(detail: Detail) -> Basis | None:
    """What the deployment's verdict rests on; None without one."""
    verdict = detail.verdict
    if verdict is None:
        return None
    evidence = evidence_of(verdict)
    counts: Mapping[str, int] = evidence.get("pre_origins", {})
    return Basis(
        origins=[Origin(name, counts[name], label) for name, label in words.ORIGINS.items() if counts.get(name)],
        left_out=grouped(detail.excluded),
        policy=policy_used(verdict.policy, verdict.evidence.get("policy_version")),
        compared=evidence.get("pre_samples", 0),
        # As the verdict was issued: of an early one, fewer than came in the end.
        seen=verdict.evidence.get("post_samples", 0),
        expected=verdict.evidence.get("expected_samples", 0),
        helpers=detail.history_of,
    )


def grouped(excluded: list[dict[str, Any]]) -> list[LeftOut]:
    """What was left out, by reason."""
    by_reason: dict[str, list[str]] = {}
    for one in excluded:
        by_reason.setdefault(str(one.get("why", "")), []).append(str(one.get("collected_at", "")))
    return [
        LeftOut(why, len(times), parse_datetime(min(times)), parse_datetime(max(times)))
        for why, times in by_reason.items()
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


def final_word(verdict: DeploymentVerdict | None) -> FinalWord | None:
    """The judge's last word on an early verdict; None where there is none (yet)."""
    told = verdict.final if verdict is not None else None
    if verdict is None or not told:
        return None
    return FinalWord(
        status=words.VERDICTS.get(told.get("verdict"), words.UNKNOWN),
        confidence=told.get("confidence", 0.0),
        conclusive=told.get("conclusive", False),
        summary=told.get("summary", ""),
        checks=told.get("checks", []),
        quality=told.get("quality", {}),
        at=parse_datetime(told.get("at") or ""),
        agrees=told.get("verdict") == verdict.verdict,
    )
