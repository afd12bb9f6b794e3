"""Generate cases of the third world, written from the definition of the verdicts alone.

Plain on purpose: multiplicative log-normal noise with AR(1), binomial errors, steps. Its dials increase one condition
at a time, for stress tests and for the strata of the ablations.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from analysis.judge.types import Miss, Sample, Window
from benchmarks.verdicts.labels import ENOUGH_TRAFFIC, Case, Effect

START = datetime(2026, 3, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Dials:
    """Conditions of the world; None is drawn at random.

    noise: factor on all noise; spacing: seconds between PRE samples; pre, minutes: numbers of samples; lost: how many
    POST samples are missing; rate: bounds of requests per second; trend: largest change of latency and traffic per hour
    (logarithm), before the deployment as after it; faults: names of FAULTS; unanswered: share of the deployments whose
    endpoint stops answering; late, cold, growth: share of faults from mid-window on, of cold starts, of traffic that
    jumps at healthy deployments; blips: share of samples.
    """

    noise: float = 1.0
    spacing: float = 60.0
    pre: int | None = None
    minutes: int | None = None
    lost: int | None = None
    rate: tuple[float, float] | None = None
    trend: float = 0.0
    faults: tuple[str, ...] | None = None
    unanswered: float = 0.0
    late: float = 0.25
    cold: float = 0.35
    growth: float = 0.1
    blips: float = 0.02


AS_IT_IS = Dials()


@dataclass(frozen=True, slots=True)
class Change:
    """Effect of a deployment from `onset` (minutes after it) on; the defaults have none.

    cycle: a crash loop is down in one minute out of so many.
    """

    onset: float = 0.0
    errors: float = 0.0
    errors_factor: float = 1.0
    latency: float = 1.0
    cpu: float = 0.0
    leak: float = 0.0
    step: float = 0.0
    lost: float = 0.0
    cycle: int = 0


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _binomial(rng: random.Random, n: int, p: float) -> int:
    if n <= 0 or p <= 0.0:
        return 0
    if n * p < 30.0 and n > 60:
        at, count, limit = rng.random(), 0, math.exp(-n * p)
        while at > limit and count < n:
            at *= rng.random()
            count += 1
        return count
    if n <= 60:
        return sum(rng.random() < p for _ in range(n))
    return min(n, max(0, round(rng.gauss(n * p, math.sqrt(n * p * (1.0 - p))))))


class Service:
    """Level, scatter (cv: of single samples; rho: AR(1)) and drift of a random service."""

    def __init__(self, rng: random.Random, dials: Dials = AS_IT_IS) -> None:
        low, high = dials.rate or ((0.1, 2.0) if rng.random() < 0.15 else (2.0, 500.0))
        drifts = rng.random()
        self.rate = _log_uniform(rng, low, high)
        self.latency = _log_uniform(rng, 8.0, 900.0)
        self.errors = 0.0 if rng.random() < 0.2 else _log_uniform(rng, 0.0002, 0.012)
        self.cpu = rng.uniform(0.05, 0.85)
        self.memory = rng.uniform(0.15, 0.85)
        self.rate_cv = rng.uniform(0.03, 0.15) * dials.noise
        self.latency_cv = _log_uniform(rng, 0.03, 0.15) * dials.noise
        self.cpu_cv = rng.uniform(0.03, 0.12) * dials.noise
        self.memory_sd = _log_uniform(rng, 0.001, 0.012) * dials.noise
        self.rho = rng.uniform(0.0, 0.7)
        self.heavy = rng.random() < 0.15
        self.swing = rng.uniform(0.0, 0.4)
        self.phase = rng.uniform(0.0, 2.0 * math.pi)
        self.follows = rng.uniform(0.05, 0.35)
        self.memory_drift = rng.uniform(-0.0005, 0.0006) if drifts < 0.3 else 0.0
        self.sawtooth = rng.uniform(0.02, 0.1) if drifts > 0.75 else 0.0
        self.period = rng.uniform(8.0, 60.0)
        self.trend = rng.uniform(-dials.trend, dials.trend)


class _Noise:
    """AR(1) noise of unit variance; heavy: with Student's t (4 degrees of freedom) instead of normal steps."""

    def __init__(self, rng: random.Random, rho: float, *, heavy: bool) -> None:
        self.rng, self.rho, self.heavy = rng, rho, heavy
        self.state = rng.gauss(0.0, 1.0)

    def next(self, minutes: float) -> float:
        """Return the next value, `minutes` after the last one."""
        keep = self.rho ** max(minutes, 0.01)
        fresh = self.rng.gauss(0.0, 1.0)
        if self.heavy:
            fresh /= math.sqrt(self.rng.gammavariate(2.0, 0.5)) * math.sqrt(2.0)
        self.state = keep * self.state + math.sqrt(1.0 - keep * keep) * fresh
        return self.state


