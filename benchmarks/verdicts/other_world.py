"""Generate cases of the second world, which is not used for tuning: a simulation, where the first world is formulas.

Requests arrive as a doubly stochastic process, wait in a queue and are timed one by one; errors come in episodes;
memory is allocated by requests and collected; measurements pass through histogram buckets, sliding windows and
counters. Faults change the machine (work per request, capacity, a leaking allocation), and the label is computed from
the machine in its steady state, without noise.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from analysis.judge.types import Sample, Window
from benchmarks.verdicts.labels import Case, Effect

START = datetime(2026, 9, 17, 22, 30, tzinfo=UTC)
BUCKETS_MS = tuple(5.0 * 1.35**i for i in range(24))
Q95 = 1.6449  # standard normal quantile


class Machine:
    """A random service as a machine.

    work_ms: median time of a request on an idle machine; scatter: of log times; capacity: possible requests per second;
    waiting: how strongly times grow with utilisation; base_cpu: without requests.
    """

    leaking = 0.0
    reachable = 1.0

    def __init__(self, rng: random.Random) -> None:
        self.arrivals = 10 ** rng.triangular(-0.8, 3.0, 1.2)
        self.capacity = self.arrivals / max(rng.betavariate(2.0, 3.0) * 0.8, 0.02)
        self.base_cpu = rng.uniform(0.02, 0.15)
        self.work_ms = 10 ** rng.triangular(0.6, 2.6, 1.6)
        self.scatter = rng.uniform(0.2, 0.8)
        self.waiting = rng.uniform(0.0, 0.5)
        self.cpu_per_load = rng.uniform(0.5, 0.95 - self.base_cpu)
        self.failing = rng.choice(
            (0.0, rng.expovariate(1 / 0.0015), rng.expovariate(1 / 0.0015), rng.uniform(0.0, 0.012))
        )
        self.episode_factor = rng.choice((1.0, 1.0, rng.uniform(1.0, 2.5)))
        self.allocated = rng.betavariate(4.0, 4.0) * 0.8 + 0.08
        self.garbage = rng.choice((0.0, rng.uniform(0.005, 0.05)))

    def changed(self, **values: float) -> Machine:
        other = copy(self)
        vars(other).update(values)
        return other

    def utilisation(self, load: float) -> float:
        return min(0.97, self.arrivals * load / self.capacity)

    def median_ms(self, load: float) -> float:
        u = self.utilisation(load)
        return self.work_ms * (1.0 + self.waiting * u / (1.0 - u))

    def p95_ms(self, load: float) -> float:
        return self.median_ms(load) * math.exp(Q95 * self.scatter)

    def cpu(self, load: float) -> float:
        return min(1.0, self.base_cpu + self.cpu_per_load * self.utilisation(load))


HEALTHY = (*["nothing"] * 3, "busier", "quieter", "leaner", "slightly_slower", "slightly_failing", "bigger")
DEGRADED = ("slower", "slower", "failing", "hungry", "leaking", "much_bigger", "losing")
CRITICAL = ("broken", "crawling", "gone", "slow_and_failing", "crashing", "bursting", "stuck")


@dataclass(slots=True)
class Change:
    """The machine after the deployment, concurrent changes of the environment, and their start."""

    machine: Machine
    load: float = 1.0
    bigger: float = 0.0
    onset: int = 0
    crash_period: int = 0


def _busier(rng: random.Random, m: Machine, minutes: int) -> Change:
    room = 0.85 / max(0.05, m.utilisation(1.0))
    return Change(m, load=min(max(1.0, room), rng.uniform(1.1, 2.5)))


def _worse(m: Machine, *, work: float = 1.0, failing: float = 0.0, reachable: float = 1.0) -> Machine:
    return m.changed(work_ms=m.work_ms * work, failing=min(1.0, m.failing + failing), reachable=reachable)


CHANGES: dict[str, Callable[[random.Random, Machine, int], Change]] = {
    "nothing": lambda r, m, n: Change(m),
    "busier": _busier,
    "quieter": lambda r, m, n: Change(m, load=r.uniform(0.82, 0.97)),
    "leaner": lambda r, m, n: Change(_worse(m, work=r.uniform(0.4, 0.9)).changed(capacity=m.capacity * 1.2)),
    "slightly_slower": lambda r, m, n: Change(_worse(m, work=r.uniform(1.02, 1.15))),
    "slightly_failing": lambda r, m, n: Change(_worse(m, failing=r.uniform(0.0003, 0.004))),
    "bigger": lambda r, m, n: Change(m, bigger=r.uniform(0.01, 0.08)),
    "slower": lambda r, m, n: Change(_worse(m, work=r.choice((1.35, 1.5, 2.0, 2.5)))),
    "failing": lambda r, m, n: Change(_worse(m, failing=r.choice((0.01, 0.013, 0.02)))),
    "hungry": lambda r, m, n: Change(m.changed(capacity=m.capacity / r.uniform(1.5, 3.0), waiting=m.waiting * 0.3)),
    "leaking": lambda r, m, n: Change(m.changed(leaking=r.choice((0.004, 0.008, 0.015)) * (10 / n) ** 0.5)),
    "much_bigger": lambda r, m, n: Change(m, bigger=r.uniform(0.14, 0.3)),
    "losing": lambda r, m, n: Change(_worse(m, reachable=r.uniform(0.28, 0.69))),
    "broken": lambda r, m, n: Change(_worse(m, failing=r.choice((0.05, 0.2, 0.5, 1.0)))),
    "crawling": lambda r, m, n: Change(_worse(m, work=r.uniform(4.0, 12.0))),
    "gone": lambda r, m, n: Change(_worse(m, reachable=r.choice((0.0, 0.02, 0.06)))),
    "slow_and_failing": lambda r, m, n: Change(_worse(m, work=r.uniform(2.0, 4.0), failing=r.uniform(0.012, 0.05))),
    "crashing": lambda r, m, n: Change(
        _worse(m, failing=r.uniform(0.3, 0.9), reachable=r.uniform(0.1, 0.5)), crash_period=r.choice((2, 3))
    ),
    "bursting": lambda r, m, n: Change(m.changed(leaking=(1.03 - m.allocated) / (0.8 * n))),
    "stuck": lambda r, m, n: Change(_worse(m, failing=0.02, reachable=r.uniform(0.2, 0.6))),
}


def effect_of(before: Machine, change: Change, minutes: int) -> Effect:
    """Return the effect: both machines in steady state under the same load."""
    after, load = change.machine, change.load
    share = 1.0 if not change.crash_period else (change.crash_period - 1) / change.crash_period
    watched = minutes - 1 - change.onset
    leaked = min(after.leaking * watched, 1.0 - before.allocated)
    return Effect(
        errors_before=before.failing,
        errors_after=before.failing + (after.failing - before.failing) * share,
        latency_before=before.p95_ms(load),
        latency_after=after.p95_ms(load),
        cpu_before=before.cpu(load),
        cpu_after=after.cpu(load),
        leak=after.leaking,
        leaked=leaked,
        memory_before=before.allocated,
        memory_end=min(1.0, before.allocated + leaked + change.bigger),
        step=min(change.bigger, 1.0 - before.allocated),
        lost=1.0 - (1.0 - (1.0 - after.reachable) * share),
        requests=before.arrivals * load * 60.0 * (minutes - change.onset),
    )


class Probe:
    """Run the machine minute by minute and measure it like a monitoring agent."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.mood = rng.gauss(0.0, 1.0)
        self.turbulence = rng.uniform(0.02, 0.15)
        self.bursts = rng.choice((0.0, 0.0, rng.uniform(0.02, 0.15)))
        self.episode = False
        self.use_buckets = rng.random() < 0.35
        self.sliding = rng.choice((0.0, 0.0, 0.0, 0.35))
        self.previous: dict[str, float] = {}
        self.heap = rng.random()
        self.neighbour = rng.uniform(0.0, 0.06)
        self.trend = rng.choice((0.0, 0.0, rng.gauss(0.0, 0.0025)))

    def quantile(self, median: float, scatter: float, count: int) -> float:
        """Return the p95 of `count` timed requests, drawn from its sampling distribution if they are many."""
        rng = self.rng
        if count <= 150:
            times = sorted(median * math.exp(scatter * rng.gauss(0.0, 1.0)) for _ in range(count))
            value = times[min(count - 1, int(0.95 * count))]
        else:
            deviation = math.sqrt(0.95 * 0.05 / count) / 0.1031
            value = median * math.exp(scatter * (Q95 + rng.gauss(0.0, deviation)))
        if self.use_buckets:
            upper = next((b for b in BUCKETS_MS if b >= value), BUCKETS_MS[-1])
            value = upper / 1.35 * (1.0 + 0.35 * (0.5 + 0.5 * rng.random()) * (value * 1.35 / upper - 1.0) / 0.35)
        return value

    def smooth(self, name: str, value: float) -> float:
        kept = self.previous.get(name, value)
        self.previous[name] = self.sliding * kept + (1.0 - self.sliding) * value
        return self.previous[name]

    def measure(
        self, machine: Machine, minute: float, *, load: float = 1.0, extra: float = 0.0, cold: float = 0.0
    ) -> Sample:
        """Return the sample of a minute.

        Args:
            extra: memory on top of the machine's own.
            cold: factor by which it is still slower after the start.
        """
        rng = self.rng
        self.mood = 0.8 * self.mood + 0.6 * rng.gauss(0.0, 1.0)
        self.episode = rng.random() < (0.75 if self.episode else 0.08)
        load *= math.exp(self.turbulence * self.mood + self.trend * minute)
        if rng.random() < self.bursts:
            load *= rng.uniform(1.1, 1.4)
        offered = machine.arrivals * load * machine.reachable * 60.0
        mixed = rng.gammavariate(80.0, offered / 80.0) if offered > 0 else 0.0
        count = max(0, round(rng.gauss(mixed, math.sqrt(mixed)))) if mixed > 30 else _count(rng, mixed)
        chance = min(1.0, machine.failing * (machine.episode_factor if self.episode else 1.0))
        failed = _binomial(rng, count, chance)
        wobble = math.exp(0.04 * rng.gauss(0.0, 1.0) + 0.03 * self.mood)
        median = machine.median_ms(load) * wobble * (1.0 + cold)
        p95 = self.quantile(median, machine.scatter, count) if count else 0.0
        cpu = machine.cpu(load * machine.reachable) + abs(rng.gauss(0.0, self.neighbour)) + 0.2 * cold
        self.heap = (self.heap + rng.uniform(0.05, 0.3)) % 1.0
        memory = machine.allocated + machine.garbage * (self.heap - 0.5) + extra + rng.gauss(0.0, 0.002)
        return Sample(
            collected_at=START + timedelta(minutes=minute),
            requests_per_sec=round(self.smooth("rate", count / 60.0), 4),
            latency_p95=round(self.smooth("p95", p95), 3) if count else 0.0,
            error_rate=round(self.smooth("errors", failed / count if count else 0.0), 6),
            cpu_usage=round(min(1.0, max(0.0, self.smooth("cpu", cpu))), 4),
            memory_usage=round(min(1.0, max(0.01, memory)), 4),
            origin="post" if minute >= 0 else "baseline",
        )


