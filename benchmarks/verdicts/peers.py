"""Judge cases by the published rules of other tools.

Each takes a case and returns a verdict. None of them states a usable confidence, so none is reported.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, product

from analysis.judge.types import OK, ROLLBACK, WARNING, Sample, values_of
from benchmarks.verdicts.labels import Case

# Defaults of the `fixed` policy: limit, tolerance; the secured limit is 90 % of the limit.
FIXED_LIMITS = {
    "latency_p95": (300.0, 0.20),
    "error_rate": (0.01, 0.05),
    "cpu_usage": (0.80, 0.20),
    "memory_usage": (0.80, 0.10),
}
CRITICAL = ("error_rate", "requests_per_sec")
METRICS = (*FIXED_LIMITS, "requests_per_sec")
_TINY = 1e-9


def _values(samples: Sequence[Sample], metric: str) -> list[float]:
    return values_of(samples, metric)


def fixed(case: Case) -> str:
    """Judge by fixed limits for every service: the `fixed` policy with its defaults."""
    if not case.pre or not case.post:
        return WARNING
    failed = set()
    for metric, (limit, tolerance) in FIXED_LIMITS.items():
        values = _values(case.post, metric)
        if sum(value > 0.9 * limit + _TINY for value in values) > (tolerance + _TINY) * len(values):
            failed.add(metric)
    before = sum(_values(case.pre, "requests_per_sec")) / len(case.pre)
    after = _values(case.post, "requests_per_sec")
    if before >= 0.5 and sum(value < 0.8 * before for value in after) / len(after) > 0.2 + _TINY:
        failed.add("requests_per_sec")
    if failed & set(CRITICAL):
        return ROLLBACK
    return WARNING if failed or len(case.post) < 3 else OK


def mann_whitney_worse(pre: Sequence[float], post: Sequence[float], *, sign: float, tolerated: float) -> bool:
    """Return whether POST is worse at 98 % by the usual canary test.

    That is Mann-Whitney U (normal approximation with ties), and a Hodges-Lehmann shift beyond `tolerated` of the PRE
    median.
    """
    count, other = len(pre), len(post)
    if not count or not other:
        return False
    differences = sorted(sign * (b - a) for a, b in product(pre, post))
    wins = sum(d > 0 for d in differences) + 0.5 * sum(d == 0 for d in differences)
    everything = sorted([*pre, *post])
    ties, run = 0.0, 1
    for a, b in pairwise(everything):
        run = run + 1 if a == b else 1
        ties += 3 * run * (run - 1) if run > 1 else 0  # adds up to t³ - t per run of t
    total = count + other
    variance = count * other / 12.0 * (total + 1 - ties / (total * (total - 1))) if total > 1 else 0.0
    if variance <= 0.0:
        return False
    z = (wins - count * other / 2.0 - 0.5) / math.sqrt(variance)
    middle = sorted(pre)[count // 2]
    shift = differences[len(differences) // 2]
    return z > 2.0537 and shift > tolerated * abs(middle)


def canary(case: Case, *, tolerated: float = 0.0, critical: Sequence[str] = ()) -> str:
    """Judge as a canary: the score is the share of metrics that pass a 98 % Mann-Whitney test.

    Below 75 fails, below 95 is marginal.
    """
    if not case.pre or not case.post:
        return WARNING
    failed = set()
    for metric in METRICS:
        sign = -1.0 if metric == "requests_per_sec" else 1.0
        if mann_whitney_worse(_values(case.pre, metric), _values(case.post, metric), sign=sign, tolerated=tolerated):
            failed.add(metric)
    score = 100.0 * (len(METRICS) - len(failed)) / len(METRICS)
    if failed & set(critical) or score < 75.0:
        return ROLLBACK
    return WARNING if score < 95.0 else OK


def failure_limit(case: Case) -> str:
    """Judge by fixed success conditions and a failure limit: more than two failed measurements of a metric abort the
    rollout, one or two are inconclusive."""
    if not case.post:
        return WARNING
    worst = sum((sample.error_rate or 0.0) > 0.05 or sample.latency > 500.0 for sample in case.post)
    return ROLLBACK if worst > 2 else WARNING if worst else OK


PEERS: dict[str, Callable[[Case], str]] = {
    "fixed limits": fixed,
    "Mann-Whitney 98 %, 75/95": canary,
    # A tuned canary: a tenth of difference is tolerated, and errors and traffic are marked critical.
    "… with effect and critical": partial(canary, tolerated=0.1, critical=CRITICAL),
    "conditions, failure limit": failure_limit,
}
