"""Judge error_rate by comparing counts of errors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter

from analysis.judge.adaptive import thresholds
from analysis.judge.adaptive.evidence import LONG_WINDOW, Evidence, Finding, outcome
from analysis.judge.adaptive.levels import dying_away
from analysis.judge.adaptive.lines import ROLLBACK_SHARE, WARNING_SHARE
from analysis.judge.types import Check, Sample

# Upper bound of requests that count per minute: real errors come in bursts.
MAX_REQUESTS = 20_000.0

# Prior: 0.3 % errors, worth this many requests.
PRIOR_ERRORS = 0.6
PRIOR_REQUESTS = 200.0

# An incident has this many errors more than expected; a single failed request at night is none.
FEW_ERRORS = 2.7
FEW_FOR_ROLLBACK = 6.0

# Small counts are skewed: their normal standard error is slightly too small.
COUNT_GUARD = 0.4
_PRIOR_DISPERSION = 1.3

# Separate bursts of errors within one window: blips are single.
BURSTS = 3
# A minute with this share of failed requests is an outage; two separate ones are a process that keeps crashing.
OUTAGE = 0.3
CRASHES = 2
# In so few samples two bursts leave no calm period.
FEW_SAMPLES = 5
# Errors in the worst sample needed to see a decrease.
FADING_ERRORS = 20.0

# The last part must still show this share of an effect that the whole window has; an effect of the last part alone
# takes half a standard error more. Strength of what is short of a rollback on purpose.
STILL_THERE = 0.4
LATE_GUARD = 0.5
ALMOST = 0.95


@dataclass(frozen=True, slots=True)
class _Count:
    """Numbers of requests and errors."""

    errors: float
    requests: float

    @property
    def rate(self) -> float:
        return self.errors / self.requests if self.requests > 0 else 0.0


def counts(evidence: Evidence, samples: Sequence[Sample]) -> list[_Count]:
    """Return errors and requests of each sample with requests."""
    found = []
    for sample in samples:
        requests = min(MAX_REQUESTS, evidence.requests(sample))
        if not evidence.knobs.error_counts:
            requests = MAX_REQUESTS
        elif sample.error_rate > 0.0:
            requests = max(1.0, requests)
        if requests > 0.0:
            found.append(_Count(sample.error_rate * requests, requests))
    return found


def pool(items: Sequence[_Count]) -> _Count:
    """Sum all counts."""
    return _Count(math.fsum(item.errors for item in items), math.fsum(item.requests for item in items))


def _calm(items: Sequence[_Count]) -> list[_Count]:
    """Return PRE counts without blips: the worst rates (one of five, two of eight, an eighth of more) count as the next
    one."""
    if len(items) < 5:
        return list(items)
    ordered = sorted(items, key=lambda item: item.rate)
    cut = 1 if len(items) < 8 else max(2, len(items) // 8)
    roof = ordered[-cut - 1].rate
    return [_Count(min(item.errors, roof * item.requests), item.requests) for item in items]


def _dispersion(items: Sequence[_Count], rate: float) -> float:
    """Return the dispersion of PRE counts relative to chance; 1.0 = chance alone (Pearson's statistic)."""
    if rate <= 0.0 or len(items) < 5:
        return _PRIOR_DISPERSION
    chi = math.fsum((item.errors - rate * item.requests) ** 2 / (rate * item.requests) for item in items)
    weight = len(items) - 1.0
    return max(1.0, min(30.0, (chi + 4.0 * _PRIOR_DISPERSION) / (weight + 4.0)))


def _without_worst(items: Sequence[_Count], rate: float, most: int) -> _Count:
    """Return the counts without the samples of a blip (at most `most`, at most half; a fifth of a long series)."""
    count = len(items)
    cut = min(most, count // 2, max(2, count // 5))
    excess = sorted(items, key=lambda item: item.errors - rate * item.requests)
    return pool(excess[: count - cut])


def _calm_share(errors_per_sample: float) -> float:
    """Return the least share of a steady effect that remains without its worst samples.

    Nearly all with many errors per sample; little if a sample has one or none by chance.
    """
    return max(0.4, 0.9 - 0.8 / math.sqrt(max(errors_per_sample, 0.5)))


@dataclass(frozen=True, slots=True)
class _Part:
    """One stretch of POST against the base rate: effect, and without its worst samples, as ratios; excess: errors more
    than expected; error: standard error of the effect; calm_share: see _calm_share;
    effects: see _effects."""

    effect: float
    calm_effect: float
    excess: float
    error: float
    calm_share: float
    effects: tuple[float, ...] = ()


def _effects(items: Sequence[_Count], base: float) -> tuple[float, ...]:
    """Return the effects of single samples, if the worst one has enough errors to see a decrease."""
    tells = max(item.errors for item in items) >= FADING_ERRORS
    return tuple(item.rate - base for item in items) if tells else ()


def _part(items: Sequence[_Count], base: _Count, dispersion: float, most: int) -> _Part:
    total = pool(items)
    if total.requests <= 0.0:
        return _Part(0.0, 0.0, 0.0, 1.0, 1.0)
    calm = _without_worst(items, base.rate, most)
    together = (base.errors + total.errors) / (base.requests + total.requests)
    variance = dispersion * together * (1.0 - together) * (1.0 / base.requests + 1.0 / total.requests)
    return _Part(
        effect=total.rate - base.rate,
        calm_effect=calm.rate - base.rate if len(items) > 1 else total.rate - base.rate,
        excess=total.errors - base.rate * total.requests,
        error=math.sqrt(max(variance, 1e-12)),
        calm_share=_calm_share(total.errors / len(items)),
        effects=_effects(items, base.rate),
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """POST counts against the service's own rate: the window without warm-up, and its last part."""

    evidence: Evidence
    base: _Count
    whole: _Part
    last: _Part

    def strength(self, required: float, few: float) -> float:
        """Return the effect as a multiple of the required one (1.0 = a finding), as in Contrast.strength.

        few: required errors beyond the expected ones.
        """
        knobs, whole, last = self.evidence.knobs, self.whole, self.last
        required = required if knobs.practical_margin else 1e-9
        few = few if knobs.error_counts else 1e-9
        guard = self.evidence.guard + COUNT_GUARD if knobs.noise_guard else 0.0
        need = max(required, guard * whole.error)
        found = min(whole.effect / need, whole.excess / few)
        if knobs.robust:
            found = min(found, whole.calm_effect / (whole.calm_share * need))
        if knobs.last_part:
            found = min(found, last.effect / (STILL_THERE * need))
            need = max(required, (guard + LATE_GUARD) * last.error)
            late = min(last.effect / need, last.excess / few)
            if knobs.robust:
                late = min(late, last.calm_effect / (last.calm_share * need))
            found = max(found, late)
        if knobs.robust:
            found = min(found, dying_away(whole.effects, required))
        return found

    def came_and_went(self, required: float) -> tuple[float, float]:
        """Return strengths (warning, rollback) of severe errors that are absent at the end of the window.

        Errors that lasted longer than a blip and disappeared are a warning. Errors that keep coming back, however short
        each time, are a process that keeps crashing: a rollback.
        """
        need = max(required, self.evidence.guard * self.whole.error)
        items = counts(self.evidence, self.evidence.post)
        total = pool(items)
        over = [item.rate > self.base.rate + 2.0 * required and item.errors >= 2.0 for item in items]
        bursts = sum(now and not before for before, now in pairwise([False, *over]))
        excess = total.errors - self.base.rate * total.requests
        overall = min((total.rate - self.base.rate) / need, excess / (2.0 * FEW_FOR_ROLLBACK))
        outages = [item.rate > self.base.rate + OUTAGE and item.errors >= FEW_ERRORS for item in items]
        crashes = sum(
            burst and any(outage for _, outage in members)
            for burst, members in groupby(zip(over, outages, strict=True), key=itemgetter(0))
        )
        if (bursts >= BURSTS or crashes >= CRASHES) and overall >= 1.0:
            return overall, overall
        if bursts == BURSTS - 1 and len(items) <= FEW_SAMPLES and overall >= 1.0:
            return overall, ALMOST
        whole = self.whole
        stayed = min(whole.effect / need, whole.calm_effect / need, whole.excess / (2.0 * FEW_FOR_ROLLBACK))
        if stayed >= 1.0:
            return stayed, stayed if bursts >= BURSTS - 1 else ALMOST
        return 0.0, 0.0


def _compare(evidence: Evidence, post: list[_Count]) -> tuple[_Compared, _Count]:
    """Return the comparison, and the counts of PRE without blips."""
    before = counts(evidence, evidence.pre)
    calm = _calm(before) if evidence.knobs.robust else before
    known = pool(calm)
    base = _Count(known.errors + PRIOR_ERRORS, known.requests + PRIOR_REQUESTS)
    dispersion = _dispersion(calm, base.rate)
    short = max(len(evidence.post), evidence.window.expected) < LONG_WINDOW
    whole = _part(post, base, dispersion, 1 if short else len(post))
    last = _part(counts(evidence, evidence.last), base, dispersion, 1 if short else 2)
    return _Compared(evidence, base, whole, last), known


def judge_errors(evidence: Evidence) -> Finding | None:
    """Judge errors above the service's own rate; None if no POST sample has requests."""
    lines = evidence.lines
    post = counts(evidence, evidence.body)
    if not post or not evidence.pre:
        return None
    compared, known = _compare(evidence, post)
    base, whole, last = compared.base.rate, compared.whole, compared.last
    line = max(lines.error, lines.error_ratio * base)
    need = line * WARNING_SHARE
    need_rollback = max(lines.error_rollback * ROLLBACK_SHARE, need)
    strength = compared.strength(need, FEW_ERRORS)
    critical = min(strength, compared.strength(need_rollback, FEW_FOR_ROLLBACK))
    if evidence.knobs.last_part and critical < 1.0:
        gone, gone_critical = compared.came_and_went(need_rollback)
        strength, critical = max(strength, gone), max(critical, gone_critical)
    total = pool(post)
    late = last.effect > 1.5 * whole.effect and strength >= 1.0
    observed = base + last.effect if late else total.rate
    limit = base + (need_rollback if critical >= 1.0 else need)
    over = sum(item.rate > limit for item in post)
    check = Check(
        metric="error_rate",
        rule="errors_above_own_rate",
        outcome=outcome(strength, critical),
        code="errors_rose" if strength >= 1.0 else "errors_level",
        params={
            "before": known.rate,
            "failed": round(total.errors),
            "line": thresholds.errors(lines.deciding(), strength, critical),
        },
        observed=observed,
        baseline=known.rate if known.requests else None,
        spread=whole.error,
        limit=limit,
        share=over / len(post),
        margin=critical if critical >= 1.0 else strength,
        details={
            "over": over,
            "samples": len(post),
            "errors": round(total.errors, 1),
            "requests": round(total.requests),
            "late": late,
        },
    )
    return Finding(check, strength, critical, strength, min(whole.effect / need, whole.excess / FEW_FOR_ROLLBACK))
