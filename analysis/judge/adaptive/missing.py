"""Judge missing samples: as evidence of an outage, and as too little evidence."""

from dataclasses import dataclass

from analysis.judge.adaptive.evidence import ALMOST, Evidence, Finding, last_third
from analysis.judge.reasons import SERVICE_DOWN, distinct_reasons
from analysis.judge.types import NOT_SET_UP, UNREACHABLE, Check, CheckOutcome, Miss
from explain.facts import Param

# It answered without metrics: a broken endpoint, perhaps a broken service.
ENDPOINT_BROKEN = frozenset({"http_4xx", "redirect", "invalid_json", "invalid_payload", "too_large"})
# All others (expired, cancelled, unauthorized, blocked, other) are caused by SeqPulse or by configuration.

# Least consecutive collections failed by the service, up to the end of the window, for a rollback.
DOWN_IN_A_ROW = 2
DOWN_SHARE = 0.4
SOME_SHARE = 0.25

# A service that failed this share of collections before the deployment is no evidence against it.
MOSTLY_DOWN = 0.3

# Fewer POST samples than this share of the planned ones, or fewer than two, do not support a verdict.
ENOUGH_SHARE = 0.3
FEW_SAMPLES = 4
# Unexplained silence at the end of the window: this many samples and this share of it.
SILENT_SAMPLES = 3
SILENT_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Completeness:
    """Expected and present POST samples.

    enough: they support a verdict; silent: samples missing at the end of the window without a reason.
    """

    expected: int
    present: int
    silent: int
    enough: bool

    @property
    def few(self) -> bool:
        """Return whether too few samples of a longer window exist to distinguish a blip from a fault."""
        return self.present < FEW_SAMPLES and self.expected > self.present


def _post_misses(evidence: Evidence) -> list[Miss]:
    return sorted((m for m in evidence.window.misses if m.phase == "post"), key=lambda m: m.sequence_index)


def completeness(evidence: Evidence) -> Completeness:
    """Count present and missing samples."""
    window = evidence.window
    present = len(evidence.post)
    expected = max(window.expected, 1)
    if not window.final:
        expected = max(1, present + len(_post_misses(evidence)))
    silent = 0
    if window.final and evidence.post and window.evaluated_at is not None and present < expected:
        quiet = (window.evaluated_at - evidence.post[-1].collected_at).total_seconds() / max(1.0, window.interval_s)
        silent = max(0, min(expected - present, int(quiet + 0.5) - 1))
        silent -= sum(m.reason not in SERVICE_DOWN for m in _post_misses(evidence)[-silent:]) if silent else 0
    enough = present >= min(expected, max(2, round(ENOUGH_SHARE * expected)))
    return Completeness(expected, present, max(0, silent), enough)


def _down_streak(evidence: Evidence, misses: list[Miss]) -> int:
    """Count consecutive collections, up to the latest one, failed by the service."""
    last_good = max((s.collected_at for s in evidence.post), default=None)
    streak = 0
    for miss in reversed(misses):
        if miss.reason not in SERVICE_DOWN:
            break
        if last_good is not None and miss.scheduled_at is not None and miss.scheduled_at <= last_good:
            break
        if last_good is not None and miss.scheduled_at is None and miss.sequence_index < len(evidence.post):
            break
        streak += 1
    return streak


def no_answers(
    code: str, missing: int, expected: int, *, margin: float, outcome: CheckOutcome = "warning", **params: Param
) -> Check:
    """Return the check of an endpoint that stopped answering. No metric has a level."""
    return Check(
        metric="requests_per_sec",
        rule=UNREACHABLE,
        outcome=outcome,
        code=code,
        params=params,
        share=min(1.0, missing / expected),
        tolerance=DOWN_SHARE,
        margin=margin,
        details={"missing": missing, "expected": expected},
    )


def _is_back(evidence: Evidence, down: list[Miss], expected: int) -> bool:
    """Return whether the service answered all of the last third of the window."""
    latest = down[-1]
    if latest.scheduled_at is not None:
        since = sum(sample.collected_at > latest.scheduled_at for sample in evidence.post)
    else:
        since = min(len(evidence.post), expected - 1 - latest.sequence_index)
    return since >= last_third(expected)