def _small(rng: random.Random, service: Service) -> Change:
    drawn: Callable[[], Change] = rng.choice(
        (
            lambda: Change(latency=rng.uniform(1.03, 1.15)),
            lambda: Change(errors=rng.uniform(0.0005, 0.003)),
            lambda: Change(cpu=min(rng.uniform(0.02, 0.08), 0.2 * service.cpu)),
            lambda: Change(step=rng.uniform(0.01, 0.06)),
        )
    )
    return drawn()


def _saturation(rng: random.Random, service: Service) -> Change:
    slow = rng.uniform(1.3, 3.0) if rng.random() < 0.5 else 1.0
    return Change(cpu=max(0.0, rng.uniform(0.92, 0.99) - service.cpu), latency=slow)


# Weight, and the change of a service in a window of so many minutes.
FAULTS: dict[str, tuple[float, Callable[[random.Random, Service, int], Change]]] = {
    "steady": (38.0, lambda r, s, n: Change()),
    "improvement": (
        6.0,
        lambda r, s, n: Change(
            latency=r.uniform(0.4, 0.9), errors_factor=r.uniform(0.2, 1.0), cpu=-s.cpu * r.uniform(0, 0.4)
        ),
    ),
    "small": (10.0, lambda r, s, n: _small(r, s)),
    "errors_step": (6.0, lambda r, s, n: Change(errors=r.uniform(0.009, 0.022))),
    "errors_large": (5.0, lambda r, s, n: Change(errors=_log_uniform(r, 0.045, 0.6))),
    "latency_1.3": (5.0, lambda r, s, n: Change(latency=r.uniform(1.28, 1.45))),
    "latency_2": (5.0, lambda r, s, n: Change(latency=r.uniform(1.7, 2.5))),
    "latency_5": (4.0, lambda r, s, n: Change(latency=r.uniform(4.0, 7.0))),
    "leak": (4.0, lambda r, s, n: Change(leak=max(r.uniform(0.035, 0.2) / n, r.uniform(0.003, 0.012)))),
    "memory_step": (2.0, lambda r, s, n: Change(step=r.uniform(0.13, 0.3))),
    "saturation": (4.0, lambda r, s, n: _saturation(r, s)),
    "traffic": (3.0, lambda r, s, n: Change(lost=r.uniform(0.3, 0.74))),
    "traffic_gone": (3.0, lambda r, s, n: Change(lost=r.choice((r.uniform(0.93, 1.0), 1.0)))),
    # One in three of five minutes would be one or two minutes: indistinguishable from blips.
    "crash_loop": (2.0, lambda r, s, n: Change(cycle=2 if n < 10 else r.choice((2, 3)))),
    "errors_and_latency": (2.0, lambda r, s, n: Change(errors=r.uniform(0.01, 0.03), latency=r.uniform(1.8, 3.5))),
    "latency_and_traffic": (2.0, lambda r, s, n: Change(latency=r.uniform(1.8, 4.0), lost=r.uniform(0.33, 0.52))),
}
HEALTHY = ("steady", "improvement", "small")


def effect_of(service: Service, change: Change, minutes: int) -> Effect:
    """Return the noise-free effect at the end of the window."""
    errors = min(1.0, service.errors * change.errors_factor + change.errors)
    lost = change.lost
    if change.cycle:
        errors, lost = errors + 0.8 / change.cycle, 0.4 / change.cycle
    leaked = change.leak * (minutes - 1 - change.onset)
    memory = min(1.0, service.memory + change.step + leaked)
    return Effect(
        errors_before=service.errors,
        errors_after=min(1.0, errors),
        latency_before=service.latency,
        latency_after=service.latency * change.latency,
        cpu_before=service.cpu,
        cpu_after=min(1.0, max(0.0, service.cpu + change.cpu)),
        leak=change.leak,
        leaked=min(leaked, 1.0 - service.memory),
        memory_before=service.memory,
        memory_end=memory,
        step=min(change.step, 1.0 - service.memory),
        lost=lost,
        requests=service.rate * 60.0 * (minutes - change.onset),
    )


