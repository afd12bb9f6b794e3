"""Compare rules for early verdicts: at which strength, and how often in a row."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from analysis.judge.adaptive import weigh
from analysis.judge.adaptive.early import CLEAR, Rules, is_clear, lasting, looks
from analysis.judge.types import OK, ROLLBACK, WARNING
from benchmarks.verdicts.labels import Case
from benchmarks.verdicts.run import POLICY, STEP, WORLDS

RULES: tuple[Rules, ...] = (
    ((1.3, 2),),
    ((1.5, 2),),
    ((1.7, 2),),
    ((2.0, 2),),
    ((1.3, 2), (1.0, 3)),
    ((1.5, 2), (1.0, 4)),
    CLEAR,
)


@dataclass(frozen=True, slots=True)
class Early:
    """At which collection each rule would have called the rollback of a case, None: not before the end."""

    label: str
    accepted: bool
    expected: int
    called: tuple[int | None, ...]


def _first(case: Case, seen: list[tuple[float, bool]], rules: Rules) -> int | None:
    """Return after how many collections a rollback is clear, before the last one is in.

    seen: critical strength and whether it lasts, of each look, latest first.
    """
    for missing in range(len(seen) - 1, 0, -1):
        if seen[missing][1] and is_clear((strength for strength, _ in seen[missing:]), rules):
            return len(case.post) - missing
    return None


def _judge(task: tuple[str, int, range]) -> list[Early]:
    world, seed, numbers = task
    found = []
    for number in numbers:
        case = WORLDS[world](seed, number)
        seen = []
        for look in looks(case.post, POLICY, case.window):
            combined = weigh(case.pre, look.post, look.policy, look.window)[2]
            seen.append((combined.critical, bool(lasting(combined.checks, look))))
        called = tuple(_first(case, seen, rules) for rules in RULES)
        found.append(Early(case.label, ROLLBACK in case.accepted, case.window.expected, called))
    return found


def compare(*, seed: int, cases: int) -> list[str]:
    """Return a table of the rules on `cases` cases of each world; PRE of all sizes."""
    tasks = [(world, seed, range(at, min(at + STEP, cases))) for world in WORLDS for at in range(0, cases, STEP)]
    with ProcessPoolExecutor() as pool:
        judged = [early for part in pool.map(_judge, tasks) for early in part]
    healthy = [one for one in judged if one.label == OK and not one.accepted]
    degraded = [one for one in judged if one.label == WARNING and not one.accepted]
    critical = [one for one in judged if one.label == ROLLBACK]
    minutes = sum(one.expected for one in critical)
    lines = [
        f"| strength × looks | false of {len(healthy)} healthy | rollback of {len(degraded)} degraded "
        f"| critical found early of {len(critical)} | minutes of fault saved |",
        "|---|---:|---:|---:|---:|",
    ]
    for place, rules in enumerate(RULES):
        false, early, found = (sum(o.called[place] is not None for o in of) for of in (healthy, degraded, critical))
        saved = sum(one.expected - at for one in critical if (at := one.called[place]) is not None)
        name = " or ".join(f"{strength} × {times}" for strength, times in rules) + (" (in use)" * (rules == CLEAR))
        lines.append(
            f"| {name} | {false} ({100 * false / len(healthy):.2f} %) | {early} "
            f"| {found} ({100 * found / len(critical):.0f} %) | {100 * saved / minutes:.0f} % |"
        )
    return lines
