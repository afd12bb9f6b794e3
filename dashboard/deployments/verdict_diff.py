"""Compare a stored verdict with the result of another analysis, check by check."""

from dataclasses import dataclass

from analysis.judge.types import METRICS, Check, Verdict
from analysis.models import DeploymentVerdict
from dashboard import labels
from dashboard.deployments.detail import gravest
from dashboard.deployments.evidence_view import PolicyUsed, policy_used
from dashboard.labels import Status


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two verdicts."""

    verdict: Verdict

    @property
    def status(self) -> Status:
        return labels.status_by_name(self.verdict.verdict)

    @property
    def policy(self) -> PolicyUsed:
        return policy_used(self.verdict.policy, None)


@dataclass(frozen=True, slots=True)
class MetricRow:
    """The most severe check of a metric on each side, None if there is none."""

    metric: str
    recorded: Check | None
    result: Check | None

    @property
    def changed(self) -> bool:
        compared = ("outcome", "rule", "limit", "observed", "baseline")
        return any(getattr(self.recorded, name, None) != getattr(self.result, name, None) for name in compared)


@dataclass(frozen=True, slots=True)
class VerdictDiff:
    """The comparison. recorded: None without a stored verdict."""

    recorded: Side | None
    result: Side
    rows: list[MetricRow]

    @property
    def changed(self) -> bool:
        """Return whether the verdict would change."""
        return self.recorded is None or self.recorded.status != self.result.status


def verdict_diff(verdict: DeploymentVerdict | None, result: Verdict) -> VerdictDiff:
    """Compare. verdict: the stored one; of an early one the final verdict is used, which rests on the same samples."""
    recorded = Side(verdict.standing.verdict) if verdict is not None else None
    known = gravest(recorded.verdict.checks) if recorded is not None else {}
    now = gravest(result.checks)
    rows = [
        MetricRow(metric, known.get(metric), now.get(metric))
        for metric in dict.fromkeys((*METRICS, *known, *now))
        if metric in {**known, **now}
    ]
    return VerdictDiff(recorded, Side(result), rows)
