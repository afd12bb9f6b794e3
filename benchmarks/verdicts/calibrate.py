"""Compute how often verdicts at each distance from the thresholds are right: the judge's confidence table."""

from collections.abc import Iterable, Sequence

from analysis.judge.adaptive import weigh
from analysis.judge.adaptive.confidence import DISTANCES, band, distance
from analysis.judge.types import VERDICTS
from benchmarks.verdicts.labels import Case
from projects.policy import AdaptivePolicy

# Prior for cells with few cases: each starts with this many at PRIOR_RIGHT.
PRIOR_CASES = 10.0
PRIOR_RIGHT = 0.9

# No generator is reality: the table claims this much less than was measured, and never certainty.
MARGIN = 0.01
MOST = 0.985


def calibration(cases: Iterable[Case]) -> list[str]:
    """Return one line per band and verdict: the share of right verdicts near each distance, monotone in it."""
    cells: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    for case in cases:
        evidence, found, combined = weigh(case.pre, case.post, AdaptivePolicy(), case.window)
        if found.enough:
            far = distance(combined.verdict, combined.strength, combined.critical)
            right = combined.verdict in case.accepted
            cells.setdefault((band(len(evidence.pre)), combined.verdict), []).append((far, right))
    lines = [f"at distances {DISTANCES}"]
    for name in ("one", "few", "enough"):
        for verdict in VERDICTS:
            members = cells.get((name, verdict), [])
            shown = ", ".join(f"{share:.3f}" for share in _row(members))
            lines.append(f'    ("{name}", "{verdict}"): ({shown}),  # {len(members)} cases')
    return lines


def _row(members: Sequence[tuple[float, bool]]) -> list[float]:
    """Return weighted shares at DISTANCES, made monotone by pooling neighbours. A case counts for the two nearest."""
    weight = [PRIOR_CASES] * len(DISTANCES)
    right = [PRIOR_CASES * PRIOR_RIGHT] * len(DISTANCES)
    for far, good in members:
        capped = min(far, DISTANCES[-1])
        at = max(i for i, low in enumerate(DISTANCES[:-1]) if capped >= low)
        part = (capped - DISTANCES[at]) / (DISTANCES[at + 1] - DISTANCES[at])
        for i, share in ((at, 1.0 - part), (at + 1, part)):
            weight[i] += share
            right[i] += share * good
    blocks: list[list[float]] = []
    for w, r in zip(weight, right, strict=True):
        blocks.append([w, r, 1])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][0] > blocks[-1][1] / blocks[-1][0]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return [min(MOST, r / w - MARGIN) for w, r, count in blocks for _ in range(int(count))]
