"""Judge error_rate by comparing counts of errors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, takewhile
from operator import itemgetter

from analysis.judge.adaptive import thresholds
from analysis.judge.adaptive.counts import Beta, log_tail, mean_rate, posterior
from analysis.judge.adaptive.evidence import ALMOST, LONG_WINDOW, Evidence, Finding, last_third, outcome
from analysis.judge.adaptive.levels import dying_away
from analysis.judge.adaptive.lines import ROLLBACK_SHARE, WARNING_SHARE
from analysis.judge.adaptive.passed import TOLERATED
from analysis.judge.types import ASSUMED_REQUESTS, Check, Sample
from explain.facts import Fact

# Upper bound of requests that count per minute: real errors come in bursts.
MAX_REQUESTS = 20_000.0

# An incident has this many errors more than expected; a single failed request at night is none.
FEW_ERRORS = 2.5
FEW_FOR_ROLLBACK = 6.0

# So many errors would be as improbable as this, if nothing had changed: of the window, of its last part alone, and for
# a rollback.
IMPROBABLE = 0.02
IMPROBABLE_LATE = 0.008
IMPROBABLE_FOR_ROLLBACK = 0.001
# So improbable is a blip of PRE.
IMPROBABLE_BLIP = 0.001
_PRIOR_DISPERSION = 1.3

# So many of PRE's latest samples show what began before the deployment.
RECENT = 2
ENOUGH_FOR_RECENT = 4

# Separate bursts of errors within one window: blips are single.
BURSTS = 3
# A minute with this share of failed requests is an outage; two separate ones are a process that keeps crashing.
OUTAGE = 0.3
CRASHES = 2
BISECTIONS = 12
# In so few samples two bursts leave no calm period.
FEW_SAMPLES = 5
# Errors in the worst sample needed to see a decrease.
FADING_ERRORS = 20.0

# The last part must still show this share of an effect that the whole window has, if so many errors were to be expected
# there: of three expected, none comes by chance once in twenty.
STILL_THERE = 0.4
TELLING = 3.0


@dataclass(frozen=True, slots=True)
class _Count:
    """Numbers of requests and errors."""

    errors: float
    requests: float

    @property
    def rate(self) -> float:
        return self.errors / self.requests if self.requests > 0 else 0.0


def counts(evidence: Evidence, samples: Sequence[Sample]) -> list[_Count]:
    """Return errors and requests of each sample with requests, of those that have an error rate.

    Where requests are not counted on both sides, rates are compared unweighted.
    """
    weighted = counted(evidence)
    found = []
    for sample in samples:
        if sample.error_rate is None:
            continue
        requests = evidence.requests(sample) if weighted else ASSUMED_REQUESTS
        if requests is None or requests <= 0.0:
            continue
        requests = min(MAX_REQUESTS, requests)
        if not evidence.knobs.error_counts:
            requests = MAX_REQUESTS
        elif sample.error_rate > 0.0:
            requests = max(1.0, requests)
        found.append(_Count(sample.error_rate * requests, requests))
    return found


def counted(evidence: Evidence) -> bool:
    """Return whether at least half of the samples with an error rate count requests, before and after."""
    sides = ([s for s in side if s.error_rate is not None] for side in (evidence.pre, evidence.post))
    return all(2 * sum(s.requests_per_sec is not None for s in side) >= len(side) for side in sides)


def pool(items: Sequence[_Count]) -> _Count:
    """Sum all counts."""
    return _Count(math.fsum(item.errors for item in items), math.fsum(item.requests for item in items))


def _calm(items: Sequence[_Count]) -> list[_Count]:
    """Return PRE counts without blips.

    The worst rates (one of five, two of eight, an eighth of more) count as the next one, if the others do not explain
    them: the scatter of few requests is no blip.
    """
    if len(items) < 5:
        return list(items)
    ordered = sorted(items, key=lambda item: (item.rate, item.requests))
    cut = 1 if len(items) < 8 else max(2, len(items) // 8)
    rest = pool(ordered[:-cut])
    usual = posterior(rest.errors, rest.requests)
    roof = ordered[-cut - 1].rate

    def calm(item: _Count) -> _Count:
        blip = item.rate > roof and log_tail(usual, item.errors, item.requests) < math.log(IMPROBABLE_BLIP)
        return _Count(roof * item.requests, item.requests) if blip else item

    return [calm(item) for item in items]


def _dispersion(items: Sequence[_Count], rate: float) -> float:
    """Return the dispersion of PRE counts relative to chance; 1.0 = chance alone (Pearson's statistic)."""
    if rate <= 0.0 or len(items) < 5:
        return _PRIOR_DISPERSION
    chi = math.fsum((item.errors - rate * item.requests) ** 2 / (rate * item.requests) for item in items)
    weight = len(items) - 1.0
    return max(1.0, (chi + 4.0 * _PRIOR_DISPERSION) / (weight + 4.0))


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
    """One stretch of POST.

    total: its counts; effect: its rate above PRE's, calm_effect: without its worst samples; excess: errors more than
    expected; calm_share: see _calm_share; effects: see _effects; log_chance: logarithm of the probability of so many
    errors if nothing changed.
    """

    total: _Count
    effect: float
    calm_effect: float
    excess: float
    calm_share: float
    effects: tuple[float, ...]
    log_chance: float


def _effects(items: Sequence[_Count], base: float) -> tuple[float, ...]:
    """Return the effects of single samples, if the worst one has enough errors to see a decrease."""
    tells = max(item.errors for item in items) >= FADING_ERRORS
    return tuple(item.rate - base for item in items) if tells else ()


@dataclass(frozen=True, slots=True)
class _Before:
    """The service's own rate of errors.

    known: what PRE's counts tell of it; rate: its level; with_blips: the same with the blips of PRE; dispersion: of its
    counts relative to chance, by which all counts are divided where chances are compared.
    """

    calm: _Count
    known: tuple[Beta, ...]
    rate: float
    with_blips: float
    dispersion: float

    def over(self, items: Sequence[_Count], margin: float) -> list[bool]:
        """Return which samples exceed the own rate by `margin`, with more than a failed request."""
        return [item.rate > self.rate + margin and item.errors >= 2.0 for item in items]

    def burst(self, item: _Count, margin: float) -> bool:
        """Return whether a sample exceeds the own rate by `margin`, and not by chance."""
        return item.rate > self.rate + margin and self.log_chance(item) < math.log(IMPROBABLE_BLIP)

    def log_chance(self, count: _Count) -> float:
        return log_tail(self.known, count.errors / self.dispersion, count.requests / self.dispersion)

    def improbable(self, requests: float, chance: float) -> float:
        """Return the least number of errors of `requests` that is as improbable as `chance`."""
        low, high = self.rate * requests, requests + 1.0
        for _ in range(BISECTIONS):
            middle = math.sqrt((low + 0.1) * (high + 0.1)) - 0.1
            if self.log_chance(_Count(middle, requests)) > math.log(chance):
                low = middle
            else:
                high = middle
        return high

    def part(self, items: Sequence[_Count], most: int) -> _Part:
        """Compare a stretch of POST; at most `most` of its samples are a blip."""
        total, base = pool(items), self.rate
        if total.requests <= 0.0:
            return _Part(total, 0.0, 0.0, 0.0, 1.0, (), 0.0)
        # A single minute with requests may be a blip as a whole.
        calm = _without_worst(items, base, most).rate if len(items) > 1 else base if most else total.rate
        return _Part(
            total=total,
            effect=total.rate - base,
            calm_effect=calm - base,
            excess=total.errors - base * total.requests,
            calm_share=_calm_share(total.errors / len(items)),
            effects=_effects(items, base),
            log_chance=self.log_chance(total),
        )


def _before(evidence: Evidence) -> _Before:
    items = counts(evidence, evidence.pre)
    calm = _calm(items) if evidence.knobs.robust else items
    before = _known(calm, pool(items).rate)
    if evidence.knobs.follow_drift and len(items) >= ENOUGH_FOR_RECENT:
        # What began before the deployment, in more than one minute, is not its effect.
        usual = _known(sorted(items, key=lambda item: item.rate)[: len(items) // 2], 0.0)
        margin = _margin(evidence, usual.rate)
        began = list(takewhile(lambda item: usual.burst(item, margin), reversed(items)))
        if len(began) >= RECENT:
            return _known(began, pool(began).rate)
    return before


def _margin(evidence: Evidence, rate: float) -> float:
    """Return by how much a rate must be exceeded for a warning."""
    return max(evidence.lines.error, evidence.lines.error_ratio * rate) * WARNING_SHARE


def _known(items: Sequence[_Count], with_blips: float) -> _Before:
    total = pool(items)
    dispersion = _dispersion(items, mean_rate(posterior(total.errors, total.requests)))
    known = posterior(total.errors / dispersion, total.requests / dispersion)
    # Where PRE is thin its level may be chance: what is usual is the least to compare with.
    rate = max(total.rate, mean_rate(known))
    return _Before(total, known, rate, max(rate, with_blips), dispersion)


@dataclass(frozen=True, slots=True)
class _Compared:
    """POST counts against the service's own rate: the window without warm-up, and its last part."""

    evidence: Evidence
    before: _Before
    whole: _Part
    last: _Part

    def strength(
        self, required: float, few: float, chance: float, late_chance: float, *, over_counts: bool = False
    ) -> float:
        """Return the effect as a multiple of the required one (1.0 = a finding).

        It must exceed the practical margin, by `few` errors more than expected, and be as improbable as `chance` if
        nothing had changed; over the window, also without its worst samples, and still in its last part; or in the last
        part alone.
        """
        knobs, whole, last = self.evidence.knobs, self.whole, self.last
        required = required if knobs.practical_margin else 1e-9

        def found(part: _Part, chance: float) -> float:
            strength = part.effect / required
            if knobs.error_counts:
                strength = min(strength, part.excess / few)
            if knobs.noise_guard:
                strength = min(strength, part.log_chance / math.log(chance))
            if knobs.robust:
                strength = min(strength, part.calm_effect / (part.calm_share * required))
            return strength

        result = found(whole, chance)
        if knobs.last_part:
            if whole.total.rate * last.total.requests >= TELLING:
                still = min(result, last.effect / (STILL_THERE * required))
                # What is over, and was no chance at all, is worth a look, and no rollback.
                result = max(still, min(found(whole, IMPROBABLE_FOR_ROLLBACK), 1.2)) if over_counts else still
            result = max(result, found(last, late_chance))
        if knobs.robust:
            result = min(result, dying_away(whole.effects, required))
        return result

    def came_and_went(self, required: float) -> tuple[float, float]:
        """Return strengths (warning, rollback) of severe errors that are absent at the end of the window.

        Errors that lasted longer than a blip and disappeared are a warning. Errors that keep coming back, however short
        each time, are a process that keeps crashing: a rollback.
        """
        before, whole = self.before, self.whole
        items = counts(self.evidence, self.evidence.post)
        total = pool(items)
        over, outages = before.over(items, 2.0 * required), before.over(items, OUTAGE)
        bursts = sum(now and not earlier for earlier, now in pairwise([False, *over]))
        crashes = sum(
            burst and any(outage for _, outage in members)
            for burst, members in groupby(zip(over, outages, strict=True), key=itemgetter(0))
        )

        def severe(total: _Count, chance: float) -> float:
            # The blips of PRE count: minutes that fail now and then are no change where some failed before.
            excess = total.errors - before.with_blips * total.requests
            improbable = before.log_chance(total) / math.log(chance)
            return min(excess / total.requests / required, excess / (2.0 * FEW_FOR_ROLLBACK), improbable)

        overall = severe(total, IMPROBABLE_FOR_ROLLBACK)
        # Outages are no scatter of a few failed requests.
        crashing = severe(total, IMPROBABLE_LATE) if crashes >= CRASHES else 0.0
        if crashing >= 1.0 or (bursts >= BURSTS and overall >= 1.0):
            return max(overall, crashing), max(overall, crashing)
        if bursts == BURSTS - 1 and len(items) <= FEW_SAMPLES and overall >= 1.0:
            return overall, ALMOST
        stayed = min(severe(whole.total, IMPROBABLE_FOR_ROLLBACK), whole.calm_effect / required)
        if stayed >= 1.0:
            return stayed, stayed if bursts >= BURSTS - 1 else ALMOST
        return 0.0, 0.0


def _compare(evidence: Evidence, post: list[_Count]) -> _Compared:
    before = _before(evidence)
    short = max(len(evidence.post), evidence.window.expected) < LONG_WINDOW
    only = len(evidence.body) == 1
    whole = before.part(post, 0 if only else 1 if short else len(post))
    last = before.part(counts(evidence, evidence.last), 0 if only else 1 if short else 2)
    return _Compared(evidence, before, whole, last)


def _judged(evidence: Evidence) -> list[_Count]:
    """Return the counts to judge: of the body, and of the warm-up as well where few errors leave no minute to spare.

    The errors of a minute of warm-up count as far as a minute of the body has as many: a cold start proves nothing.
    """
    body = counts(evidence, evidence.body)
    if not 0.0 < pool(body).errors < FEW_FOR_ROLLBACK:
        return body
    most = max(item.errors for item in body)
    warmup = counts(evidence, evidence.post[: len(evidence.post) - len(evidence.body)])
    return [*(_Count(min(item.errors, most), item.requests) for item in warmup), *body]


def judge_errors(evidence: Evidence) -> Finding | None:
    """Judge errors above the service's own rate; None if no POST sample has requests."""
    lines = evidence.lines
    post = _judged(evidence)
    if not post or not evidence.pre:
        return None
    compared = _compare(evidence, post)
    before, whole, last = compared.before, compared.whole, compared.last
    base, total = before.rate, whole.total
    need = _margin(evidence, base)
    need_rollback = max(lines.error_rollback * ROLLBACK_SHARE, need)
    strength = compared.strength(need, FEW_ERRORS, IMPROBABLE, IMPROBABLE_LATE, over_counts=True)
    critical = min(
        strength,
        compared.strength(need_rollback, FEW_FOR_ROLLBACK, IMPROBABLE_FOR_ROLLBACK, IMPROBABLE_FOR_ROLLBACK),
    )
    late = last.effect > 1.5 * max(0.0, whole.effect) and strength >= 1.0
    shown = last.total if late else total
    if evidence.knobs.last_part and _over_again(evidence, before, total.rate, need):
        critical = min(critical, ALMOST)
    if evidence.knobs.last_part and critical < 1.0:
        gone, gone_critical = compared.came_and_went(need_rollback)
        if gone > strength:
            late, shown = False, pool(counts(evidence, evidence.post))
        strength, critical = max(strength, gone), max(critical, gone_critical)
    warning_limit = _limit(before, total.requests, need, critical=False)
    rollback_limit = _limit(before, total.requests, need_rollback, critical=True)
    limit = rollback_limit if critical >= 1.0 else warning_limit
    over = sum(item.rate > limit for item in post)
    share = over / len(post)
    line = thresholds.errors(lines.deciding(), strength, critical)
    if strength < 1.0 and share > TOLERATED:
        gone_again = last.effect < STILL_THERE * need
        why = Fact("passed.over_again" if gone_again else "passed.single_samples")
        line = Fact("passed_because", {"line": line, "why": why})
    check = Check(
        metric="error_rate",
        rule="errors_above_own_rate",
        outcome=outcome(strength, critical),
        code=_code(before, strength) if counted(evidence) else _uncounted(strength),
        params={"before": before.calm.rate, "failed": round(shown.errors), "line": line},
        observed=shown.rate,
        baseline=before.calm.rate if before.calm.requests else None,
        spread=math.sqrt(before.dispersion * base * (1.0 - base) / total.requests),
        limit=limit,
        share=share,
        tolerance=TOLERATED,
        margin=critical if critical >= 1.0 else strength,
        details={
            "over": over,
            "samples": len(post),
            "errors": round(shown.errors, 1),
            "requests": round(shown.requests),
            "late": late,
            "warning_limit": warning_limit,
            "rollback_limit": rollback_limit,
        },
    )
    return Finding(check, strength, critical, strength, min(whole.effect / need, whole.excess / FEW_FOR_ROLLBACK))


def _over_again(evidence: Evidence, before: _Before, rate: float, need: float) -> bool:
    """Return whether the last third of the window is at PRE's level, where errors at `rate` would have shown."""
    end = pool(counts(evidence, evidence.post[-last_third(len(evidence.post)) :]))
    return rate * end.requests >= TELLING and end.rate - before.rate < need


def _code(before: _Before, strength: float) -> str:
    if not before.calm.requests:
        return "errors_without_before"
    return "errors_rose" if strength >= 1.0 else "errors_level"


def _uncounted(strength: float) -> str:
    """Return the code where the number of requests is not known."""
    return "error_rate_rose" if strength >= 1.0 else "error_rate_level"


def _limit(before: _Before, requests: float, need: float, *, critical: bool) -> float:
    """Return the rate from which a window of `requests` is a finding: by its margin, and by its number of errors."""
    few, chance = (FEW_FOR_ROLLBACK, IMPROBABLE_FOR_ROLLBACK) if critical else (FEW_ERRORS, IMPROBABLE)
    errors = max(before.rate * requests + few, before.improbable(requests, chance))
    return min(1.0, max(before.rate + need, errors / requests))
