"""Judge latency_p95 by ratios (on a logarithmic scale), with an absolute margin."""

import math
from collections.abc import Sequence

from analysis.judge.adaptive import thresholds
from analysis.judge.adaptive.earlier import usual_rise
from analysis.judge.adaptive.evidence import ALMOST, Evidence, Finding, outcome
from analysis.judge.adaptive.levels import Contrast, Series, contrast, level, noise
from analysis.judge.adaptive.lines import ROLLBACK_SHARE, WARNING_SHARE
from analysis.judge.adaptive.passed import TOLERATED, with_reason
from analysis.judge.types import Check, Sample, values_of

# Usual scatter of a minute's p95 around its level: 8 %. The level itself wanders by some 9 % within an hour.
PRIOR_NOISE = 0.08
WANDER = 0.012

# Twice the load makes an unsaturated service about 2**0.3 = 1.23 times as slow; estimated from PRE if its load varies.
PRIOR_LOAD_EXPONENT = 0.3
MAX_BUSY = 0.95
# A service is out of breath before its cpu is: pools, locks and its busiest core are full first, at about this cpu.
FULL_CPU = 0.8
# Queueing is assumed in full from ×1.6 of the load on.
JAMMED = math.log(1.6)
CLEAR_GROWTH = 1.15
# With so much more traffic, no more cpu per request than this factor, and cpu from this level on, a slow service lacks
# room, not quality.
MUCH_GROWTH = 1.5
SAME_WORK = 1.1
NO_ROOM = 0.5
# PRE shows the effect of small changes of load; least uncertainty about the effect of a jump.
LEAST_UNCERTAIN = 0.15
MIN_TO_LEARN = 10
LOAD_EXPONENT_SCATTER = 0.25
MAX_LOAD_EXPONENT = 1.2
_FLOOR_MS = 0.1
STAYED = (0.85, 1.05)
# In an open window, a p95 below this share of its highest is on its way down.
COMING_DOWN = 0.6
# Fewer requests per sample count as no load: ratios to them would overflow.
NO_LOAD = 0.01


def measured(samples: Sequence[Sample]) -> list[int]:
    """Return the indexes of samples with a latency, i.e. with requests."""
    return [i for i, s in enumerate(samples) if s.latency > 0.0]


def load(evidence: Evidence, samples: Sequence[Sample], base: float) -> list[float]:
    """Return the logarithm of each sample's load relative to PRE, shrunk if few requests make the rate uncertain.

    A sample that does not know its traffic counts as one at the usual load.
    """
    requests = base * max(1.0, evidence.window.interval_s)
    if requests < NO_LOAD:
        return [0.0] * len(samples)
    trust = requests / (requests + 50.0)
    rates = (base if s.requests_per_sec is None else s.requests_per_sec for s in samples)
    return [trust * math.log(max(rate / base, 0.02)) for rate in rates]


def load_exponent(loads: Sequence[float], values: Sequence[float], spread: float) -> tuple[float, float]:
    """Return the load exponent of latency (d log latency / d log load) and its uncertainty.

    From PRE with at least ten samples, shrunk towards the usual value; less the more PRE's load varied.
    """
    if len(values) < MIN_TO_LEARN:
        return PRIOR_LOAD_EXPONENT, LOAD_EXPONENT_SCATTER
    centre_x, centre_y = level(loads), level(values)
    power = sum((x - centre_x) ** 2 for x in loads)
    reach = 3.0 * spread
    both = sum((x - centre_x) * max(-reach, min(reach, y - centre_y)) for x, y in zip(loads, values, strict=True))
    pull = (spread / LOAD_EXPONENT_SCATTER) ** 2
    exponent = (both + PRIOR_LOAD_EXPONENT * pull) / (power + pull)
    return max(0.0, min(MAX_LOAD_EXPONENT, exponent)), spread / math.sqrt(power + pull)


