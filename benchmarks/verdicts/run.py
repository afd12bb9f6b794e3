"""Run judges over many cases on all cores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from analysis.judge.adaptive import judge_adaptive, judge_early
from analysis.judge.adaptive.knobs import ALL_ON, Knobs
from analysis.judge.types import ROLLBACK
from benchmarks.verdicts import other_world, third_world, world
from benchmarks.verdicts.figures import Answer
from benchmarks.verdicts.labels import Case
from benchmarks.verdicts.peers import PEERS
from projects.policy import AdaptivePolicy

ADAPTIVE = "adaptive"
ABLATIONS: dict[str, tuple[str, Knobs]] = {
    "practical_margin": ("significance only, no practical margin", replace(ALL_ON, practical_margin=False)),
    "noise_guard": ("margin only, no guard against noise", replace(ALL_ON, noise_guard=False)),
    "last_part": ("the window as a whole, its last part not looked at", replace(ALL_ON, last_part=False)),
    "robust": ("means; findings need not survive their worst samples", replace(ALL_ON, robust=False)),
    "forgive_warmup": ("first samples not forgiven", replace(ALL_ON, forgive_warmup=False)),
    "error_counts": ("error rates as numbers, not as counts", replace(ALL_ON, error_counts=False)),
    "explain_load": ("cpu and latency not explained by load", replace(ALL_ON, explain_load=False)),
    "follow_drift": ("what drifts already is not followed", replace(ALL_ON, follow_drift=False)),
    "memory_trend": ("memory by its level only", replace(ALL_ON, memory_trend=False)),
    "together": ("regressions counted one by one", replace(ALL_ON, together=False)),
    "missing_data": ("missing samples say nothing", replace(ALL_ON, missing_data=False)),
    "calibrated": ("confidence from the margin alone", replace(ALL_ON, calibrated=False)),
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


@dataclass(slots=True)
class Judged:
    """Results in the order of the cases: answers per judge name, seconds per case of our judge, and the sample count at
    which an early verdict was issued (None: no early verdict)."""

    answers: dict[str, list[Answer]]
    seconds: list[float]
    early: list[int | None]


def _early(case: Case) -> int | None:
    for count in range(1, len(case.post)):
        verdict = judge_early(case.pre, case.post[:count], POLICY, case.window)
        if verdict is not None and verdict.verdict == ROLLBACK:
            return count
    return None


def judge_cases(cases: Sequence[Case], *, peers: bool, ablations: bool) -> Judged:
    """Run all judges on all cases in this process."""
    answers: dict[str, list[Answer]] = {ADAPTIVE: []}
    seconds, early = [], []
    for number, case in enumerate(cases):
        started = time.process_time()
        verdict = judge_adaptive(case.pre, case.post, POLICY, case.window)
        seconds.append(time.process_time() - started)
        answers[ADAPTIVE].append(Answer(case, verdict.verdict, verdict.confidence))
        if peers:
            early.append(_early(case))
            for name, peer in PEERS.items():
                answers.setdefault(name, []).append(Answer(case, peer(case)))
        if ablations and number % ABLATED == 0:
            for name, (_, knobs) in ABLATIONS.items():
                other = judge_adaptive(case.pre, case.post, POLICY, case.window, knobs=knobs)
                answers.setdefault(name, []).append(Answer(case, other.verdict, other.confidence))
    return Judged(answers, seconds, early)


def _part(task: tuple[str, int, int, int, bool, bool]) -> Judged:
    name, seed, first, last, peers, ablations = task
    make = WORLDS[name]
    return judge_cases([make(seed, number) for number in range(first, last)], peers=peers, ablations=ablations)


def _stratum(task: tuple[str, int, int]) -> tuple[list[Answer], list[Answer]]:
    idea, seed, count = task
    dials, knobs = STRATA[idea][1], ABLATIONS[idea][1]
    both: tuple[list[Answer], list[Answer]] = ([], [])
    for number in range(count):
        case = third_world.make_case(seed, number, dials)
        for answers, with_knobs in zip(both, (ALL_ON, knobs), strict=True):
            verdict = judge_adaptive(case.pre, case.post, POLICY, case.window, knobs=with_knobs)
            answers.append(Answer(case, verdict.verdict, verdict.confidence))
    return both


def judge_strata(*, seed: int, count: int, workers: int | None = None) -> dict[str, tuple[list[Answer], list[Answer]]]:
    """Return per idea the answers with and without it, on `count` cases of its stratum."""
    with ProcessPoolExecutor(max_workers=workers) as pool:
        return dict(zip(STRATA, pool.map(_stratum, [(idea, seed, count) for idea in STRATA]), strict=True))


def judge_world(
    name: str,
    *,
    seed: int,
    first: int,
    last: int,
    peers: bool = False,
    ablations: bool = False,
    workers: int | None = None,
) -> Judged:
    """Judge cases `first` to `last` - 1 of a world. The number of cores does not affect the answers."""
    step = 200
    tasks = [(name, seed, at, min(at + step, last), peers, ablations) for at in range(first, last, step)]
    whole = Judged({}, [], [])
    with ProcessPoolExecutor(max_workers=workers) as pool:
        for part in pool.map(_part, tasks):
            for judge, answers in part.answers.items():
                whole.answers.setdefault(judge, []).extend(answers)
            whole.seconds += part.seconds
            whole.early += part.early
    return whole
