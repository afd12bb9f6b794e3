"""Judge requests_per_sec: the share of the expected traffic that is lost. Growth is not a fault.

Expected is PRE's level, moved by PRE's own course and by what the same minutes of earlier days predict; the older PRE,
the less is known of it. Shares are compared as logarithms, because levels move by factors.
"""

import math
from collections.abc import Sequence

from analysis.judge.adaptive import thresholds
from analysis.judge.adaptive.earlier import USUAL_SLOPE, Line, Shift, combined, course, line_through, of_earlier_days
from analysis.judge.adaptive.evidence import ALMOST, ENOUGH_PRE, GUARD, Evidence, Finding, outcome
from analysis.judge.adaptive.levels import (
    PRIOR_NOISE_WEIGHT,
    Contrast,
    autocorrelation,
    effective,
    level,
    mean,
    noise,
    step_noise,
    without_worst,
)
from analysis.judge.adaptive.lines import ROLLBACK_SHARE, WARNING_SHARE
from analysis.judge.adaptive.passed import TOLERATED, with_reason
from analysis.judge.quality import PRE_MAX_AGE
from analysis.judge.types import Check, Sample, values_of

METRIC = "requests_per_sec"

# Usual scatter of a minute's traffic around its level, beyond counting: 14 %.
PRIOR_NOISE = 0.14

# With fewer requests in all of PRE there is no traffic to lose.
FEW_REQUESTS = 3.0

# A rollback takes enough requests to exclude (at 2 %) that less than this share is lost.
SURELY_LOST = 0.65
Z = 2.05

# Traffic hardly falls faster by itself than by half in an hour.
FALLS = math.log(2.0) / 60.0

# An expected change of this share is named in the sentence.
WORTH_SAYING = 0.05

_NEVER = 1e-9