def queueing(growth: float, busy: float, seen: float) -> float:
    """Return the slow-down (log) that queueing predicts for a service at cpu `busy` with `growth` times its load.

    seen: the measured cpu afterwards. A service that is not busier than before does not queue more; one that is busier
    than its load explains has another reason to be slow.
    """
    busy = min(MAX_BUSY, busy / FULL_CPU)
    then = min(MAX_BUSY, busy * growth, seen / FULL_CPU)
    return min(1.0, math.log(growth) / JAMMED) * math.log((1.0 - busy) / (1.0 - then)) if then > busy else 0.0


def _beyond_load(evidence: Evidence, parts: Sequence[Sequence[Sample]], logs: list[list[float]]) -> list[list[float]]:
    """Return the logarithms of latency without the part explained by load."""
    base_rate = evidence.base_rate()
    loads = [load(evidence, part, base_rate) for part in parts]
    spread = max(noise(logs[0], level(logs[0])), PRIOR_NOISE / 2)
    exponent, uncertain = load_exponent(loads[0], logs[0], spread)
    busy = _busy(parts[0])
    cleaned = []
    for which, (xs, ys, part) in enumerate(zip(loads, logs, parts, strict=True)):
        usual = level(xs) if which else 0.0
        extra = 0.0
        if usual > math.log(CLEAR_GROWTH):
            # With clearly more load, assume the effect that load may have, the more so the less PRE shows of it.
            unknown = min(1.0, 0.25 + uncertain / LOAD_EXPONENT_SCATTER)
            queued = unknown * queueing(math.exp(usual), busy, _busy(part))
            extra = max(max(uncertain, LEAST_UNCERTAIN) * usual, queued - exponent * usual)
        # Less traffic makes few services faster, and in POST it may be what a fault left over.
        cleaned.append([y - exponent * (max(0.0, x) if which else x) - extra for x, y in zip(xs, ys, strict=True)])
    return cleaned


def _busy(samples: Sequence[Sample]) -> float:
    """Return the level of cpu; 0.0, which explains nothing, where it was not measured."""
    values = values_of(samples, "cpu_usage")
    return level(values) if values else 0.0


def _contrast(evidence: Evidence) -> tuple[Contrast, list[list[float]]] | None:
    """Return the contrast of log latencies at equal load, and the plain latencies of PRE, body and last part.

    Minutes without requests have no latency, so the last part is as many of those that have one. A single one among
    others without says nothing: it may be a blip as a whole.
    """
    before, at = measured(evidence.pre), measured(evidence.body)
    if not before or not at or (len(at) == 1 and len(evidence.body) > 1):
        return None
    body = [evidence.body[i] for i in at]
    samples = [[evidence.pre[i] for i in before], body, body[-len(evidence.last) :]]
    plain = [[s.latency for s in part] for part in samples]
    logs = [_logs(part) for part in samples]
    if evidence.knobs.explain_load:
        logs = _beyond_load(evidence, samples, logs)
    rise = usual_rise(evidence.window.earlier_days, "latency_p95", per_load=PRIOR_LOAD_EXPONENT)
    series = Series(
        pre=logs[0],
        pre_minutes=[evidence.pre_minutes[i] for i in before],
        body=logs[1],
        body_minutes=[evidence.body_minutes[i] for i in at],
        last=logs[2],
        history=evidence.scatter(_logs),
        age=evidence.pre_age / 60.0,
        rise=rise.change,
        rise_error=rise.error,
    )
    return contrast(series, sign=1.0, prior_noise=PRIOR_NOISE, wander=WANDER, knobs=evidence.knobs), plain


def _logs(samples: Sequence[Sample]) -> list[float]:
    return [math.log(max(s.latency, _FLOOR_MS)) for s in samples if s.latency > 0.0]


def _outgrown(evidence: Evidence) -> bool:
    """Return whether traffic grew by much while a request costs no more cpu: the service lacks room."""
    rate, busy, rates = evidence.base_rate(), _busy(evidence.pre), values_of(evidence.body, "requests_per_sec")
    if rate <= 0.0 or busy <= 0.0 or not rates:
        return False
    growth, now = level(rates) / rate, _busy(evidence.body)
    return growth >= MUCH_GROWTH and NO_ROOM <= now <= SAME_WORK * growth * busy


