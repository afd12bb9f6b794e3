"""The adaptive judge: a deployment against the service's own level. Pure, standard library only, deterministic.

How a verdict comes about, why each rule is there and how often it is right: docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analysis.judge.adaptive import sentences
from analysis.judge.adaptive.absolute import hard_limit, judge_first, limited_metrics
from analysis.judge.adaptive.combination import Combined, combine, score
from analysis.judge.adaptive.confidence import INCONCLUSIVE, confidence
from analysis.judge.adaptive.cpu import judge_cpu
from analysis.judge.adaptive.early import early_checks
from analysis.judge.adaptive.errors import judge_errors
from analysis.judge.adaptive.evidence import Evidence, Finding, prepare
from analysis.judge.adaptive.knobs import ALL_ON, Knobs
from analysis.judge.adaptive.latency import judge_latency
from analysis.judge.adaptive.memory import judge_memory
from analysis.judge.adaptive.missing import ENDPOINT_DOWN, Completeness, completeness, judge_missing
from analysis.judge.adaptive.traffic import judge_traffic
from analysis.judge.quality import assess
from analysis.judge.types import METRICS, OK, ROLLBACK, WARNING, Check, Sample, Verdict, VerdictName, Window
from analysis.told import clauses, counted, told
from analysis.wording import label
from projects.policy import AdaptivePolicy

__all__ = ["judge_adaptive", "judge_early"]

_RULES = {
    "requests_per_sec": judge_traffic,
    "latency_p95": judge_latency,
    "error_rate": judge_errors,
    "cpu_usage": judge_cpu,
    "memory_usage": judge_memory,
}


def judge_adaptive(
    pre: Sequence[Sample],
    post: Sequence[Sample],
    policy: AdaptivePolicy,
    window: Window,
    *,
    knobs: Knobs = ALL_ON,
) -> Verdict:
    """Judge a deployment by the samples before and after it, in any order.

    pre holds samples of origin pre, baseline and history; all numbers must be finite. knobs is for the benchmark's
    ablations only. Never raises on finite samples; under 5 ms for 30 + 15 samples.
    """
    evidence, found, combined = weigh(pre, post, policy, window, knobs=knobs)
    name = combined.verdict
    conclusive = True
    if not found.enough or (found.few and combined.suspicious and name == OK):
        # Too little to clear a deployment; what is there may still condemn it.
        conclusive = name == ROLLBACK
        name = WARNING if name == OK else name
    elif _nothing_judged(combined.checks):
        conclusive, name = False, WARNING
    elif name == WARNING and _only_unexplained_silence(combined.checks):
        conclusive = False
    sure = confidence(
        name, combined.strength, combined.critical, pre_samples=evidence.worth, calibrated=knobs.calibrated
    )
    return Verdict(
        verdict=name,
        confidence=sure if conclusive else min(sure, INCONCLUSIVE),
        conclusive=conclusive,
        score=round(score(name, max(combined.strength, 0.0 if name == OK else 1.0), combined.critical), 4),
        summary=_summary(name, combined, evidence, found),
        checks=combined.checks,
        quality=assess([s for s in pre if s.origin != "history"], post, window),
        policy=policy.as_dict(),
    )


def weigh(
    pre: Sequence[Sample], post: Sequence[Sample], policy: AdaptivePolicy, window: Window, *, knobs: Knobs = ALL_ON
) -> tuple[Evidence, Completeness, Combined]:
    """The steps before a verdict: what there is, what is missing of it, and how strong the findings are."""
    evidence = prepare(pre, post, policy=policy, window=window, knobs=knobs)
    found = completeness(evidence)
    return evidence, found, combine(_findings(evidence, found), policy, knobs)


def judge_early(
    pre: Sequence[Sample], post_so_far: Sequence[Sample], policy: AdaptivePolicy, window: Window
) -> Verdict | None:
    """Look at a window that is not over: a rollback on an overwhelming, sustained breach, else None (wait).

    Never says anything but rollback_recommended, and that only on at least two samples.
    """
    running = replace(window, final=False)
    evidence = prepare(pre, post_so_far, policy=policy, window=running, knobs=ALL_ON)
    checks = early_checks(evidence)
    if not checks:
        return None
    sure = confidence(ROLLBACK, 2.0, 2.0, pre_samples=evidence.worth)
    return Verdict(
        verdict=ROLLBACK,
        confidence=sure,
        conclusive=True,
        score=round(score(ROLLBACK, 2.0, 2.0), 4),
        summary=told("Roll back now: {reasons}.", reasons=checks[0].sentence),
        checks=checks,
        quality=assess([s for s in pre if s.origin != "history"], post_so_far, running),
        policy=policy.as_dict(),
        early=True,
    )


def _findings(evidence: Evidence, found: Completeness) -> list[Finding]:
    policy = evidence.policy
    limited = limited_metrics(evidence) if evidence.body else ()
    findings = [hard_limit(evidence, metric, policy.limits[metric]) for metric in limited]
    judged = [metric for metric in METRICS if metric not in limited and metric not in policy.left_out]
    if evidence.pre:
        for metric in judged:
            finding = _RULES[metric](evidence)
            findings.append(finding or Finding(_skipped(metric, evidence)))
    else:
        findings += [f for f in judge_first(evidence) if f.check.metric in judged]
    missing = judge_missing(evidence, found)
    if missing is not None:
        findings.append(missing)
    return findings


def _skipped(metric: str, evidence: Evidence) -> Check:
    if not evidence.body:
        sentence = told("{metric}: not compared, no usable sample after the deployment", metric=label(metric))
    else:
        sentence = told("{metric}: not compared, too little data before or after the deployment", metric=label(metric))
    return Check(metric=metric, rule="not_comparable", outcome="skipped", sentence=sentence)


def _nothing_judged(checks: Sequence[Check]) -> bool:
    return all(check.outcome == "skipped" for check in checks)


def _only_unexplained_silence(checks: Sequence[Check]) -> bool:
    failed = [check for check in checks if check.outcome in ("warning", "critical")]
    return all(check.rule == ENDPOINT_DOWN for check in failed)


def _summary(verdict: VerdictName, combined: Combined, evidence: Evidence, found: Completeness) -> str:
    """One sentence for a person; verdict is what was decided in the end."""
    failed = sorted(
        (check for check in combined.checks if check.outcome in ("warning", "critical") and check.rule != "together"),
        key=lambda check: (check.outcome != "critical", -(check.margin or 0.0)),
    )
    reasons = clauses(check.sentence for check in failed[:2])
    if verdict == ROLLBACK:
        return told("Roll back: {reasons}.", reasons=reasons)
    if verdict == WARNING and reasons:
        return told("Look at this: {reasons}.", reasons=reasons)
    if verdict == WARNING:
        few = counted(
            found.present,
            "{n} of {expected} samples came",
            "{n} of {expected} samples came",
            expected=found.expected,
        )
        if evidence.body and _nothing_judged(combined.checks):
            return told("Not conclusive: no metric could be compared ({few}).", few=few)
        if combined.suspicious:
            return told("Not conclusive: {few}, too few to clear the deployment, and some of them look bad.", few=few)
        return told("Not conclusive: {few}, too few to clear the deployment.", few=few)
    against = sentences.against(len(evidence.pre), len(evidence.pre) - evidence.fresh_pre)
    return told("No regression found in {n} samples, {against}.", n=found.present, against=against)
