"""Measure verdicts with the time before from a Prometheus, beside an endpoint that is polled: the same deployments.

The third world of benchmarks/verdicts gives the fleet and the right verdicts; nothing of it is drawn twice, so that
only what is known of the time before differs.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import fmean

from analysis.judge.adaptive import judge_adaptive
from analysis.judge.types import METRICS, EarlierDay, Sample
from benchmarks.report import print_json, print_table
from benchmarks.verdicts import third_world
from benchmarks.verdicts.figures import Answer, figures
from benchmarks.verdicts.labels import Case
from benchmarks.verdicts.run import STEP
from benchmarks.verdicts.third_world import START, Change, Dials, Service
from projects.policy import AdaptivePolicy

SEED = 20261471
CASES = 6000
MINUTE = timedelta(minutes=1)
# Of the half hour, and that of trigger.
PRE = 31
DIALS = Dials(pre=PRE)
POLICY = AdaptivePolicy()
# Short times of day are widened, as analysis/earlier_days.py does.
LEAST_SPAN = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the time before.

    every: minutes between two samples, 0: only that of trigger; days: earlier days whose same minutes are known, and
    day_every: minutes between two samples of those.
    """

    name: str
    every: int
    days: Sequence[int] = ()
    day_every: int = 1
    ranged: bool = False


BEFORE = (
    Known("first: endpoint, its sample at trigger", 0),
    Known("first or later: Prometheus, half an hour, 3 days", 1, (1, 2, 7), ranged=True),
    Known("later: endpoint polled every 5 min for a week", 5, range(1, 8), day_every=5),
    Known("later: endpoint polled each minute for a week", 1, range(1, 8)),
)


class OtherDay:
    """The service on an earlier day, without the deployment: its level by the time of day, and chance of its own."""

    def __init__(self, number: int, days_ago: int) -> None:
        service = Service(random.Random(f"third/{SEED}/{number}"), DIALS)
        rng = random.Random(f"day/{SEED}/{number}/{days_ago}")
        around = third_world._Surroundings(rng, "steady", DIALS)
        self.meter = third_world._Meter(rng, service, Change(), around, blips=DIALS.blips)
        self.days_ago = days_ago

    def levels(self, since: datetime, until: datetime, every: int) -> dict[str, float]:
        """Return the means of the metrics between these times of that day."""
        lacking = max(LEAST_SPAN - (until - since), timedelta(0)) / 2
        first, last = ((at - START) / MINUTE for at in (since - lacking, until + lacking))
        day = 1440.0 * self.days_ago
        found: dict[str, list[float]] = defaultdict(list)
        for step in range(int((last - first) // every) + 1):
            sample = self.meter.sample(first + step * every - day, None)
            for metric in METRICS:
                value = sample.latency if metric == "latency_p95" else getattr(sample, metric)
                if metric != "latency_p95" or value > 0.0:
                    found[metric].append(value)
        return {metric: fmean(values) for metric, values in found.items()}


def seen(case: Case, number: int, known: Known) -> Case:
    """Return the case with what is known of the time before."""
    last = len(case.pre) - 1
    pre = [
        replace(sample, origin="pre" if known.ranged or place == last else "baseline")
        for place, sample in enumerate(case.pre)
        if place == last or (known.every and (last - place) % known.every == 0)
    ]
    days = []
    post: Sequence[Sample] = case.post or case.pre[-1:]
    for days_ago in known.days:
        day = OtherDay(number, days_ago)
        before = day.levels(pre[0].collected_at, pre[-1].collected_at, known.day_every)
        after = day.levels(post[0].collected_at, post[-1].collected_at, known.day_every)
        days.append(EarlierDay(days_ago, before, after))
    window = replace(case.window, started_at=pre[-1].collected_at, earlier_days=tuple(days))
    return replace(case, pre=tuple(pre), window=window)


def judged(numbers: range) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = defaultdict(list)
    for number in numbers:
        case = third_world.make_case(SEED, number, DIALS)
        for known in BEFORE:
            one = seen(case, number, known)
            verdict = judge_adaptive(one.pre, one.post, POLICY, one.window)
            found[known.name].append(Answer(one, verdict.verdict, verdict.confidence))
    return found


def main() -> None:
    """Print right verdicts, false rollbacks and misses by what is known of the time before."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sources.before", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES)
    cases = parser.parse_args().cases
    answers: dict[str, list[Answer]] = defaultdict(list)
    with ProcessPoolExecutor() as pool:
        for part in pool.map(judged, [range(at, min(at + STEP, cases)) for at in range(0, cases, STEP)]):
            for name, given in part.items():
                answers[name] += given
    rows = []
    for name, given in answers.items():
        found = figures(given)
        names = (
            "right",
            "false_alarms",
            "false_rollbacks",
            "missed_criticals",
            "critical_as_warning",
            "recall_degraded",
        )
        rows.append({"known before": name, "cases": len(given)} | {one: f"{found[one]:.1%}" for one in names})
    print_table(rows)
    print_json("sources.before", rows, seed=SEED)


if __name__ == "__main__":
    main()
