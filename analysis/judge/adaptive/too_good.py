"""Judge what is too good to be true: a service that suddenly does next to nothing for as many requests.

Requests that are all refused (401, 404, redirected to a login) may count as no errors. They take a few milliseconds and
hardly any cpu. A cache or an index makes either much smaller, but hardly both: it spares the slowest requests, while
the rest of their work remains.
"""

import math
from collections.abc import Sequence

from analysis.judge.adaptive.cpu import PRIOR_NOISE as CPU_NOISE
from analysis.judge.adaptive.evidence import Evidence, Finding, outcome
from analysis.judge.adaptive.latency import PRIOR_NOISE as LATENCY_NOISE
from analysis.judge.adaptive.levels import level, noise
from analysis.judge.types import TOO_GOOD, Check, Sample, values_of

# p95 below a fifth and cpu at this load below a third: an ordinary optimization reaches one of them, rarely both.
FASTER = 5.0
IDLER = 3.0
# Fewer requests than this share of those before are lost traffic: less work is no riddle.
SAME_TRAFFIC = 0.6
# A consumer without requests that uses less than a fifth of its cpu may have nothing to do, or not do it.
STOPPED = 5.0
# More than noise: standard deviations of single samples.
CLEAR = 4.0
_LEAST_MS = 0.1
_LEAST_CPU = 1e-4


def judge_too_good(evidence: Evidence) -> Finding | None:
    """Judge p95 and cpu that collapsed together at equal traffic; or cpu alone where no request is counted.

    Over the window, or in its last part alone: the new version may answer from mid-window on.
    """
    # What is not measured cannot be too good.
    evidence = evidence.knowing("cpu_usage").knowing("requests_per_sec")
    if not evidence.pre or not evidence.body or not any(s.cpu_usage for s in evidence.post):
        return None
    found = [finding for part in (evidence.body, evidence.last) if (finding := _judged(evidence, part)) is not None]
    return max(found, key=lambda finding: finding.strength, default=None)


def _judged(evidence: Evidence, part: Sequence[Sample]) -> Finding | None:
    before, after = (level(values_of(side, "requests_per_sec")) for side in (evidence.pre, part))
    cpu = [level(values_of(side, "cpu_usage")) for side in (evidence.pre, part)]
    spread = max(CPU_NOISE / 2, noise(values_of(evidence.pre, "cpu_usage"), cpu[0]))
    if not any(s.requests_per_sec for s in (*evidence.pre, *evidence.body)):
        strength = min(_times(cpu[0], cpu[1], STOPPED), (cpu[0] - cpu[1]) / (CLEAR * spread))
        return _finding(part, strength, "cpu_usage", cpu, code="stopped_working") if strength >= 1.0 else None
    p95 = [_level_ms(side) for side in (evidence.pre, part)]
    if not all(p95) or after < SAME_TRAFFIC * before:
        return None
    expected = cpu[0] * min(1.0, after / before) if before > 0.0 else cpu[0]
    logs = [math.log(max(_LEAST_MS, value)) for value in values_of(evidence.pre, "latency_p95")]
    scatter = max(LATENCY_NOISE / 2, noise(logs, level(logs)))
    strength = min(
        _times(p95[0], p95[1], FASTER),
        math.log(max(p95[0], _LEAST_MS) / max(p95[1], _LEAST_MS)) / (CLEAR * scatter),
        _times(expected, cpu[1], IDLER),
        (expected - cpu[1]) / (CLEAR * spread),
    )
    if strength < 1.0:
        return None
    return _finding(part, strength, "latency_p95", p95, code="too_good", cpu_before=cpu[0], cpu_after=cpu[1])


def _level_ms(samples: Sequence[Sample]) -> float:
    values = values_of(samples, "latency_p95")
    return level(values) if values else 0.0


def _times(before: float, after: float, least: float) -> float:
    """Return how much smaller a level became, as a multiple of `least` (logarithms)."""
    return math.log(max(before, _LEAST_CPU) / max(after, _LEAST_CPU)) / math.log(least)


def _finding(
    part: Sequence[Sample], strength: float, metric: str, levels: Sequence[float], *, code: str, **params: float
) -> Finding:
    before, after = levels
    limit = before / (STOPPED if metric == "cpu_usage" else FASTER)
    values = values_of(part, metric)
    under = sum(value < limit for value in values)
    check = Check(
        metric=metric,
        rule=TOO_GOOD,
        outcome=outcome(strength),
        code=code,
        params=dict(params),
        observed=after,
        baseline=before,
        limit=limit,
        share=under / len(values),
        margin=strength,
        details={"over": under, "samples": len(values)},
    )
    return Finding(check, strength)
