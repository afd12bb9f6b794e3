"""Compute how often verdicts at each distance from the thresholds are right: the judge's confidence table."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from analysis.judge.adaptive import weigh
from analysis.judge.adaptive.confidence import BANDS, DISTANCES, band, distance
from analysis.judge.types import VERDICTS
from benchmarks.verdicts.figures import weights
from benchmarks.verdicts.run import POLICY, STEP, WORLDS

# The tuning half of these worlds; the other half and the second world test the result.
SOURCES = ("first", "third")
TABLE = Path(__file__).parents[2] / "analysis" / "judge" / "adaptive" / "confidence_table.py"
# Cells with few cases are pulled towards the share of their row: this many cases' worth.
PRIOR_CASES = 10.0

# No generator is reality: the table claims this much less than was measured, and never certainty.
MARGIN = 0.02
MOST = 0.985

# A judged case: band of PRE, verdict, distance, right, label.
Seen = tuple[str, str, float, bool, str]


def _judge(task: tuple[str, int, range]) -> list[Seen]:
    world, seed, numbers = task
    found: list[Seen] = []
    for number in numbers:
        case = WORLDS[world](seed, number)
        # Each case also without its PRE: a first deployment.
        for pre in (case.pre, ()):
            evidence, complete, combined = weigh(pre, case.post, POLICY, case.window)
            if complete.enough:
                far = distance(combined.verdict, combined.strength, combined.critical)
                right = combined.verdict in case.accepted
                found.append((band(evidence.worth), combined.verdict, far, right, case.label))
    return found


def calibrate(seed: int, cases: int) -> str:
    """Return the module with the confidence table, from the tuning half of `cases` cases of each world."""
    seen: dict[str, list[tuple[str, float, bool, float]]] = {name: [] for name, _ in BANDS}
    with ProcessPoolExecutor() as pool:
        for world in SOURCES:
            tasks = [(world, seed, range(at, min(at + STEP, cases // 2))) for at in range(0, cases // 2, STEP)]
            judged = [one for part in pool.map(_judge, tasks) for one in part]
            for name, kept in seen.items():
                mine = [one for one in judged if one[0] == name]
                each = weights([one[4] for one in mine])
                kept += [(one[1], one[2], one[3], weight) for one, weight in zip(mine, each, strict=True)]
    rows = []
    for name, members in seen.items():
        for verdict in VERDICTS:
            of_verdict = [(far, right, weight) for v, far, right, weight in members if v == verdict]
            shares = ", ".join(f"{share:.3f}" for share in _row(of_verdict))
            rows.append(f'    ("{name}", "{verdict}"): ({shares}),  # {len(of_verdict)} cases')
    return HEAD.format(seed=seed, cases=cases) + "\n".join(rows) + "\n}\n"


HEAD = '''"""Shares of right verdicts per band of PRE, verdict and distance.

Written by `python -m benchmarks.verdicts --calibrate --seed {seed} --cases {cases}`; do not edit.
"""

TABLE: dict[tuple[str, str], tuple[float, ...]] = {{
'''


def _row(members: Sequence[tuple[float, bool, float]]) -> list[float]:
    """Return weighted shares at DISTANCES, made monotone by pooling neighbours. A case counts for the two nearest."""
    total = sum(weight for *_, weight in members)
    share = sum(weight for _, good, weight in members if good) / total if total else 0.5
    weights_at = [PRIOR_CASES] * len(DISTANCES)
    right = [PRIOR_CASES * share] * len(DISTANCES)
    for far, good, weight in members:
        capped = min(far, DISTANCES[-1])
        at = max(i for i, low in enumerate(DISTANCES[:-1]) if capped >= low)
        part = (capped - DISTANCES[at]) / (DISTANCES[at + 1] - DISTANCES[at])
        for i, near in ((at, 1.0 - part), (at + 1, part)):
            weights_at[i] += near * weight
            right[i] += near * weight * good
    blocks: list[list[float]] = []
    for w, r in zip(weights_at, right, strict=True):
        blocks.append([w, r, 1])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][0] > blocks[-1][1] / blocks[-1][0]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return [min(MOST, max(0.0, r / w - MARGIN)) for w, r, count in blocks for _ in range(int(count))]
