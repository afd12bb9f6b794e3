"""Base of hint rules: the findings of the judge, and the builder of hints. Pure.

Rules read the verdict's checks and have no limits of their own, so they work with every judge.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from analysis.judge.levels import mean_of
from analysis.judge.types import (
    NOT_SET_UP,
    OK,
    ROLLBACK,
    TOO_GOOD,
    UNREACHABLE,
    Check,
    Hint,
    Sample,
    Severity,
    Verdict,
    Window,
    named,
    samples_over,
    values_of,
)
from explain.facts import Fact, Param

MAX_CONFIDENCE = 0.99
# Rules about the service as a whole: the metric of their checks is not at a bad level.
OF_THE_SERVICE = frozenset({UNREACHABLE, NOT_SET_UP, TOO_GOOD})


@dataclass(frozen=True)
class Findings:
    """Input of a rule: the verdict with its checks, the samples and the window."""

    verdict: Verdict
    pre: tuple[Sample, ...]
    post: tuple[Sample, ...]
    window: Window

    @cached_property
    def _worst(self) -> dict[str, Check]:
        checks = [check for check in self.verdict.checks if check.rule not in OF_THE_SERVICE]
        rank = {"critical": 3, "warning": 2, "ok": 1, "skipped": 0}
        ordered = sorted(checks, key=lambda check: (rank[check.outcome], check.margin or 0.0))
        return {check.metric: check for check in ordered}

    def check(self, metric: str) -> Check | None:
        """Return the most severe check of the metric, None if it was not judged."""
        return self._worst.get(metric)

    def failed(self, metric: str) -> Check | None:
        """Return the metric's check if it failed, as warning or critical."""
        check = self.check(metric)
        return check if check is not None and check.failed else None

    def by_rule(self, rule: str) -> Check | None:
        """Return the first check of a rule, whatever its outcome."""
        return next((check for check in self.verdict.checks if check.rule == rule), None)

    def unreachable(self) -> Check | None:
        """Return the check of an endpoint that stopped answering, if it failed. It is not about a metric's level."""
        return next((check for check in self.verdict.checks if check.rule == UNREACHABLE and check.failed), None)

    def all_failed(self, *metrics: str) -> tuple[Check, ...]:
        """Return the checks if all of the metrics failed, else nothing."""
        found = tuple(check for metric in metrics if (check := self.failed(metric)) is not None)
        return found if len(found) == len(metrics) else ()


Rule = Callable[[Findings], Hint | None]


def hard_limit(check: Check) -> float | None:
    """Return the limit itself if samples are compared with a threshold below it, else that threshold."""
    limit: float | None = check.details.get("configured_limit", check.limit)
    return limit


def from_checks(
    findings: Findings,
    text_key: str,
    checks: Sequence[Check],
    *,
    threshold: float | None = None,
    severity: Severity | None = None,
    params: Mapping[str, Param] | None = None,
) -> Hint:
    """Build a hint on one or more checks; the first one provides observed, threshold and params."""
    lead = checks[0]
    limit = threshold if threshold is not None else lead.limit
    return Hint(
        text_key,
        metric=lead.metric,
        metrics=tuple(check.metric for check in checks),
        severity=severity or _gravest(checks),
        confidence=_confidence(findings, checks),
        observed=lead.observed,
        threshold=limit,
        evidence=tuple(check.fact for check in checks),
        numbers={check.metric: _numbers(check) for check in checks},
        params={**_params(findings, checks, limit), **(params or {})},
    )


def when_failed(text_key: str, *metrics: str) -> Rule:
    """A rule: a hint when the checks of all these metrics failed; the first one leads."""

    def rule(findings: Findings) -> Hint | None:
        checks = findings.all_failed(*metrics)
        return from_checks(findings, text_key, checks) if checks else None

    return rule


def agreeing(verdict: Verdict, hint: Hint) -> Hint:
    """Return the hint as it goes with the verdict; the two must not contradict each other.

    A hint is critical only if the verdict recommends a rollback, and at most a warning with an ok.
    """
    severity = hint.severity
    if severity == "critical" and verdict.verdict != ROLLBACK:
        severity = "info" if verdict.verdict == OK else "warning"
    confidence = round(min(max(hint.confidence, 0.0), MAX_CONFIDENCE), 4)
    return replace(hint, severity=severity, confidence=confidence, roll_back=verdict.verdict == ROLLBACK)


def _gravest(checks: Sequence[Check]) -> Severity:
    outcomes = {check.outcome for check in checks}
    return "critical" if "critical" in outcomes else "warning" if "warning" in outcomes else "info"


def _confidence(findings: Findings, checks: Sequence[Check]) -> float:
    """Return the confidence of a hint.

    It grows with the deviation (half its weight at twice the threshold), the share of bad samples and the number of
    signals; poor data reduces it by up to half.
    """
    deviation = sum(1 - 1 / max(_margin(check), 1.0) for check in checks) / len(checks)
    persistence = sum(check.share or 0.0 for check in checks) / len(checks)
    raw = 0.45 + 0.30 * deviation + 0.15 * persistence + 0.10 * min(len(checks) - 1, 2)
    return raw * (0.5 + 0.5 * findings.verdict.quality.score)


def _margin(check: Check) -> float:
    if check.margin is not None:
        return check.margin
    return check.observed / check.limit if check.observed is not None and check.limit else 1.0


def _numbers(check: Check) -> dict[str, Any]:
    return {name: getattr(check, name) for name in ("observed", "baseline", "limit", "share", "tolerance", "margin")}


def _params(findings: Findings, checks: Sequence[Check], limit: float | None) -> dict[str, Param]:
    """Return the levels of the leading metric in its unit, and those of each metric if several are explained."""
    lead = checks[0]
    count = lead.details.get("samples", len(findings.post))
    change: Param = Fact("unknown_share")
    if lead.baseline and lead.observed is not None and lead.baseline > 0:
        change = min(abs(lead.observed / lead.baseline - 1), 99.0)
    params: dict[str, Param] = {
        "metric": lead.metric,
        "observed": lead.observed,
        "baseline": lead.baseline,
        "threshold": limit,
        "worst": lead.details.get("worst", lead.observed),
        "change": change,
        "samples": Fact("samples", {"n": count}),
        "samples_over": samples_over(lead.details.get("over", round((lead.share or 0.0) * count)), count),
        "traffic_before": _traffic(findings, "baseline", findings.pre),
        "traffic_now": _traffic(findings, "observed", findings.post),
        "metrics": [named(check.metric) for check in checks],
    }
    if len(checks) == 1:
        return params
    for check in checks:
        params |= {f"{check.metric}_observed": check.observed, f"{check.metric}_baseline": check.baseline}
    return params


def _traffic(findings: Findings, side: str, samples: Sequence[Sample]) -> float | None:
    """Return the level of traffic that its check names, else the mean."""
    check = findings.check("requests_per_sec")
    named: float | None = getattr(check, side) if check is not None else None
    if named is not None:
        return named
    rates = values_of(samples, "requests_per_sec")
    return mean_of(rates) if rates else None
