"""Look up the confidence: how often a comparable verdict is right, where 92 % of deployments are healthy, 5 % degraded
and 3 % critical. Shares in `confidence_table.py` (at DISTANCES; linear between), measured by the benchmark.

The distance of a verdict is the ratio between its evidence and the nearest threshold of another verdict: an `ok` whose
strongest finding is at 0.5 of a warning has distance 2; a rollback at 1.5 of its threshold has 1.5.
"""

from bisect import bisect_right

from analysis.judge.adaptive.confidence_table import TABLE
from analysis.judge.types import OK, ROLLBACK, VerdictName

# Bands by the number of PRE samples.
BANDS = (("none", 0), ("one", 1), ("few", 2), ("enough", 8))

DISTANCES = (1.0, 1.15, 1.35, 1.7, 2.5, 4.0)


def band(pre_samples: int) -> str:
    """Return the band of this many PRE samples."""
    return BANDS[bisect_right([low for _, low in BANDS], pre_samples) - 1][0]


def distance(verdict: VerdictName, strength: float, critical: float) -> float:
    """Return the distance of the evidence from the nearest other verdict; at least 1."""
    if verdict == OK:
        return max(1.0, 1.0 / max(strength, 0.01))
    if verdict == ROLLBACK:
        return max(1.0, critical)
    return max(1.0, min(strength, 1.0 / max(critical, 0.01)))


def confidence(
    verdict: VerdictName, strength: float, critical: float, *, pre_samples: int, calibrated: bool = True
) -> float:
    """Return the probability (0..1) that the verdict is right, from TABLE."""
    far = min(distance(verdict, strength, critical), DISTANCES[-1])
    if not calibrated:
        return min(1.0, far / 2.0)
    row = TABLE[band(pre_samples), verdict]
    at = min(bisect_right(DISTANCES, far), len(DISTANCES) - 1)
    low, high = DISTANCES[at - 1], DISTANCES[at]
    part = (far - low) / (high - low)
    return round(row[at - 1] + part * (row[at] - row[at - 1]), 4)
