"""Draw the samples of ordinary services around a deployment, by the course of each metric. All noise is ordinary."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from analysis.judge.types import EarlierDay, Miss, Origin, Sample, Window
from benchmarks.verdicts.world import binomial, log_uniform, poisson
from projects.policy import AdaptivePolicy

FINISH = datetime(2026, 6, 17, 21, 0, tzinfo=UTC)
# Autocorrelation of the noise from minute to minute.
RHO = 0.3

# Level of a metric at a minute from `finish`, negative before it.
Course = Callable[[float], float]
Courses = Mapping[str, Course]


@dataclass(frozen=True, slots=True)
class Situation:
    """Input of the judge. twin: the same deployment with other evidence, which deserves the same answer."""

    pre: tuple[Sample, ...]
    post: tuple[Sample, ...]
    window: Window
    policy: AdaptivePolicy = field(default_factory=AdaptivePolicy)
    twin: "Situation | None" = None


class Service:
    """Levels of an ordinary service and their scatter: requests per second, p95 in ms, ratios.

    cpu follows the load in part, latency a little. timed: without a request it answers p95 0.0 instead of null.
    """

    def __init__(self, rng: random.Random, **levels: float) -> None:
        self.rng = rng
        self.rate = levels.get("rate", log_uniform(rng, 5.0, 300.0))
        self.latency = levels.get("latency", log_uniform(rng, 40.0, 400.0))
        self.errors = levels.get("errors", rng.choice((0.0, log_uniform(rng, 2e-4, 4e-3))))
        self.cpu = levels.get("cpu", rng.uniform(0.15, 0.55))
        self.memory = levels.get("memory", rng.uniform(0.3, 0.7))
        self.scatter = {
            "rate": rng.uniform(0.02, 0.08),
            "latency": rng.uniform(0.02, 0.08),
            "cpu": rng.uniform(0.02, 0.08),
            "memory": levels.get("memory_scatter", rng.uniform(0.002, 0.015)),
        }
        self.cpu_share = rng.uniform(0.5, 0.9)
        self.timed = rng.random() < 0.5
        self._noise = {name: rng.gauss(0.0, 1.0) for name in self.scatter}

    def sample(self, minute: float, origin: Origin, courses: Courses) -> Sample:
        """Return the sample of a minute; a metric without a course stays at its level, as far as load lets it."""

        def at(name: str, otherwise: float) -> float:
            return courses[name](minute) if name in courses else otherwise

        rng = self.rng
        rate = at("rate", self.rate)
        load = rate / self.rate if self.rate else 1.0
        requests = poisson(rng, rate * self._scattered("rate") * 60.0)
        failed = binomial(rng, requests, at("errors", self.errors))
        latency = at("latency", self.latency * max(load, 0.05) ** 0.1) * self._scattered("latency")
        latency *= math.exp(rng.gauss(0.0, 0.4 / math.sqrt(max(requests, 1))))
        cpu = at("cpu", self.cpu * (1.0 - self.cpu_share + self.cpu_share * load)) * self._scattered("cpu")
        memory = at("memory", self.memory) * self._scattered("memory")
        return Sample(
            collected_at=FINISH + timedelta(minutes=minute, seconds=rng.uniform(0.0, 1.5)),
            requests_per_sec=round(requests / 60.0, 3),
            latency_p95=round(latency, 1) if requests else 0.0 if self.timed else None,
            error_rate=round(failed / requests, 5) if requests else 0.0,
            cpu_usage=round(min(1.0, cpu), 4),
            memory_usage=round(min(1.0, memory), 4),
            origin=origin,
        )

    def _scattered(self, name: str) -> float:
        self._noise[name] = RHO * self._noise[name] + math.sqrt(1 - RHO**2) * self.rng.gauss(0.0, 1.0)
        return math.exp(self.scatter[name] * self._noise[name])


def flat(level: float) -> Course:
    return lambda minute: level


def until(minute: float, first: float, then: float) -> Course:
    """Return a step: one level before that minute, another from it on."""
    return lambda m: first if m < minute else then


def one_of(levels: Sequence[float]) -> Course:
    """Return one level per minute from `finish` on; the last one stays."""
    return lambda minute: levels[min(int(max(minute, 0.0)), len(levels) - 1)]


def deployed(
    service: Service,
    *,
    pre: int | None = None,
    post: int | None = None,
    age: float | None = None,
    took: float | None = None,
    before: Courses | None = None,
    after: Courses | None = None,
    **window: Any,
) -> Situation:
    """Observe a service around a deployment.

    Args:
        pre, post: numbers of samples, a minute apart; drawn where None.
        age: minutes from the newest PRE sample to `finish`.
        took: minutes from `trigger` to `finish`; PRE ends with it unless `age` says otherwise.
        before, after: courses by name (rate, latency, errors, cpu, memory).
        window: other values of the window.
    """
    rng = service.rng
    pre = rng.choice((1, 6, 15, 30)) if pre is None else pre
    post = rng.choice((5, 10)) if post is None else post
    age = age if age is not None else took if took is not None else rng.uniform(1.0, 4.0)
    earlier = [service.sample(-age - (pre - 1 - i), "baseline", before or {}) for i in range(pre)]
    later = [service.sample(float(i), "post", after or {}) for i in range(post)]
    return Situation(
        pre=tuple(earlier),
        post=tuple(later),
        window=Window(
            expected=post,
            evaluated_at=FINISH + timedelta(minutes=post),
            started_at=FINISH - timedelta(minutes=age if took is None else took),
            finished_at=FINISH,
            **window,
        ),
    )


def refused(situation: Situation, minutes: Sequence[int]) -> Situation:
    """Return the situation with these minutes of POST refused by the service."""
    misses = tuple(Miss(FINISH + timedelta(minutes=i), "refused", sequence_index=i) for i in minutes)
    answered = tuple(sample for i, sample in enumerate(situation.post) if i not in minutes)
    return replace(situation, post=answered, window=replace(situation.window, misses=misses))


def earlier_days(
    rng: random.Random, count: int, before: Mapping[str, float], after: Mapping[str, float], *, scatter: float = 0.05
) -> tuple[EarlierDay, ...]:
    """Return earlier days at these levels. Days differ by a fifth as a whole, and each level by `scatter`."""
    days = []
    for ago in range(1, count + 1):
        busy = math.exp(rng.gauss(0.0, 0.2))

        def levels(of: Mapping[str, float], busy: float = busy) -> dict[str, float]:
            return {
                name: level * (busy if name == "requests_per_sec" else 1.0) * math.exp(rng.gauss(0.0, scatter))
                for name, level in of.items()
            }

        days.append(EarlierDay(ago, levels(before), levels(after)))
    return tuple(days)
