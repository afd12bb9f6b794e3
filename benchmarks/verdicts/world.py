"""Generate cases of the first world: random services, a noise family per metric, and faults on top.

Time is in minutes from `finish`. Every case has its own seed and can be reproduced alone.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from analysis.judge.types import Sample, Window
from benchmarks.verdicts.labels import Case, Effect

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = 24 * 60.0


def log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def binomial(rng: random.Random, n: int, p: float) -> int:
    """Draw from a binomial distribution, by its normal approximation where that is accurate."""
    p = min(max(p, 0.0), 1.0)
    if n <= 0 or p <= 0.0:
        return 0
    if n < 60:
        return sum(rng.random() < p for _ in range(n))
    expected = n * p
    if expected < 30.0:
        return min(n, poisson(rng, expected))
    return max(0, min(n, round(rng.gauss(expected, math.sqrt(expected * (1.0 - p))))))


def poisson(rng: random.Random, expected: float) -> int:
    if expected > 60.0:
        return max(0, round(rng.gauss(expected, math.sqrt(expected))))
    limit, product, count = math.exp(-expected), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


class Noise:
    """Deviations from a level, one call per sample, in a family chosen by the service."""

    def __init__(self, rng: random.Random, scale: float) -> None:
        self.rng, self.scale = rng, scale
        self.family = rng.choice(("plain", "autocorrelated", "autocorrelated", "heavy", "mixed"))
        self.rho = rng.uniform(0.3, 0.85)
        self.state = rng.gauss(0.0, 1.0)

    def __call__(self) -> float:
        rng = self.rng
        if self.family == "plain":
            return self.scale * rng.gauss(0.0, 1.0)
        if self.family == "heavy":  # Student's t with 4 degrees of freedom
            chi = sum(rng.gauss(0.0, 1.0) ** 2 for _ in range(4)) / 4.0
            return self.scale * max(-6.0, min(6.0, 0.75 * rng.gauss(0.0, 1.0) / math.sqrt(max(chi, 0.02))))
        self.state = self.rho * self.state + math.sqrt(1 - self.rho**2) * rng.gauss(0.0, 1.0)
        if self.family == "mixed" and rng.random() < 0.05:
            return self.scale * (self.state + rng.uniform(2.0, 4.0))
        return self.scale * self.state


class Service:
    """A random service in steady state."""

    def __init__(self, rng: random.Random) -> None:
        low_volume = rng.random() < 0.22
        self.errors = rng.choice(
            (0.0, 0.0, log_uniform(rng, 1e-4, 3e-3), log_uniform(rng, 1e-4, 3e-3), rng.uniform(0.002, 0.012))
        )
        self.rate = rng.uniform(0.1, 2.0) if low_volume else log_uniform(rng, 2.0, 800.0)
        self.latency = log_uniform(rng, 8.0, 900.0)
        self.cpu = rng.uniform(0.05, 0.85)
        self.memory = rng.uniform(0.15, 0.85)
        self.rate_noise = rng.uniform(0.02, 0.12)
        self.latency_noise = log_uniform(rng, 0.015, 0.13)
        self.cpu_noise = rng.uniform(0.004, 0.04)
        self.memory_noise = rng.uniform(0.001, 0.01)
        self.swing = rng.uniform(0.0, 0.5)
        self.swing_phase = rng.uniform(0.0, 2 * math.pi)
        self.drift = rng.choice((0.0, 0.0, rng.gauss(0.0, 0.002)))
        self.load_exponent = rng.choice((0.0, 0.1, 0.3, 0.6))
        self.cpu_share = rng.uniform(0.4, 1.0)
        self.sawtooth = rng.choice((0.0, 0.0, rng.uniform(0.01, 0.06)))
        self.sawtooth_period = rng.uniform(3.0, 25.0)
        self.quantum = rng.choice((0.0, 0.0, 0.0, 1.0, 5.0))
        self.burst = rng.choice((0.0, 0.0, 0.5))


@dataclass(slots=True)
class Fault:
    """Effect of the deployment from `onset` minutes on: factors and steps relative to the service at equal load."""

    kind: str = "steady"
    onset: float = 0.0
    errors: float = 0.0
    latency: float = 1.0
    cpu: float = 0.0
    step: float = 0.0
    leak: float = 0.0
    lost: float = 0.0
    growth: float = 1.0
    errors_factor: float = 1.0
    flapping: float = 0.0


HEALTHY: dict[str, Callable[[random.Random, Service], Fault]] = {
    "steady": lambda r, s: Fault(),
    "steady_again": lambda r, s: Fault(),
    "growth": lambda r, s: Fault(growth=r.uniform(1.15, 2.2) if s.cpu < 0.4 else r.uniform(1.05, 1.3)),
    "dip": lambda r, s: Fault(lost=r.uniform(0.03, 0.2)),
    "small_errors": lambda r, s: Fault(errors=r.uniform(0.0005, 0.0042)),
    "small_latency": lambda r, s: Fault(latency=r.uniform(1.03, 1.17)),
    "fast_but_slower": lambda r, s: (
        Fault(latency=1.0 + r.uniform(3.0, 13.0) / s.latency) if s.latency < 60 else Fault()
    ),
    "small_cpu": lambda r, s: Fault(cpu=r.uniform(0.02, 0.09)),
    "small_memory": lambda r, s: Fault(step=r.uniform(0.01, 0.07)),
    "faster": lambda r, s: Fault(latency=r.uniform(0.3, 0.9), cpu=-0.3 * s.cpu * r.random(), errors_factor=r.random()),
}
DEGRADED: dict[str, Callable[[random.Random, Service], Fault]] = {
    "errors_some": lambda r, s: Fault(errors=r.uniform(0.009, 0.025)),
    "latency_x1.3": lambda r, s: Fault(latency=r.uniform(1.3, 1.5)),
    "latency_x2": lambda r, s: Fault(latency=r.uniform(1.7, 2.6)),
    "cpu_high": lambda r, s: Fault(cpu=r.uniform(0.2, 0.5)),
    "saturation": lambda r, s: Fault(cpu=max(0.2, 0.93 - s.cpu), latency=r.uniform(1.4, 2.2)),
    "leak": lambda r, s: Fault(leak=r.uniform(0.006, 0.02)),
    "memory_step": lambda r, s: Fault(step=r.uniform(0.13, 0.3)),
    "traffic_some": lambda r, s: Fault(lost=r.uniform(0.31, 0.5)),
    "traffic_half": lambda r, s: Fault(lost=r.uniform(0.5, 0.74)),
}
CRITICAL: dict[str, Callable[[random.Random, Service], Fault]] = {
    "errors_5": lambda r, s: Fault(errors=r.uniform(0.04, 0.09)),
    "errors_many": lambda r, s: Fault(errors=r.uniform(0.1, 0.95)),
    "latency_x5": lambda r, s: Fault(latency=r.uniform(3.6, 9.0)),
    "traffic_gone": lambda r, s: Fault(lost=r.choice((r.uniform(0.93, 0.99), 1.0))),
    "crash_loop": lambda r, s: Fault(
        errors=r.uniform(0.2, 0.8), lost=r.uniform(0.3, 0.8), flapping=r.choice((2.0, 2.0, 3.0))
    ),
    "errors_and_latency": lambda r, s: Fault(errors=r.uniform(0.01, 0.03), latency=r.uniform(1.9, 3.0)),
    "errors_and_traffic": lambda r, s: Fault(errors=r.uniform(0.01, 0.03), lost=r.uniform(0.33, 0.5)),
    "latency_and_traffic": lambda r, s: Fault(latency=r.uniform(1.9, 3.0), lost=r.uniform(0.33, 0.5)),
    "memory_full": lambda r, s: Fault(leak=max(0.03, (1.02 - s.memory) / r.uniform(4.0, 9.0))),
}


def is_up(fault: Fault, minute: float) -> bool:
    """Return whether a flapping fault is active: in `flapping` (one to three) minutes of every three."""
    return int(minute + 0.5) % 3 < fault.flapping


def effect_of(service: Service, fault: Fault, minutes: int) -> Effect:
    """Return the effect of the fault without noise, at the end of the window."""
    on = sum(is_up(fault, float(i)) for i in range(minutes)) / minutes if fault.flapping else 1.0
    errors = min(1.0, service.errors * fault.errors_factor + fault.errors * on)
    leaked = fault.leak * max(0.0, minutes - 1 - fault.onset)
    end = min(1.0, service.memory + leaked + fault.step)
    return Effect(
        errors_before=service.errors,
        errors_after=errors,
        latency_before=service.latency,
        latency_after=service.latency * fault.latency,
        cpu_before=service.cpu,
        cpu_after=min(1.0, service.cpu + fault.cpu),
        leak=fault.leak,
        leaked=min(leaked, 1.0 - service.memory),
        memory_before=service.memory,
        memory_end=end,
        step=min(fault.step, 1.0 - service.memory),
        lost=fault.lost * on,
        requests=service.rate * 60.0 * max(0.0, minutes - fault.onset),
    )


class Surroundings:
    """Random changes not caused by the deployment.

    Args:
        pre, post: numbers of samples. `blips` maps the places of single bad samples, negative in PRE, to their kind.
    """

    def __init__(self, rng: random.Random, pre: int, post: int) -> None:
        self.blips: dict[int, str] = {}
        for first, count, chance in ((-pre, pre, 0.012 * pre), (0, post, 0.15)):
            if count > 3 and rng.random() < chance:
                at = first + rng.randrange(count)
                for i in range(at, min(first + count, at + (2 if rng.random() < 0.3 and count >= 10 else 1))):
                    self.blips[i] = rng.choice(("latency", "errors", "both"))
        cold = rng.random() < 0.3
        restart = rng.random() < 0.35
        self.cold_latency = rng.uniform(0.3, 3.0) if cold else 0.0
        self.cold_minutes = rng.uniform(0.2, 0.9)
        self.restart_drop = rng.uniform(0.03, 0.3) if restart else 0.0
        self.refill_minutes = rng.uniform(0.5, 8.0)
        self.startup_cpu = rng.uniform(0.05, 0.4) if restart else 0.0
        self.swap_samples = 1 if rng.random() < 0.15 else 0


class Meter:
    """Draw samples of a service in order; holds the state of its noise."""

    def __init__(self, rng: random.Random, service: Service, fault: Fault, around: Surroundings) -> None:
        self.rng, self.service, self.fault, self.around = rng, service, fault, around
        self.rate_noise = Noise(rng, service.rate_noise)
        self.latency_noise = Noise(rng, service.latency_noise)
        self.cpu_noise = Noise(rng, service.cpu_noise)
        self.memory_noise = Noise(rng, service.memory_noise)
        self.saw = rng.random()

    def read(self, minute: float, index: int) -> Sample:
        """Return the sample of a minute. index: its place, negative before the deployment."""
        fault, around = self.fault, self.around
        after = minute >= 0.0
        active = after and minute >= fault.onset and (not fault.flapping or is_up(fault, minute))
        swapping = after and index < around.swap_samples
        blip = around.blips.get(index, "")
        load = self._load(minute) * (fault.growth if after else 1.0)
        served = load * (1.0 - (fault.lost if active else 0.0)) * (0.6 if swapping else 1.0)
        requests = poisson(self.rng, max(0.0, self.service.rate * served) * 60.0)
        latency = self._latency(minute, requests, load, active=active, blip=blip in ("latency", "both"))
        errors = self._errors(requests, active=active, blip=blip in ("errors", "both"), swapping=swapping)
        return Sample(
            collected_at=START + timedelta(minutes=minute),
            requests_per_sec=round(requests / 60.0, 3),
            latency_p95=round(max(0.5, latency), 2) if requests else 0.0,
            error_rate=round(errors, 5),
            cpu_usage=round(min(1.0, max(0.01, self._cpu(minute, requests, active=active))), 4),
            memory_usage=round(min(1.0, max(0.02, self._memory(minute, active=active))), 4),
            origin="post" if after else "baseline",
        )

    def _load(self, minute: float) -> float:
        service = self.service
        phase = service.swing_phase
        swing = (1.0 + service.swing * math.sin(2 * math.pi * minute / DAY + phase)) / (
            1.0 + service.swing * math.sin(phase)
        )
        return swing * (1.0 + service.drift * minute) * math.exp(self.rate_noise())

    def _errors(self, requests: int, *, active: bool, blip: bool, swapping: bool) -> float:
        service, fault, rng = self.service, self.fault, self.rng
        chance = service.errors * math.exp(service.burst * rng.gauss(0, 1) - service.burst**2 / 2)
        if active:
            chance = chance * fault.errors_factor + fault.errors
        chance += rng.uniform(0.03, 0.5) if blip else 0.0
        chance += rng.uniform(0.0, 0.3) if swapping else 0.0
        return binomial(rng, requests, chance) / requests if requests else 0.0

    def _latency(self, minute: float, requests: int, load: float, *, active: bool, blip: bool) -> float:
        service, around, rng = self.service, self.around, self.rng
        noise = self.latency_noise()
        if requests:  # a p95 of few requests is one of the slowest requests
            noise += rng.gauss(0.0, min(0.5, 0.9 / math.sqrt(requests)))
        latency: float = service.latency * max(load, 0.2) ** service.load_exponent * math.exp(noise)
        latency *= self.fault.latency if active else 1.0
        if minute >= 0.0:
            latency *= 1.0 + around.cold_latency * math.exp(-minute / around.cold_minutes)
        latency *= rng.uniform(2.0, 7.0) if blip else 1.0
        if service.quantum and latency > 4 * service.quantum:
            latency = service.quantum * round(latency / service.quantum)
        return latency

    def _cpu(self, minute: float, requests: int, *, active: bool) -> float:
        service, around = self.service, self.around
        actual = requests / 60.0 / service.rate
        cpu = service.cpu * (1 - service.cpu_share + service.cpu_share * actual) + self.cpu_noise()
        cpu += self.fault.cpu if active else 0.0
        return cpu + (around.startup_cpu * math.exp(-minute / around.cold_minutes) if minute >= 0.0 else 0.0)

    def _memory(self, minute: float, *, active: bool) -> float:
        service, fault, around = self.service, self.fault, self.around
        saw = service.sawtooth * (((minute / service.sawtooth_period) + self.saw) % 1.0 - 0.5)
        memory = service.memory + saw + self.memory_noise()
        if minute < 0.0:
            return memory
        memory -= around.restart_drop * math.exp(-minute / around.refill_minutes)
        return memory + fault.leak * max(0.0, minute - fault.onset) + (fault.step if active else 0.0)


def draw_fault(rng: random.Random, service: Service, minutes: int) -> Fault:
    """Draw a deployment: half are healthy, the others have a fault, a quarter of those from mid-window on."""
    group = rng.choices((HEALTHY, DEGRADED, CRITICAL), (0.5, 0.27, 0.23))[0]
    kind = rng.choice(tuple(group))
    fault = group[kind](rng, service)
    fault.kind = kind.removesuffix("_again")
    if group is not HEALTHY and rng.random() < 0.25 and kind not in ("leak", "memory_full", "crash_loop"):
        fault.onset = math.ceil(minutes * rng.uniform(0.4, 0.6))
    return fault


def draw_pre_count(rng: random.Random) -> int:
    """Draw the number of PRE samples: 1, 2 to 5, or (mostly) 15 to 30."""
    return rng.choices((1, rng.randint(2, 5), rng.randint(15, 30)), (0.3, 0.15, 0.55))[0]


def times(rng: random.Random, pre: int, minutes: int) -> tuple[list[float], list[float]]:
    """Draw sample times: PRE each minute or every five, POST each minute; jittered, sometimes with a clock gap."""
    spacing = rng.choice((1.0, 1.0, 1.0, 5.0))
    deployment = rng.uniform(0.5, 6.0)
    jitter = rng.choice((0.0, 0.02, 0.2))
    before = [-deployment - spacing * (pre - 1 - i) - abs(rng.gauss(0.0, jitter)) for i in range(pre)]
    after = [i + abs(rng.gauss(0.0, jitter)) for i in range(minutes)]
    if rng.random() < 0.05:
        at, gap = rng.randrange(1, minutes), rng.uniform(2.0, 6.0)
        after = [t + (gap if i >= at else 0.0) for i, t in enumerate(after)]
    return before, after


def make_case(seed: int, number: int) -> Case:
    """Return case `number` of `seed`, deterministically."""
    rng = random.Random(seed * 1_000_003 + number)
    minutes = rng.choice((5, 10, 15))
    pre_count = draw_pre_count(rng)
    service = Service(rng)
    fault = draw_fault(rng, service, minutes)
    around = Surroundings(rng, pre_count, minutes)
    if fault.kind in ("leak", "memory_full"):
        # A large refill would hide a leak within the window: leaks are drawn without one.
        around.restart_drop = min(around.restart_drop, 0.01)
    before, after = times(rng, pre_count, minutes)
    meter = Meter(rng, service, fault, around)
    pre = [meter.read(minute, i - pre_count) for i, minute in enumerate(before)]
    post = [meter.read(minute, i) for i, minute in enumerate(after)]
    loss = rng.choice((0.0, 0.0, 0.0, 0.1, 0.2))
    kept_pre = [s for s in pre if rng.random() >= loss] or pre[-1:]
    kept_post = [s for s in post if rng.random() >= loss]
    if fault.onset and sum(after[post.index(s)] >= fault.onset for s in kept_post) < 2:
        kept_post = post  # the samples must contain the fault of the label
    end = START + timedelta(minutes=max(after[-1], minutes - 1.0) + 1.0)
    return Case(
        id=f"a{seed}-{number}",
        kind=fault.kind,
        effect=effect_of(service, fault, minutes),
        pre=tuple(kept_pre),
        post=tuple(kept_post),
        window=Window(expected=minutes, evaluated_at=end),
        late=fault.onset > 0.0,
    )
