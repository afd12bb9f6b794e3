"""What hint rules are made of: the judge's findings, the texts, and the one builder of hints. Pure.

Rules read the verdict's checks and have no limits of their own, so they work with every judge. Texts are templates
with named placeholders, kept at module level in plain English and marked for translators (analysis/told.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from analysis.judge.levels import mean_of
from analysis.judge.types import OK, ROLLBACK, Check, Hint, Sample, Severity, Verdict, VerdictName, Window
from analysis.told import in_a_row, told
from analysis.told import noop as _
from analysis.wording import label, level, percent, samples, samples_over

# A rule of judges that count failed collections as evidence: the endpoint answers no more.
UNREACHABLE = "endpoint_stopped_answering"

MAX_CONFIDENCE = 0.99
ROLL_BACK_FIRST = _("Roll back to the previous version first; look for the reason afterwards.")


@dataclass(frozen=True)
class HintText:
    """The words of a hint. key is unique (several texts may share a code); title, cause, impact and actions are
    templates; last_resort: when to roll back after all, the last action where the verdict does not say so already
    (there, rolling back comes first); replaces: codes of the hints that this one explains, where they are about the
    same metrics."""

    key: str
    title: str
    cause: str
    impact: str
    actions: tuple[str, ...]
    last_resort: str = ""
    replaces: tuple[str, ...] = ()

    def actions_with(self, verdict: VerdictName) -> tuple[str, ...]:
        """What to do, in this order: a hint must not make depend on anything what the verdict recommends."""
        if not self.last_resort:
            return self.actions
        return (ROLL_BACK_FIRST, *self.actions) if verdict == ROLLBACK else (*self.actions, self.last_resort)

    @property
    def code(self) -> str:
        """The hint's code: the key without its variant."""
        return self.key.partition(".")[0]


@dataclass(frozen=True)
class Findings:
    """What a rule looks at: the verdict with its checks, the samples and the window."""

    verdict: Verdict
    pre: tuple[Sample, ...]
    post: tuple[Sample, ...]
    window: Window

    @cached_property
    def _worst(self) -> dict[str, Check]:
        checks = [check for check in self.verdict.checks if check.rule != UNREACHABLE]
        rank = {"critical": 3, "warning": 2, "ok": 1, "skipped": 0}
        ordered = sorted(checks, key=lambda check: (rank[check.outcome], check.margin or 0.0))
        return {check.metric: check for check in ordered}

    def check(self, metric: str) -> Check | None:
        """The gravest check of the metric, None where the judge did not look at it."""
        return self._worst.get(metric)

    def failed(self, metric: str) -> Check | None:
        """The metric's check if it failed, as warning or critical."""
        check = self.check(metric)
        return check if check is not None and check.outcome in ("warning", "critical") else None

    def unreachable(self) -> Check | None:
        """The check that found the endpoint answering no more, if it failed. It is about no metric's level."""
        found = (check for check in self.verdict.checks if check.rule == UNREACHABLE)
        return next((check for check in found if check.outcome in ("warning", "critical")), None)

    def all_failed(self, *metrics: str) -> tuple[Check, ...]:
        """Their checks if every one of the metrics failed, else nothing."""
        found = tuple(check for metric in metrics if (check := self.failed(metric)) is not None)
        return found if len(found) == len(metrics) else ()


Rule = Callable[[Findings], Hint | None]


def hard_limit(check: Check) -> float | None:
    """The limit itself where the judge holds samples against a line below it, else that line."""
    limit: float | None = check.details.get("configured_limit", check.limit)
    return limit


def from_checks(
    findings: Findings,
    text: HintText,
    checks: Sequence[Check],
    *,
    threshold: float | None = None,
    severity: Severity | None = None,
    values: Mapping[str, str | int] | None = None,
) -> Hint:
    """A hint on one or more checks; the first one leads and gives observed, threshold and the placeholders."""
    lead = checks[0]
    limit = threshold if threshold is not None else lead.limit
    return build(
        findings,
        text,
        metric=lead.metric,
        metrics=tuple(check.metric for check in checks),
        severity=severity or _gravest(checks),
        confidence=_confidence(findings, checks),
        observed=lead.observed,
        threshold=limit,
        evidence=tuple(check.sentence for check in checks if check.sentence),
        numbers={check.metric: _numbers(check) for check in checks},
        values={**_placeholders(findings, checks, limit), **(values or {})},
    )


def build(  # noqa: PLR0913  (one argument per column of a hint)
    findings: Findings,
    text: HintText,
    *,
    severity: Severity,
    confidence: float,
    metric: str | None = None,
    metrics: tuple[str, ...] = (),
    observed: float | None = None,
    threshold: float | None = None,
    evidence: tuple[str, ...] = (),
    numbers: dict[str, Any] | None = None,
    values: Mapping[str, str | int] | None = None,
) -> Hint:
    """The only place that makes a Hint. A hint is critical only where the verdict says to roll back, and nothing that
    comes with a verdict of ok is more than a warning: the verdict and its hints must not contradict each other."""
    filled = values or {}
    if severity == "critical" and findings.verdict.verdict != ROLLBACK:
        severity = "info" if findings.verdict.verdict == OK else "warning"
    return Hint(
        code=text.code,
        metric=metric,
        severity=severity,
        confidence=round(min(max(confidence, 0.0), MAX_CONFIDENCE), 4),
        observed=observed,
        threshold=threshold,
        title=told(text.title, **filled),
        cause=told(text.cause, **filled),
        impact=told(text.impact, **filled),
        actions=tuple(told(action, **filled) for action in text.actions_with(findings.verdict.verdict)),
        evidence=evidence,
        numbers=numbers or {},
        metrics=metrics,
        text_key=text.key,
    )


def _gravest(checks: Sequence[Check]) -> Severity:
    outcomes = {check.outcome for check in checks}
    return "critical" if "critical" in outcomes else "warning" if "warning" in outcomes else "info"


def _confidence(findings: Findings, checks: Sequence[Check]) -> float:
    """Grows with the deviation (half its weight at twice the line), the share of bad samples and the number of
    signals; poor data take up to half of it away."""
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


def _placeholders(findings: Findings, checks: Sequence[Check], limit: float | None) -> dict[str, str]:
    values = _of_check(findings, checks[0])
    values["threshold"] = level(checks[0].metric, limit)
    values["traffic_before"], values["traffic_now"] = _traffic(findings.pre), _traffic(findings.post)
    values["metrics"] = in_a_row(label(check.metric) for check in checks)
    for check in checks:
        values |= {f"{check.metric}_{name}": text for name, text in _of_check(findings, check).items()}
    return values


def _traffic(samples: Sequence[Sample]) -> str:
    metric = "requests_per_sec"
    return level(metric, mean_of([sample.requests_per_sec for sample in samples]) if samples else None)


def _of_check(findings: Findings, check: Check) -> dict[str, str]:
    count = check.details.get("samples", len(findings.post))
    over = check.details.get("over", round((check.share or 0.0) * count))
    change: str = told("an unknown share")
    if check.baseline and check.observed is not None and check.baseline > 0:
        change = percent(min(abs(check.observed / check.baseline - 1), 99.0))
    return {
        "observed": level(check.metric, check.observed),
        "baseline": level(check.metric, check.baseline),
        "worst": level(check.metric, check.details.get("worst", check.observed)),
        "samples_over": samples_over(over, count),
        "samples": samples(count),
        "change": change,
    }