class _Surroundings:
    """Random changes not caused by the deployment.

    Traffic from the deployment on as a factor, cold start (factor on latency and errors of the first sample; how much
    is left in the second one), memory freed by the restart and minutes to refill it.
    """

    def __init__(self, rng: random.Random, fault: str, dials: Dials) -> None:
        self.traffic, what = 1.0, rng.random()
        # With a jump of traffic the cause of a fault would be ambiguous: only healthy deployments have one.
        if what < min(0.25, 1.0 - dials.growth) and "traffic" not in fault:
            self.traffic = rng.uniform(0.8, 1.2)
        elif what > 1.0 - dials.growth and fault in HEALTHY:
            self.traffic = rng.uniform(1.5, 2.2)
        self.cold = rng.uniform(1.3, 4.0) if rng.random() < dials.cold else 1.0
        self.cold_second = rng.choice((0.0, rng.uniform(0.1, 0.4)))
        self.cold_errors = rng.uniform(0.01, 0.1) if self.cold > 1.0 and rng.random() < 0.3 else 0.0
        self.freed = rng.uniform(0.02, 0.2) if rng.random() < 0.4 else 0.0
        self.refill = rng.uniform(1.0, 5.0)


class _Meter:
    """Draw the samples of one case in the order of time. Minutes count from the first POST sample."""

    def __init__(
        self, rng: random.Random, service: Service, change: Change, around: _Surroundings, *, blips: float
    ) -> None:
        self.rng, self.service, self.change, self.around, self.blips = rng, service, change, around, blips
        self.noises = [_Noise(rng, service.rho, heavy=service.heavy and which == 0) for which in range(4)]
        self.before: float | None = None
        self.saw = rng.uniform(0.0, service.period)
        self.turn = rng.randrange(6)

    def sample(self, minute: float, index: int | None) -> Sample:
        """Return the sample at `minute`. index: its place in POST, None for PRE."""
        rng, service, around = self.rng, self.service, self.around
        change = self.change if index is not None and minute >= self.change.onset else Change()
        passed = 1.0 if self.before is None else minute - self.before
        self.before = minute
        n_rate, n_latency, n_cpu, n_memory = (noise.next(passed) for noise in self.noises)
        blip = rng.choice(("latency", "errors", "cpu", "traffic")) if rng.random() < self.blips else ""
        day = 2.0 * math.pi / 1440.0
        load = 1.0 + service.swing * math.sin(service.phase + minute * day)
        load /= 1.0 + service.swing * math.sin(service.phase)
        load *= math.exp(service.trend * minute / 60.0) * (around.traffic if index is not None else 1.0)
        down = change.cycle > 0 and index is not None and (index + self.turn) % change.cycle == 0
        cold = {0: 1.0, 1: around.cold_second}.get(index, 0.0) if index is not None else 0.0

        rate = service.rate * load * (1.0 - change.lost) * math.exp(service.rate_cv * n_rate)
        rate *= rng.uniform(0.2, 0.6) if blip == "traffic" else 0.6 if down else 1.0
        wanted = rate * 60.0
        requests = _binomial(rng, max(1, round(10.0 * wanted)), 0.1) if wanted < 3000.0 else round(wanted)
        failing = service.errors * change.errors_factor + change.errors + around.cold_errors * cold
        failing += rng.uniform(0.02, 0.2) if blip == "errors" else rng.uniform(0.6, 1.0) if down else 0.0
        errors = _binomial(rng, requests, min(1.0, failing))

        scatter = service.latency_cv * n_latency
        if requests:
            scatter += 0.5 * rng.gauss(0.0, 1.0) / math.sqrt(requests)
        latency = service.latency * change.latency * load**service.follows * math.exp(scatter)
        latency *= math.exp(service.trend * minute / 60.0)
        latency *= (1.0 + (around.cold - 1.0) * cold) * (rng.uniform(2.0, 6.0) if blip == "latency" else 1.0)
        cpu = (service.cpu * load**0.7 + change.cpu) * (1.0 - 0.6 * change.lost) * math.exp(service.cpu_cv * n_cpu)
        cpu += 0.3 if blip == "cpu" else 0.15 * cold * (around.cold > 1.0)
        memory = self._memory(minute, index, change) + service.memory_sd * n_memory
        return Sample(
            collected_at=START + timedelta(minutes=minute, seconds=rng.uniform(0.0, 2.0)),
            requests_per_sec=round(requests / 60.0, 3),
            latency_p95=round(latency, 1) if requests else 0.0,
            error_rate=round(errors / requests, 5) if requests else 0.0,
            cpu_usage=round(min(1.0, max(0.0, cpu)), 3),
            memory_usage=round(min(1.0, max(0.0, memory)), 4),
            origin="post" if index is not None else "baseline",
        )

    def _memory(self, minute: float, index: int | None, change: Change) -> float:
        service, around = self.service, self.around
        memory = service.memory + service.memory_drift * minute
        if service.sawtooth:
            memory += service.sawtooth * (((minute + self.saw) % service.period) / service.period - 0.5)
        if index is not None:
            memory += change.step + change.leak * max(0.0, minute - change.onset)
            memory -= min(around.freed, 0.6 * service.memory) * math.exp(-minute / around.refill)
        return memory