def judge_traffic(evidence: Evidence) -> Finding | None:
    """Judge the lost share of the expected traffic; None if PRE had almost none. Every sample knows its traffic."""
    pre = [sample for sample in evidence.pre if sample.origin != "history"] or list(evidence.pre)
    if not pre or not evidence.body:
        return None
    rates = values_of(pre, METRIC)
    base, interval = level(rates), max(1.0, evidence.window.interval_s)
    if base * interval * len(pre) < FEW_REQUESTS:
        return None
    found = _Traffic(evidence, pre, base, interval)
    result, lines = found.contrast, evidence.lines
    need, need_rollback = (
        -math.log1p(-lines.traffic * WARNING_SHARE),
        -math.log1p(-lines.traffic_rollback * ROLLBACK_SHARE),
    )
    strength = result.strength(need, evidence.guard, evidence.knobs)
    if evidence.knobs.noise_guard:
        strength = min(strength, math.exp(min(5.0, found.surely_lost() / need)))
    after = values_of(evidence.post, METRIC)
    gone = result.last >= need_rollback and mean(after[-found.last :]) < mean(rates[-found.last :])
    # Growth of earlier days that stays away today is no loss, nor is a minute's scatter around the level before.
    scatter = min(SURELY_LOST, result.spread) if result.drift > 1.0 else 0.0
    if mean(after) >= (1.0 - scatter) * mean(rates) and not gone:
        # What did not fall is not lost, whatever was expected; unless nothing arrives at the end.
        strength = min(strength, ALMOST)
    critical = min(
        strength,
        result.strength(need_rollback, evidence.guard, evidence.knobs),
        found.surely_lost(found.base_error) / -math.log1p(-SURELY_LOST),
        # Next to nothing arrives: of what arrived before as well, where more was expected.
        max(0.0, max(result.whole, result.last) - max(0.0, math.log(result.drift))) / need_rollback,
    )
    if evidence.post[0].collected_at - pre[-1].collected_at > PRE_MAX_AGE:
        critical = min(critical, ALMOST)
    expected = found.expected[len(found.expected) // 2]
    # The check's level is the one that decided: of the whole window, or of its last part.
    decided = evidence.last if strength >= 1.0 and result.last > result.whole else evidence.body
    observed = level(values_of(decided, METRIC))
    lost = max(0.0, 1.0 - observed / expected)
    needs = [max(one, evidence.guard * result.whole_error) for one in (need, need_rollback)]
    required = needs[critical >= 1.0]
    limit = math.exp(-required)
    under = sum(ratio < limit for ratio in found.ratios)
    share = under / len(found.ratios)
    line = with_reason(
        thresholds.traffic(lines.deciding(), strength, critical),
        result,
        required=required,
        guard=evidence.guard,
        share=share,
        passed=strength < 1.0,
    )
    check = Check(
        metric=METRIC,
        rule="traffic_lost",
        outcome=outcome(strength, critical),
        code=_code(strength, expected / base),
        params={"before": base, "lost": lost, "line": line},
        observed=observed,
        baseline=expected,
        spread=result.spread * expected,
        limit=limit * expected,
        share=share,
        tolerance=TOLERATED,
        margin=critical if critical >= 1.0 else strength,
        details={
            "over": under,
            "samples": len(evidence.body),
            "lost": round(lost, 3),
            "drift": round(result.drift, 3),
            "warning_limit": math.exp(-needs[0]) * expected,
            "rollback_limit": math.exp(-needs[1]) * expected,
        },
    )
    return Finding(check, strength, critical, strength, result.plain / need)


def _code(strength: float, moved: float) -> str:
    """Return the sentence. moved: the expected level as a multiple of the one before."""
    if strength < 1.0:
        return "traffic_level"
    return "traffic_fell" if abs(moved - 1.0) < WORTH_SAYING else "traffic_below_expected"


class _Traffic:
    """POST's traffic as ratios to what was expected."""

    def __init__(self, evidence: Evidence, pre: Sequence[Sample], base: float, interval: float) -> None:
        self.interval = interval
        start = evidence.post[0].collected_at

        def minutes(samples: Sequence[Sample]) -> list[float]:
            return [(sample.collected_at - start).total_seconds() / 60.0 for sample in samples]

        before, after = minutes(pre), minutes(evidence.body)
        rates = values_of(pre, METRIC)
        least = math.sqrt(PRIOR_NOISE**2 + 1.0 / (base * interval))
        logs = self._logs(pre)
        line = line_through(logs, before, spread=0.5 * least, rho=autocorrelation(logs, level(logs), least))
        flat = [rate / math.exp(_bounded(line.at(minute))) for rate, minute in zip(rates, before, strict=True)]
        base = max(_NEVER, math.exp(line.level) * level(flat))
        now = values_of(evidence.body, METRIC)
        posts = [rate / base for rate in now]
        self.spread = max(_spread(flat, posts, prior=least), 1.0 / math.sqrt(base * interval))
        self.rho = autocorrelation(flat, level(flat), self.spread)
        shift = self._shift(evidence, line, before, after) if evidence.knobs.follow_drift else Shift()
        ahead = max(_NEVER, mean(after) - line.centre)
        self.expected = [
            base * math.exp(shift.change * max(0.0, min(2.0, (minute - line.centre) / ahead))) for minute in after
        ]
        self.ratios = [rate / expected for rate, expected in zip(now, self.expected, strict=True)]
        self.last = len(evidence.last)
        self.base_error = math.hypot(self.spread / math.sqrt(effective(line.count, self.rho)), shift.error)
        self.contrast = self._contrast(evidence, shift, line.count)

    def _logs(self, samples: Sequence[Sample]) -> list[float]:
        return [math.log(rate + 0.5 / self.interval) for rate in values_of(samples, METRIC)]

    def _shift(self, evidence: Evidence, line: Line, before: Sequence[float], after: Sequence[float]) -> Shift:
        """Return the expected change from PRE to POST."""
        ahead = max(_NEVER, mean(after) - line.centre)
        days = of_earlier_days(evidence.window.earlier_days, METRIC)
        # Traffic that still falls after the deployment, or falls at this hour, may have done so in between.
        now = line_through(self._logs(evidence.body), after, spread=self.spread, rho=self.rho)
        falls = max(0.0, now.slope_error - now.slope)
        gap = max(0.0, after[0] - before[-1]) / ahead
        usual = max(USUAL_SLOPE, min(FALLS, falls) * gap, days.clear / ahead if days else 0.0)
        own = course(line.slope, line.slope_error, ahead, usual=usual)
        # What rises may stop: a slope excuses, and never makes a loss.
        own = Shift(min(0.0, own.change), own.error)
        if days and days.change < own.change:
            # PRE does not know the hour: where it disagrees with days that predict each other, they know better.
            apart = Shift(own.change - days.change, days.error)
            own = Shift(own.change, math.hypot(own.error, apart.clear))
        return combined(own, days)

    def _contrast(self, evidence: Evidence, shift: Shift, count: float) -> Contrast:
        centre = level if evidence.knobs.robust else mean

        def lost(ratios: Sequence[float]) -> float:
            few = 0.5 / max(1.0, self.requests(len(ratios)))
            return -math.log((centre(ratios) + few) / (1.0 + few))

        def best(ratios: Sequence[float]) -> float:
            return lost([-one for one in without_worst([-ratio for ratio in ratios])])

        def error(ratios: Sequence[float]) -> float:
            chance = self.spread * math.sqrt(1.0 / effective(count, self.rho) + 1.0 / effective(len(ratios), self.rho))
            # Fewer standard errors are required where PRE is thin, but not of its age.
            return math.hypot(1.2 * chance, GUARD / evidence.guard * shift.error)

        last = self.ratios[len(self.ratios) - self.last :]
        singles = tuple(-math.log(max(ratio, 0.005)) for ratio in self.ratios)
        return Contrast(
            base=1.0,
            spread=self.spread,
            drift=math.exp(shift.change),
            whole=lost(self.ratios),
            whole_without_worst=best(self.ratios),
            whole_error=error(self.ratios),
            last=lost(last),
            last_without_worst=best(last),
            last_error=error(last),
            effects=singles,
            plain=-math.log(max(mean(self.ratios), 0.005)),
        )

    def requests(self, count: int) -> float:
        """Return the requests expected in the last `count` samples."""
        return self.interval * math.fsum(self.expected[len(self.expected) - count :])

    def surely_lost(self, doubt: float = 0.0) -> float:
        """Return the loss (logarithm) that counting leaves no doubt about; negative if there may be none.

        By the upper limit of a gamma distribution after so many requests (Wilson and Hilferty). doubt: standard error
        of the expected level, as a logarithm.
        """
        surest = -math.inf
        for count in (len(self.ratios), self.last):
            expected = self.requests(count)
            seen = expected * mean(self.ratios[len(self.ratios) - count :]) + 1.0
            most = seen * (1.0 - 1.0 / (9.0 * seen) + Z / (3.0 * math.sqrt(seen))) ** 3
            surest = max(surest, -math.log(most / expected) - Z * doubt)
        return surest


def _bounded(log: float) -> float:
    return max(-30.0, min(30.0, log))


def _spread(pre: Sequence[float], post: Sequence[float], *, prior: float) -> float:
    """Return the relative scatter of PRE, shrunk towards the prior, and with POST if PRE is thin."""
    count, own = len(pre), noise(pre, level(pre))
    variance = (count - 1.0) * own * own + PRIOR_NOISE_WEIGHT * prior * prior
    weight = count - 1.0 + PRIOR_NOISE_WEIGHT
    if count < ENOUGH_PRE:
        helps = 0.7 * max(0, len(post) - 2)
        variance += helps * step_noise(post) ** 2
        weight += helps
    return math.sqrt(variance / weight)
