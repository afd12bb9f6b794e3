"""How far the samples can be trusted. Pure.

The score starts at 1 and each named issue takes its penalty off. The penalties are set so that with the default
threshold of 0.6 (`FixedPolicy.min_quality`) a full window with one weakness of form (one lost sample, a gap, a late
analysis) still carries a verdict, while two of five samples, a missing side or an order of times that cannot be right
does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from analysis.judge.types import Miss, Quality, QualityIssue, Sample, Window
from analysis.told import clauses, counted, told
from analysis.wording import collections, duration, reasons, samples

ENOUGH_POST_SAMPLES = 5
GAP_INTERVALS = 1.8

# Clocks of two pollers may differ by a little; what lies further ahead than this is wrong.
CLOCK_TOLERANCE = timedelta(seconds=5)

# PRE describes the service just before the deployment; traffic half an hour ago may have been another one.
PRE_MAX_AGE = timedelta(minutes=30)

# A window of a few seconds (demo, tests) is not stale because the analysis waited for a busy machine.
POST_MIN_STALE_AGE = timedelta(seconds=60)


def assess(pre: Sequence[Sample], post: Sequence[Sample], window: Window) -> Quality:
    """Score (0..1) and issues of the evidence for one deployment; samples in any order.

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
    ]
    score = max(0.0, 1.0 - sum(issue.penalty for issue in issues))
    return Quality(score=round(score, 4), issues=tuple(issues))


def _missing_sides(before: list[datetime], after: list[datetime], window: Window) -> list[QualityIssue]:
    issues = []
    if not after and window.final:
        message = told("no sample after the deployment, {expected} planned", expected=window.expected)
        issues.append(QualityIssue("no_post", _because(message, window, "post"), 1.0))
    if not before:
        message = told("no sample from before the deployment to compare with")
        issues.append(QualityIssue("no_pre", _because(message, window, "pre"), 0.5))
    return issues


def _because(what: str, window: Window, phase: str) -> str:
    misses = [miss for miss in window.misses if miss.phase == phase]
    return told("{what}: {reasons}", what=what, reasons=reasons(misses)) if misses else what


def _too_few(after: list[datetime], window: Window) -> list[QualityIssue]:
    count, needed = len(after), min(ENOUGH_POST_SAMPLES, window.expected)
    if not count or not window.final:
        # While samples are still to come, those that are not there yet are not missing.
        return []
    if count < needed:
        message = told(
            "only {samples} after the deployment, at least {needed} needed", samples=samples(count), needed=needed
        )
        return [QualityIssue("few_post_samples", message, round(0.8 * (1 - count / needed), 4))]
    if count < window.expected:
        message = told(
            "{count} of {expected} planned samples after the deployment", count=count, expected=window.expected
        )
        return [QualityIssue("incomplete_window", message, round(0.5 * (1 - count / window.expected), 4))]
    return []


def _gaps(after: list[datetime], window: Window) -> list[QualityIssue]:
    # The first POST sample is due at finish itself, so waiting for it can be a gap as well.
    starts_late = window.finished_at is not None and bool(after) and after[0] > window.finished_at
    times = [window.finished_at, *after] if starts_late and window.finished_at else after
    allowed = timedelta(seconds=GAP_INTERVALS * window.interval_s)
    gaps = [later - earlier for earlier, later in pairwise(times) if later - earlier > allowed]
    if not gaps:
        return []
    message = counted(
        len(gaps),
        "{n} gap between samples after the deployment, the longest {longest} (planned: every {interval})",
        "{n} gaps between samples after the deployment, the longest {longest} (planned: every {interval})",
        longest=duration(_s(max(gaps))),
        interval=duration(window.interval_s),
    )
    return [QualityIssue("gap", message, round(min(0.1 * len(gaps), 0.3), 4))]


def _wrong_order(before: list[datetime], after: list[datetime]) -> list[QualityIssue]:
    early = sum(1 for time in after if before and time < before[-1])
    if not early:
        return []
    message = counted(
        early,
        "{n} of {count} samples after the deployment are older than the newest one from before it",
        "{n} of {count} samples after the deployment are older than the newest one from before it",
        count=len(after),
    )
    return [QualityIssue("post_before_pre", message, 0.5)]


def _future(before: list[datetime], after: list[datetime], window: Window) -> list[QualityIssue]:
    if window.evaluated_at is None:
        return []
    ahead = [time - window.evaluated_at for time in (*before, *after) if time - window.evaluated_at > CLOCK_TOLERANCE]
    if not ahead:
        return []
    message = told(
        "{samples} from the future, up to {time} ahead of the analysis",
        samples=samples(len(ahead)),
        time=duration(_s(max(ahead))),
    )
    return [QualityIssue("future_samples", message, 0.5)]


def _stale(before: list[datetime], after: list[datetime], window: Window) -> list[QualityIssue]:
    said = []
    if after and window.evaluated_at is not None:
        age = window.evaluated_at - after[-1]
        if age > max(timedelta(seconds=window.expected * window.interval_s), POST_MIN_STALE_AGE):
            said.append(told("the last sample was {age} old when it was analyzed", age=duration(_s(age))))
    start = window.started_at or (after[0] if after else window.finished_at)
    if before and start is not None and start - before[-1] > PRE_MAX_AGE:
        age = start - before[-1]
        said.append(told("the newest sample from before is {age} older than the deployment", age=duration(_s(age))))
    return [QualityIssue("stale_samples", clauses(said), round(0.2 * len(said), 4))] if said else []


def _misses(window: Window) -> list[QualityIssue]:
    # The samples that are missing are counted above; here it is only a little more, for the reason.
    expired = [miss for miss in window.misses if miss.reason == "expired"]
    failed = [miss for miss in window.misses if miss.reason != "expired"]
    issues = []
    if expired:
        message = told(
            "{collections} expired: no poller ran in time ({when})",
            collections=collections(len(expired)),
            when=_phases(expired),
        )
        issues.append(QualityIssue("expired_jobs", message, round(min(0.03 * len(expired), 0.1), 4)))
    if failed:
        message = told(
            "{collections} brought no sample ({when}): {reasons}",
            collections=collections(len(failed)),
            when=_phases(failed),
            reasons=reasons(failed),
        )
        issues.append(QualityIssue("failed_collections", message, round(min(0.03 * len(failed), 0.1), 4)))
    return issues


def _phases(misses: list[Miss]) -> str:
    before = sum(1 for miss in misses if miss.phase == "pre")
    return told("{before} before, {after} after the deployment", before=before, after=len(misses) - before)


def _s(delta: timedelta) -> float:
    return delta.total_seconds()