def _pre_minutes(rng: random.Random, dials: Dials) -> list[float]:
    count = dials.pre if dials.pre is not None else 1 if rng.random() < 0.3 else rng.randint(15, 30)
    took = rng.uniform(1.0, 6.0)
    gap = rng.uniform(5.0, 15.0) if rng.random() < 0.05 else 0.0
    at = rng.randrange(count)
    return [-took - (count - 1 - i) * dials.spacing / 60.0 - (gap if i < at else 0.0) for i in range(count)]


def _lose(rng: random.Random, post: list[Sample], dials: Dials) -> list[Sample]:
    count = dials.lost if dials.lost is not None else rng.randint(1, 2) if rng.random() < 0.1 else 0
    gone = set(rng.sample(range(len(post)), min(count, len(post))))
    return [sample for i, sample in enumerate(post) if i not in gone]


def _unanswered(rng: random.Random, post: list[Sample], minutes: int) -> tuple[list[Sample], tuple[Miss, ...]]:
    """Return POST and misses of a service that stops answering, from the start or from mid-window on."""
    last = rng.choice((0, 0, int(minutes * rng.uniform(0.2, 0.6))))
    reason = rng.choice(("refused", "timeout", "http_5xx"))
    misses = tuple(Miss(START + timedelta(minutes=i), reason, sequence_index=i) for i in range(last, minutes))
    return post[:last], misses


def make_case(seed: int, number: int, dials: Dials = AS_IT_IS) -> Case:
    """Return case `number` of a seed, deterministically."""
    rng = random.Random(f"third/{seed}/{number}")
    service = Service(rng, dials)
    minutes = rng.choice((5, 10, 15))
    minutes = dials.minutes or minutes
    names = dials.faults or tuple(FAULTS)
    kind = rng.choices(names, [FAULTS[name][0] for name in names])[0]
    change = FAULTS[kind][1](rng, service, minutes)
    late = kind not in HEALTHY and rng.random() < dials.late
    if change.cycle and minutes < 10:
        late = False  # one minute down in the rest of the window is a blip
    if late:
        change = replace(change, onset=minutes * rng.uniform(0.3, 0.6))
    around = _Surroundings(rng, kind, dials)
    effect = effect_of(service, change, minutes)
    meter = _Meter(rng, service, change, around, blips=dials.blips)
    pre = [meter.sample(minute, None) for minute in _pre_minutes(rng, dials)]
    post = [meter.sample(float(i), i) for i in range(minutes)]
    misses: tuple[Miss, ...] = ()
    if dials.unanswered and rng.random() < dials.unanswered:
        post, misses = _unanswered(rng, post, minutes)
        kind, late, effect = "unanswered", False, replace(effect, lost=1.0, requests=ENOUGH_TRAFFIC)
    else:
        post = _lose(rng, post, dials)
    end = START + timedelta(minutes=minutes)
    window = Window(expected=minutes, evaluated_at=end, finished_at=START, misses=misses)
    return Case(f"third-{seed}-{number}", kind, effect, tuple(pre), tuple(post), window, late=late)
