"""Judge requests_per_sec: lost traffic relative to its level and variance. Growth is not a fault."""

import math

from analysis.judge.adaptive import thresholds
from analysis.judge.adaptive.evidence import Evidence, Finding, outcome
from analysis.judge.adaptive.levels import Series, contrast, level
from analysis.judge.adaptive.lines import ROLLBACK_SHARE, WARNING_SHARE
from analysis.judge.types import Check

PRIOR_NOISE = 0.10

# With fewer requests in all of PRE there is no traffic to lose.
FEW_REQUESTS = 3.0


def judge_traffic(evidence: Evidence) -> Finding | None:
    """Judge the lost share of the expected traffic; None if PRE had almost none."""
    if not evidence.pre or not evidence.body:
        return None
    base = evidence.base_rate()
    interval = max(1.0, evidence.window.interval_s)
    if base * interval * len(evidence.pre) < FEW_REQUESTS:
        return None
    scaled = [[s.requests_per_sec / base for s in part] for part in (evidence.pre, evidence.body, evidence.last)]
    series = Series(scaled[0], evidence.pre_minutes, scaled[1], evidence.body_minutes, scaled[2])
    result = contrast(
        series,
        sign=-1.0,
        prior_noise=math.sqrt(PRIOR_NOISE**2 + 1.0 / (base * interval)),
        knobs=evidence.knobs,
    )
    expected = max(0.2, result.base)
    lines = evidence.lines
    need, need_rollback = lines.traffic * WARNING_SHARE, lines.traffic_rollback * ROLLBACK_SHARE
    strength = result.strength(need * expected, evidence.guard, evidence.knobs)
    critical = min(strength, result.strength(need_rollback * expected, evidence.guard, evidence.knobs))
    lost = max(0.0, min(1.0, result.sustained / expected))
    # The check's level is the one that decided: of the whole window, or of its last part.
    observed = (1.0 - lost) * expected * base if strength >= 1.0 else level([s.requests_per_sec for s in evidence.body])
    limit = expected * (1 - (need_rollback if critical >= 1.0 else need))
    under = sum(value < limit for value in scaled[1])
    check = Check(
        metric="requests_per_sec",
        rule="traffic_lost",
        outcome=outcome(strength, critical),
        code="traffic_fell" if strength >= 1.0 else "traffic_level",
        params={"lost": lost, "line": thresholds.traffic(lines.deciding(), strength, critical)},
        observed=observed,
        baseline=expected * base,
        spread=result.spread * base,
        limit=limit * base,
        share=under / len(evidence.body),
        margin=critical if critical >= 1.0 else strength,
        details={
            "over": under,
            "samples": len(evidence.body),
            "lost": round(lost, 3),
            "drift": round(result.drift, 3),
        },
    )
    return Finding(check, strength, critical, strength, result.plain / (lines.traffic * expected))
