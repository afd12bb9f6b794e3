"""Compare a deployment with the service's own level. Pure, deterministic, standard library only.

Method, reasons of the rules and hit rate: docs/verdicts.md.
"""

from collections.abc import Sequence
from dataclasses import replace

from analysis.judge.adaptive.absolute import hard_limit, judge_first, limited_metrics
from analysis.judge.adaptive.alerts import judge_alerts
from analysis.judge.adaptive.combination import Combined, combine, score
from analysis.judge.adaptive.confidence import confidence
from analysis.judge.adaptive.control import controlled, issues, with_levels
from analysis.judge.adaptive.cpu import judge_cpu
from analysis.judge.adaptive.custom import judge_custom
from analysis.judge.adaptive.early import is_clear, lasting, looks
from analysis.judge.adaptive.errors import judge_errors
from analysis.judge.adaptive.evidence import Evidence, Finding, not_known, prepare
from analysis.judge.adaptive.journeys import judge_expectations, judge_failed_journeys, of_journeys
from analysis.judge.adaptive.knobs import ALL_ON, Knobs
from analysis.judge.adaptive.latency import judge_latency
from analysis.judge.adaptive.memory import judge_memory
from analysis.judge.adaptive.missing import Completeness, completeness, judge_missing
from analysis.judge.adaptive.scaling import explained_by_scaling
from analysis.judge.adaptive.too_good import judge_too_good
from analysis.judge.adaptive.traffic import judge_traffic
from analysis.judge.quality import assess
from analysis.judge.statements import INCONCLUSIVE, Seen, stated
from analysis.judge.types import (
    METRICS,
    NOT_SET_UP,
    OK,
    ROLLBACK,
    UNREACHABLE,
    WARNING,
    Basis,
    Check,
    Sample,
    Verdict,
    VerdictName,
    Window,
)
from explain.facts import Fact
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
    # Whatever stands for samples from before; the service's health is about what was measured.
    before = pre if evidence.control != "instead" else evidence.pre
    name = combined.verdict
    doubts = _doubts(combined, found)
    conclusive = not doubts
    name = WARNING if doubts and name == OK else name
    quality = assess([s for s in before if s.origin != "history"], post, window)
    quality = replace(quality, issues=(*quality.issues, *issues(window, used=bool(evidence.control))))
    sure = confidence(
        name, combined.strength, combined.critical, pre_samples=evidence.worth, calibrated=knobs.calibrated
    )
    checks = with_levels(combined.checks, window, post, evidence.body) if evidence.control else combined.checks
    verdict = Verdict(
        verdict=name,
        confidence=sure if conclusive else min(sure, INCONCLUSIVE),
        conclusive=conclusive,
        score=round(score(name, max(combined.strength, 0.0 if name == OK else 1.0), combined.critical), 4),
        summary=_beside_control(_summary(name, combined, evidence, found), checks),
        checks=checks,
        quality=quality,
        policy=policy.as_dict(),
        basis=Basis(doubts=doubts),
    )
    return stated(verdict, Seen.of(before, post, policy, window))


def weigh(
    pre: Sequence[Sample], post: Sequence[Sample], policy: AdaptivePolicy, window: Window, *, knobs: Knobs = ALL_ON
) -> tuple[Evidence, Completeness, Combined]:
    """Return evidence, completeness and combined findings: the steps before a verdict."""
    compared = controlled(pre, post, policy, window)
    evidence = prepare(compared.pre, compared.post, policy=policy, window=compared.window, knobs=knobs)
    evidence = replace(evidence, control=compared.how)
    found = completeness(evidence)
    return evidence, found, combine(_findings(evidence, found), policy, knobs)


def judge_early(
    pre: Sequence[Sample], post_so_far: Sequence[Sample], policy: AdaptivePolicy, window: Window
) -> Verdict | None:
    """Judge an open window: return a rollback that was clear at several looks in a row, else None.

    Never returns another verdict, and none within the warm-up.
    """
    weighed = (weigh(pre, look.post, look.policy, look.window) for look in looks(post_so_far, policy, window))
    # While the control group gives something, what it does as well is not known before it can be compared with.
    awaits_control = bool(window.control_before and window.control_after)
    strengths = (
        0.0 if awaits_control and not evidence.control else combined.critical for evidence, _, combined in weighed
    )
    if not is_clear(strengths):
        return None
    look = next(looks(post_so_far, policy, window))
    verdict = judge_adaptive(pre, look.post, look.policy, look.window)
    found = lasting(verdict.checks, look)
    if not found:
        return None
    worst = max(found, key=lambda check: check.margin or 0.0)
    now = _beside_control(Fact("roll_back_now", {"reason": worst.fact}), verdict.checks)
    return replace(verdict, summary=now, policy=policy.as_dict(), early=True)


