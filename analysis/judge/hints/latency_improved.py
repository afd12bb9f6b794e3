"""Latency is clearly better than before (information)."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, build
from analysis.judge.levels import mean_of
from analysis.judge.types import Hint
from analysis.told import noop as _
from analysis.told import told
from analysis.wording import level, percent, samples

# Worth telling: a fifth faster and by more than timer noise, in nearly every sample. Nothing hangs on these numbers.
MIN_DROP = 0.20
MIN_DROP_MS = 10.0
MIN_SHARE = 0.8
MIN_SAMPLES = 3

TEXT = HintText(
    key="latency_improved",
    title=_("p95 latency improved by {change}"),
    cause=_(
        "p95 latency is {observed}, before it was {baseline}, with no more errors and no less traffic than allowed: "
        "the change makes requests cheaper, or a cache or an added instance takes work off them."
    ),
    impact=_("Users get their answers sooner."),
    actions=(
        _("Note the gain with the change that brought it."),
        _("Make sure that it is not less work than wanted: compare response sizes and the share of empty answers."),
        _("If the environment's latency limit is meant to follow, lower it in the policy."),
    ),
)


def rule(findings: Findings) -> Hint | None:
    """When p95 fell by a fifth in nearly all samples and neither errors nor traffic failed: failing fast is no gain."""
    if len(findings.post) < MIN_SAMPLES or not findings.pre:
        return None
    if any(findings.failed(metric) for metric in ("error_rate", "requests_per_sec", "latency_p95")):
        return None
    before = mean_of([sample.latency_p95 for sample in findings.pre])
    values = [sample.latency_p95 for sample in findings.post]
    line, now = before - max(before * MIN_DROP, MIN_DROP_MS), mean_of(values)
    share = sum(1 for value in values if value <= line) / len(values)
    if now > line or share < MIN_SHARE:
        return None
    gain = 1 - now / before
    thin = 0.1 if len(findings.pre) < MIN_SAMPLES else 0.0
    return build(
        findings,
        TEXT,
        metric="latency_p95",
        metrics=("latency_p95",),
        severity="info",
        confidence=(0.5 + 0.3 * gain + 0.2 * share - thin) * (0.5 + 0.5 * findings.verdict.quality.score),
        observed=now,
        threshold=line,
        evidence=(
            told(
                "p95 latency {level} in the mean of {samples}, {before} before",
                level=level("latency_p95", now),
                samples=samples(len(values)),
                before=level("latency_p95", before),
            ),
        ),
        numbers={"latency_p95": {"observed": now, "baseline": before, "limit": line, "share": share}},
        values={
            "observed": level("latency_p95", now),
            "baseline": level("latency_p95", before),
            "change": percent(gain),
        },
    )