def judge_latency(evidence: Evidence) -> Finding | None:
    """Judge p95 above the service's own level; None if PRE or POST has no latency."""
    compared = _contrast(evidence)
    if compared is None:
        return None
    result, (_, body, last) = compared
    base = math.exp(min(25.0, result.base))
    lines = evidence.lines

    def line(ratio: float, absolute: float, share: float) -> float:
        # Both margins must be met: the larger one, as a ratio, is the requirement.
        return max(1.0 + ratio * share, 1.0 + absolute * share / base)

    def strength(ratio: float, absolute: float, share: float) -> float:
        return result.strength(math.log(line(ratio, absolute, share)), evidence.guard, evidence.knobs)

    required = math.log(line(lines.latency_ratio, lines.latency_ms, WARNING_SHARE))
    warn = strength(lines.latency_ratio, lines.latency_ms, WARNING_SHARE)
    critical = min(warn, strength(lines.latency_rollback_ratio, lines.latency_rollback_ms, ROLLBACK_SHARE))
    pair = strength(lines.latency_together_ratio, lines.latency_together_ms, ROLLBACK_SHARE)
    if 0.0 < pair < 1.0:
        # Slightly below the threshold is meant in ms: on the logarithmic scale it would be much.
        together = line(lines.latency_together_ratio, lines.latency_together_ms, ROLLBACK_SHARE)
        pair = (together**pair - 1.0) / (together - 1.0)
    pair = min(warn, pair)
    if evidence.knobs.last_part:
        # Nothing is rolled back for what is over: the latest sample must still be slow.
        still = math.log(line(lines.latency_together_ratio, lines.latency_together_ms, ROLLBACK_SHARE))
        critical = min(critical, max(0.0, result.effects[-1] / still))
        pair = min(pair, max(0.0, result.effects[-1] / required))
    if not evidence.window.final and body[-1] < COMING_DOWN * max(body):
        # The next samples will show where it goes.
        critical, pair = min(critical, ALMOST), min(pair, ALMOST)
    if evidence.knobs.explain_load and _outgrown(evidence):
        critical = min(critical, ALMOST)
    if evidence.knobs.robust:
        warn = max(warn, result.recurring(required))
    observed = level(last if warn >= 1.0 and result.last > 1.5 * result.whole else body)
    warn_line = base * line(lines.latency_ratio, lines.latency_ms, WARNING_SHARE)
    rollback_line = base * line(lines.latency_rollback_ratio, lines.latency_rollback_ms, ROLLBACK_SHARE)
    limit = rollback_line if critical >= 1.0 else warn_line
    over = sum(value > limit for value in body)
    share = over / len(body)
    threshold = thresholds.latency(lines.deciding(), warn, critical)
    check = Check(
        metric="latency_p95",
        rule="latency_above_own_level",
        outcome=outcome(warn, critical),
        code=_code(warn, observed / base),
        params={
            "ratio": observed / base,
            "line": with_reason(
                threshold, result, required=required, guard=evidence.guard, share=share, passed=warn < 1.0
            ),
        },
        observed=observed,
        baseline=base,
        spread=base * result.spread,
        limit=limit,
        share=share,
        tolerance=TOLERATED,
        margin=critical if critical >= 1.0 else warn,
        details={
            "over": over,
            "samples": len(body),
            "ratio": round(observed / base, 3),
            "beyond_load": round(math.exp(min(25.0, result.sustained)), 3),
            "drift": round(math.exp(max(-25.0, min(25.0, result.drift))), 3),
            "warning_limit": warn_line,
            "rollback_limit": rollback_line,
        },
    )
    return Finding(check, warn, critical, pair, result.plain / required)


def _code(strength: float, ratio: float) -> str:
    """Return the code of the sentence; its words must fit the two levels that it names."""
    low, high = STAYED
    if strength >= 1.0:
        return "latency_rose" if ratio > high else "latency_beyond_load"
    if low <= ratio <= high:
        return "latency_stayed"
    return "latency_fell" if ratio < low else "latency_rose_a_little"