def _findings(evidence: Evidence, found: Completeness) -> list[Finding]:
    policy = evidence.policy
    limited = limited_metrics(evidence) if evidence.body else ()
    findings = [hard_limit(evidence, metric, policy.limits[metric]) for metric in limited]
    judged = [metric for metric in METRICS if metric not in limited and metric not in policy.left_out]
    if "error_rate" in judged and of_journeys(evidence):
        judged.remove("error_rate")
        findings.append(judge_failed_journeys(evidence) or Finding(_skipped("error_rate", evidence)))
    findings += judge_expectations(evidence)
    unknown = {metric: check for metric in judged if (check := not_known(evidence, metric)) is not None}
    if evidence.pre:
        for metric in judged:
            shared = evidence.control or evidence.window.has_control
            if shared and metric == "requests_per_sec" and metric not in unknown:
                unknown[metric] = Check(metric, "not_comparable", "skipped", "traffic_is_shared")
            finding = None if metric in unknown else _RULES[metric](evidence.knowing(metric))
            findings.append(finding or Finding(unknown.get(metric) or _skipped(metric, evidence)))
    else:
        findings += [f for f in judge_first(evidence) if f.check.metric in judged and f.check.metric not in unknown]
        findings += [Finding(check) for check in unknown.values()]
    findings = explained_by_scaling(evidence, findings)
    findings += [judge_custom(evidence, metric) for metric in policy.custom_metrics if evidence.post]
    if (improved := judge_too_good(evidence)) is not None and improved.check.metric in judged:
        findings.append(improved)
    findings += judge_alerts(evidence.window, evidence.post)
    regressed = any(finding.check.failed for finding in findings)
    missing = judge_missing(evidence, found, regressed=regressed)
    if missing is not None:
        findings.append(missing)
    return findings


def _skipped(metric: str, evidence: Evidence) -> Check:
    code = "too_little_to_compare" if evidence.body else "no_usable_sample"
    return Check(metric=metric, rule="not_comparable", outcome="skipped", code=code)


def _doubts(combined: Combined, found: Completeness) -> tuple[Fact, ...]:
    """Return why the samples do not carry the verdict. What they show may be enough for a rollback all the same."""
    if _not_set_up(combined) is not None:
        return (Fact("not_set_up"),)
    came = Fact("samples_came", {"n": found.present, "expected": found.expected})
    if combined.verdict != ROLLBACK and not found.enough:
        return (came,)
    if combined.verdict == OK and (found.few and combined.suspicious):
        return (came,)
    if _nothing_judged(combined.checks):
        return (Fact("nothing_comparable"),)
    if combined.verdict == WARNING and _only_unexplained_silence(combined.checks):
        return tuple(check.fact for check in combined.checks if check.failed)
    return ()


def _not_set_up(combined: Combined) -> Fact | None:
    """Return what an endpoint that never answered said."""
    return next((check.fact for check in combined.checks if check.rule == NOT_SET_UP), None)


def _nothing_judged(checks: Sequence[Check]) -> bool:
    return all(check.outcome == "skipped" for check in checks)


def _only_unexplained_silence(checks: Sequence[Check]) -> bool:
    return all(check.rule == UNREACHABLE for check in checks if check.failed)


def _summary(verdict: VerdictName, combined: Combined, evidence: Evidence, found: Completeness) -> Fact:
    """Return the fact that summarizes the verdict."""
    failed = sorted(
        (check for check in combined.checks if check.failed and check.rule != "together"),
        key=lambda check: (check.outcome != "critical", -(check.margin or 0.0)),
    )
    reasons = [check.fact for check in failed[:2]]
    if verdict == ROLLBACK:
        return Fact("roll_back", {"reasons": reasons})
    if verdict == WARNING and reasons:
        return Fact("look_at_this", {"reasons": reasons})
    if verdict == WARNING and (never := _not_set_up(combined)) is not None:
        return Fact("not_set_up_yet", {"why": never})
    if verdict == WARNING:
        few = Fact("samples_came", {"n": found.present, "expected": found.expected})
        if evidence.body and _nothing_judged(combined.checks):
            return Fact("nothing_compared", {"few": few})
        return Fact("too_few_and_suspicious" if combined.suspicious else "too_few", {"few": few})
    return Fact("no_regression", {"n": found.present, "against": _compared_with(evidence)})


def _beside_control(summary: Fact, checks: Sequence[Check]) -> Fact:
    """Return the summary; it says so where what it tells is not as measured, but without the control's course."""
    moved = any(check.failed and "measured" in check.details for check in checks)
    return Fact("beside_control", {"summary": summary}) if moved else summary


def _compared_with(evidence: Evidence) -> Fact:
    fresh, history = evidence.fresh_pre, len(evidence.history)
    if not evidence.pre:
        return Fact("compared_with_nothing")
    if evidence.control:
        return Fact(f"compared_with_control_{evidence.control}", {"n": len(evidence.pre)})
    if not fresh:
        return Fact("compared_with_earlier", {"n": len(evidence.pre)})
    return Fact("compared_with_scatter" if history else "compared_with", {"n": fresh, "history": history})
