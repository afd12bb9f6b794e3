"""Assess the quality of the samples. Pure.

The score starts at 1 and each issue subtracts its penalty. With the default threshold of 0.6
(`FixedPolicy.min_quality`) a full window with one formal issue (one lost sample, a gap, a late analysis) still supports
a verdict, while two of five samples, a missing side or an impossible order of times does not.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from analysis.judge.reasons import reasons
from analysis.judge.types import Miss, Quality, QualityIssue, Sample, Window, values_of
from explain.facts import Fact, Param

ENOUGH_POST_SAMPLES = 5
GAP_INTERVALS = 1.8

# Clocks of two pollers may differ slightly; times further ahead are wrong.
CLOCK_TOLERANCE = timedelta(seconds=5)

# PRE describes the service just before the deployment; traffic may have changed in half an hour.
PRE_MAX_AGE = timedelta(minutes=30)

# A request takes a process, a socket and its work: hardly one in twenty is slower than this only if all do nothing.
LEAST_MS = 1.0
BUSY_CPU = 0.05

# A short window (demo, tests) is not stale only because the analysis was delayed by a busy machine.
POST_MIN_STALE_AGE = timedelta(seconds=60)


def assess(pre: Sequence[Sample], post: Sequence[Sample], window: Window) -> Quality:
    """Return score (0..1) and issues of the evidence for one deployment; samples in any order.

    Stale means: at evaluated_at the newest POST sample is older than a whole window (and than 60 s), or the newest
    PRE sample is more than 30 min older than the deployment's start (first POST sample where the start is unknown).
    """
    before = sorted(sample.collected_at for sample in pre)
    after = sorted(sample.collected_at for sample in post)
    issues = [
        *_missing_sides(before, after, window),
        *_too_few(after, window),
        *_gaps(after, window),
        *_wrong_order(before, after),
        *_future(before, after, window),
        *_stale(before, after, window),
        *_misses(window),
        *_units([*pre, *post]),
    ]
    score = max(0.0, 1.0 - sum(issue.penalty for issue in issues))
    return Quality(score=round(score, 4), issues=tuple(issues))


def _issue(code: str, penalty: float, **params: Param) -> QualityIssue:
    return QualityIssue(code, Fact(f"quality.{code}", params), round(penalty, 4))


def _missing_sides(before: list[datetime], after: list[datetime], window: Window) -> list[QualityIssue]:
    issues = []
    if not after and window.final:
        issues.append(_missing_side("no_post", 1.0, window, expected=window.expected))
    if not before:
        issues.append(_missing_side("no_pre", 0.5, window))
    return issues


def _missing_side(code: str, penalty: float, window: Window, **params: Param) -> QualityIssue:
    issue = _issue(code, penalty, **params)
    misses = [miss for miss in window.misses if f"no_{miss.phase}" == code]
    return replace(issue, fact=Fact("because", {"what": issue.fact, "reasons": reasons(misses)})) if misses else issue


def _too_few(after: list[datetime], window: Window) -> list[QualityIssue]:
    count, needed = len(after), min(ENOUGH_POST_SAMPLES, window.expected)
    if not count or not window.final:
        # While samples are still to come, they are not missing.
        return []
    if count < needed:
        samples = Fact("samples", {"n": count})
        return [_issue("few_post_samples", 0.8 * (1 - count / needed), samples=samples, needed=needed)]
    if count < window.expected:
        penalty = 0.5 * (1 - count / window.expected)
        return [_issue("incomplete_window", penalty, count=count, expected=window.expected)]
    return []


def _gaps(after: list[datetime], window: Window) -> list[QualityIssue]:
    # Waiting for the first sample can be a gap as well.
    start = window.starts_at
    times = [start, *after] if start is not None and after and after[0] > start else after
    allowed = timedelta(seconds=GAP_INTERVALS * window.interval_s)
    gaps = [later - earlier for earlier, later in pairwise(times) if later - earlier > allowed]
    if not gaps:
        return []
    penalty = min(0.1 * len(gaps), 0.3)
    return [_issue("gap", penalty, n=len(gaps), longest=max(gaps).total_seconds(), interval=window.interval_s)]


def _wrong_order(before: list[datetime], after: list[datetime]) -> list[QualityIssue]:
    early = sum(1 for time in after if before and time < before[-1])
    return [_issue("post_before_pre", 0.5, n=early, count=len(after))] if early else []


def _future(before: list[datetime], after: list[datetime], window: Window) -> list[QualityIssue]:
    if window.evaluated_at is None:
        return []
    ahead = [time - window.evaluated_at for time in (*before, *after) if time - window.evaluated_at > CLOCK_TOLERANCE]
    if not ahead:
        return []
    samples = Fact("samples", {"n": len(ahead)})
    return [_issue("future_samples", 0.5, samples=samples, time=max(ahead).total_seconds())]


def _stale(before: list[datetime], after: list[datetime], window: Window) -> list[QualityIssue]:
    found = []
    if after and window.evaluated_at is not None:
        age = window.evaluated_at - after[-1]
        if age > max(timedelta(seconds=window.expected * window.interval_s), POST_MIN_STALE_AGE):
            found.append(Fact("late_analysis", {"age": age.total_seconds()}))
    start = window.started_at or (after[0] if after else window.finished_at)
    if before and start is not None and start - before[-1] > PRE_MAX_AGE:
        found.append(Fact("old_baseline", {"age": (start - before[-1]).total_seconds()}))
    return [_issue("stale_samples", 0.2 * len(found), found=found)] if found else []


def _misses(window: Window) -> list[QualityIssue]:
    # Missing samples are counted above; their reason adds a small penalty.
    expired = [miss for miss in window.misses if miss.reason == "expired"]
    failed = [miss for miss in window.misses if miss.reason != "expired"]
    issues = []
    if expired:
        issues.append(_lost("expired_jobs", expired))
    if failed:
        issues.append(_lost("failed_collections", failed, reasons=reasons(failed)))
    return issues


def _lost(code: str, misses: list[Miss], **params: Param) -> QualityIssue:
    before = sum(1 for miss in misses if miss.phase == "pre")
    return _issue(
        code,
        min(0.03 * len(misses), 0.1),
        collections=Fact("collections", {"n": len(misses)}),
        before=before,
        after=len(misses) - before,
        **params,
    )


def _units(samples: Sequence[Sample]) -> list[QualityIssue]:
    """Report a p95 that no working service has: a fraction of a millisecond while its cpu is busy."""
    busy = [sample for sample in samples if sample.latency > 0.0 and (sample.cpu_usage or 0.0) >= BUSY_CPU]
    if not busy or any(sample.latency >= LEAST_MS for sample in busy):
        return []
    return [
        _issue(
            "looks_like_seconds",
            0.2,
            observed=max(sample.latency for sample in busy),
            samples=Fact("samples", {"n": len(busy)}),
            cpu=max(values_of(busy, "cpu_usage")),
        )
    ]
