"""Run judges over many cases on all cores."""

import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

from analysis.judge.adaptive import judge_adaptive, judge_early
from analysis.judge.adaptive.knobs import ALL_ON
from analysis.judge.types import ROLLBACK
from benchmarks.verdicts import other_world, third_world, world
from benchmarks.verdicts.figures import Answer
from benchmarks.verdicts.labels import Case
from benchmarks.verdicts.peers import PEERS
from projects.policy import AdaptivePolicy

ADAPTIVE = "adaptive"
# Ideas of the judge, and the judge without each of them.
ABLATIONS = {
    "practical_margin": "significance only, no practical margin",
    "noise_guard": "margin only, no guard against noise",
    "last_part": "the window as a whole, its last part not looked at",
    "robust": "means; findings need not survive their worst samples",
    "forgive_warmup": "first samples not forgiven",
    "error_counts": "error rates as numbers, not as counts",
    "explain_load": "cpu and latency not explained by load",
    "follow_drift": "what drifts already is not followed",
    "memory_trend": "memory by its level only",
    "together": "regressions counted one by one",
    "missing_data": "missing samples say nothing",
    "calibrated": "confidence from the margin alone",
}
WORLDS: dict[str, Callable[[int, int], Case]] = {
    "first": world.make_case,
    "second": other_world.make_case,
    "third": third_world.make_case,
}
# The stratum of each idea: the third world with one condition increased.
STRATA: dict[str, tuple[str, third_world.Dials]] = {
    "practical_margin": ("as it is", third_world.Dials()),
    "noise_guard": ("noise doubled", third_world.Dials(noise=2.0)),
    "last_part": ("every fault from mid-window on", third_world.Dials(late=1.0)),
    "robust": ("a blip in every twelfth sample", third_world.Dials(blips=0.08)),
    "forgive_warmup": ("a cold start each time", third_world.Dials(cold=1.0)),
    "error_counts": (
        "0.1 to 2 requests/s, PRE of one, errors or nothing",
        third_world.Dials(rate=(0.1, 2.0), pre=1, faults=(*third_world.HEALTHY, "errors_step", "errors_large")),
    ),
    "explain_load": ("traffic jumps at six of ten healthy deployments", third_world.Dials(growth=0.6)),
    "follow_drift": (
        "traffic and latency drift, PRE of 30",
        third_world.Dials(trend=1.5, pre=30, faults=(*third_world.HEALTHY, "latency_2", "errors_step")),
    ),
    "memory_trend": ("leaks or nothing", third_world.Dials(faults=("steady", "leak"))),
    "together": (
        "pairs of regressions, single ones, or nothing",
        third_world.Dials(faults=("steady", "errors_and_latency", "latency_and_traffic", "latency_2", "errors_step")),
    ),
    "missing_data": ("three endpoints of ten stop answering", third_world.Dials(unanswered=0.3)),
    "calibrated": ("as it is", third_world.Dials()),
}
POLICY = AdaptivePolicy()
# The twelve ablated judges see every second case, to save time.
ABLATED = 2


# Cases of a task; even, so that the ablated judges see the same cases whatever it is.
STEP = 200


@dataclass(slots=True)
class Judged:
    """Results in the order of the cases: answers per judge name, seconds per case of our judge, and the sample count at
    which an early verdict was issued (None: no early verdict)."""

    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[float] = field(default_factory=list)
    early: list[int | None] = field(default_factory=list)


def _judge(case: Case, *, without: str = "") -> Answer:
    """Return the answer of our judge, or of our judge without one of its ideas."""
    knobs = replace(ALL_ON, **{without: False}) if without else ALL_ON
    verdict = judge_adaptive(case.pre, case.post, POLICY, case.window, knobs=knobs)
    return Answer(case, verdict.verdict, verdict.confidence)


def _early(case: Case) -> int | None:
    for count in range(1, len(case.post)):
        verdict = judge_early(case.pre, case.post[:count], POLICY, case.window)
        if verdict is not None and verdict.verdict == ROLLBACK:
            return count
    return None


def _part(task: tuple[str, int, range, bool, bool]) -> Judged:
    """Run all judges on some cases of a world."""
    world_name, seed, numbers, peers, ablations = task
    part = Judged()
    for place, number in enumerate(numbers):
        case = WORLDS[world_name](seed, number)
        started = time.process_time()
        part.answers[ADAPTIVE].append(_judge(case))
        part.seconds.append(time.process_time() - started)
        if peers:
            part.early.append(_early(case))
            for name, peer in PEERS.items():
                part.answers[name].append(Answer(case, peer(case)))
        if ablations and place % ABLATED == 0:
            for idea in ABLATIONS:
                part.answers[idea].append(_judge(case, without=idea))
    return part


def judge_world(name: str, *, seed: int, first: int, last: int, peers: bool = False, ablations: bool = False) -> Judged:
    """Judge cases `first` to `last` - 1 of a world. The number of cores does not affect the answers."""
    tasks = [(name, seed, range(at, min(at + STEP, last)), peers, ablations) for at in range(first, last, STEP)]
    whole = Judged()
    with ProcessPoolExecutor() as pool:
        for part in pool.map(_part, tasks):
            for judge, answers in part.answers.items():
                whole.answers[judge] += answers
            whole.seconds += part.seconds
            whole.early += part.early
    return whole


def _stratum(task: tuple[str, int, int]) -> tuple[list[Answer], list[Answer]]:
    idea, seed, count = task
    cases = [third_world.make_case(seed, number, STRATA[idea][1]) for number in range(count)]
    return [_judge(case) for case in cases], [_judge(case, without=idea) for case in cases]


def judge_strata(*, seed: int, count: int) -> dict[str, tuple[list[Answer], list[Answer]]]:
    """Return per idea the answers with and without it, on `count` cases of its stratum."""
    with ProcessPoolExecutor() as pool:
        return dict(zip(STRATA, pool.map(_stratum, [(idea, seed, count) for idea in STRATA]), strict=True))