def _count(rng: random.Random, expected: float) -> int:
    time, count = rng.expovariate(1.0), 0
    while time < expected:
        time += rng.expovariate(1.0)
        count += 1
    return count


def _binomial(rng: random.Random, count: int, chance: float) -> int:
    if chance <= 0.0 or count <= 0:
        return 0
    if chance >= 1.0:
        return count
    if count * min(chance, 1 - chance) > 40:
        return max(0, min(count, round(rng.gauss(count * chance, math.sqrt(count * chance * (1 - chance))))))
    # Waiting times between failures: exact, and fast for rare failures.
    if chance > 0.5:
        return count - _binomial(rng, count, 1.0 - chance)
    seen, failed, scale = 0, 0, math.log(1.0 - chance)
    while True:
        seen += int(math.log(1.0 - rng.random()) / scale) + 1
        if seen > count:
            return failed
        failed += 1


def make_case(seed: int, number: int) -> Case:
    """Return case `number` of `seed`, deterministically."""
    rng = random.Random(f"other-{seed}-{number}")
    minutes = rng.choice((5, 10, 15))
    machine = Machine(rng)
    group = rng.choices((HEALTHY, DEGRADED, CRITICAL), (0.55, 0.25, 0.2))[0]
    kind = rng.choice(group)
    change = CHANGES[kind](rng, machine, minutes)
    gradual = kind in ("leaking", "bursting", "crashing")
    if group is not HEALTHY and not gradual and rng.random() < 0.2:
        change.onset = math.ceil(minutes * rng.choice((0.4, 0.5, 0.6)))
    count = rng.choices((1, rng.randint(2, 5), rng.randint(15, 30)), (0.3, 0.15, 0.55))[0]
    spacing = rng.choice((1.0, 1.0, 5.0))
    probe = Probe(rng)
    pre = [probe.measure(machine, -2.0 - spacing * (count - 1 - i) - rng.random() * 0.3) for i in range(count)]
    post = _after(probe, machine, change, minutes=minutes, restarts=not gradual and rng.random() < 0.4)
    if rng.random() < 0.12:
        drop = {rng.randrange(minutes) for _ in range(max(1, minutes // 5))}
        affected = [i for i in range(change.onset, minutes) if i not in drop]
        if len(affected) >= 2:
            post = [s for i, s in enumerate(post) if i not in drop]
    return Case(
        id=f"b{seed}-{number}",
        kind=kind,
        effect=effect_of(machine, change, minutes),
        pre=tuple(pre),
        post=tuple(post),
        window=Window(expected=minutes, evaluated_at=START + timedelta(minutes=minutes)),
        late=change.onset > 0,
    )


def _after(probe: Probe, before: Machine, change: Change, *, minutes: int, restarts: bool) -> list[Sample]:
    """Return the POST samples: restarts refill memory and start cold; single bad minutes happen by chance."""
    rng = probe.rng
    emptied = rng.uniform(0.05, 0.5) * before.allocated if restarts else 0.0
    refill = rng.uniform(0.3, 0.8)
    cold = rng.choice((0.0, rng.uniform(0.2, 2.0))) if restarts else 0.0
    hiccup = rng.randrange(minutes) if rng.random() < 0.12 else -1
    samples = []
    for i in range(minutes):
        on = i >= change.onset and not (change.crash_period and i % change.crash_period == 0)
        machine = change.machine if on else before
        if i == hiccup:
            machine = _worse(machine, work=3, failing=rng.uniform(0.02, 0.4), reachable=machine.reachable)
        grown = change.machine.leaking * max(0, i - change.onset) + (change.bigger if on else 0.0)
        minute = i + rng.random() * 0.05
        extra = grown - emptied * refill**i
        samples.append(probe.measure(machine, minute, load=change.load, extra=extra, cold=cold * 0.35**i))
    return samples