def judge_missing(evidence: Evidence, found: Completeness, *, regressed: bool) -> Finding | None:
    """Judge failed collections; None if they say nothing about the service.

    Those of the warm-up are forgiven, like its samples. regressed: what the service answered shows a regression.
    """
    if not evidence.knobs.missing_data:
        return None
    answered_before = evidence.fresh_pre > 0
    all_misses = _post_misses(evidence)
    if not (answered_before or evidence.window.endpoint_answered_before or evidence.post):
        return _not_set_up(all_misses)
    misses = [m for m in all_misses if m.sequence_index >= evidence.warmup]
    expected = max(1, found.expected - (len(all_misses) - len(misses)))
    down = [m for m in misses if m.reason in SERVICE_DOWN]
    broken = [m for m in misses if m.reason in ENDPOINT_BROKEN]
    before = sum(m.phase == "pre" and m.reason in SERVICE_DOWN for m in evidence.window.misses)
    usual = before / (before + evidence.fresh_pre) if before else 0.0
    reasons = distinct_reasons([*down, *broken])
    if answered_before and len(down) >= DOWN_IN_A_ROW:
        streak = _down_streak(evidence, misses)
        share = len(down) / expected
        worst = max(streak / max(DOWN_IN_A_ROW, round(DOWN_SHARE * expected)), share / (DOWN_SHARE + usual))
        if usual >= MOSTLY_DOWN or (not regressed and _is_back(evidence, down, found.expected)):
            worst = min(worst, ALMOST)
        if worst >= 1.0:
            check = no_answers(
                "service_failed_collections",
                len(down),
                expected,
                margin=worst,
                outcome="critical",
                reasons=reasons,
                streak=streak,
            )
            return Finding(check, worst, worst, worst)
        if share >= SOME_SHARE + usual:
            strength = share / (SOME_SHARE + usual)
            check = no_answers(
                "collections_failed", len(down), expected, margin=strength, reasons=reasons, before=before
            )
            return Finding(check, strength, worst, strength)
    if len(broken) >= 2 and len(broken) >= SILENT_SHARE * expected:
        strength = len(broken) / (SILENT_SHARE * expected)
        check = no_answers("no_metrics_answered", len(broken), expected, margin=strength, reasons=reasons)
        return Finding(check, strength, 0.5)
    return _silence(evidence, found) if answered_before else None


def _not_set_up(misses: list[Miss]) -> Finding | None:
    """Report an endpoint that never answered, with what it said last: no deployment is to blame for it."""
    if not misses:
        return None
    details = [miss.detail for miss in misses if miss.detail is not None]
    check = Check(
        metric="requests_per_sec",
        rule=NOT_SET_UP,
        outcome="skipped",
        code="never_answered_but" if details else "never_answered",
        params={"answer": details[-1]} if details else {"reasons": distinct_reasons(misses)},
        details={"missing": len(misses)},
    )
    return Finding(check)


def _silence(evidence: Evidence, found: Completeness) -> Finding | None:
    """Judge samples that stopped before the end of the window without a reason."""
    explained = sum(m.reason not in SERVICE_DOWN for m in _post_misses(evidence))
    if found.present == 0 and found.expected - explained > 0 and evidence.window.final:
        check = no_answers("no_sample_came", found.expected, found.expected, margin=2.0, n=evidence.fresh_pre)
        return Finding(check, 2.0, 0.9)
    lost_before_silence = found.expected - found.present - found.silent
    if (
        found.silent >= SILENT_SAMPLES
        and found.silent >= SILENT_SHARE * found.expected
        and lost_before_silence <= 0.25 * found.expected
    ):
        strength = found.silent / (SILENT_SHARE * found.expected)
        check = no_answers("last_samples_missing", found.silent, found.expected, margin=strength)
        return Finding(check, strength, 0.5)
    return None
