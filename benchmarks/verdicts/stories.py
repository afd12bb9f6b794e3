"""The fourth world: ordinary stories of deployments, as people report them, and the answers that each accepts.

`REPORTED` stories were reported as wrong; the others are of the same kinds, with other metrics, levels and durations,
and real faults that look like one of them.
"""

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any, Final, Literal

from analysis.judge.types import OK, ROLLBACK, WARNING, Sample
from benchmarks.verdicts.outcome import Outcome
from benchmarks.verdicts.situations import (
    Course,
    Courses,
    Service,
    Situation,
    deployed,
    earlier_days,
    flat,
    one_of,
    refused,
    until,
)
from benchmarks.verdicts.world import log_uniform
from projects.policy import AdaptivePolicy

NOT_CONCLUSIVE: Final = "not_conclusive"
Answer = Literal["ok", "warning", "rollback_recommended", "not_conclusive"]

# A demand on an outcome: what is wrong with it, or "".
Demand = Callable[[Outcome], str]


@dataclass(frozen=True, slots=True)
class Story:
    """One story: a generator, and what is acceptable. answers: "not_conclusive" is any answer without a conclusion but
    a rollback. early: an early verdict is acceptable, though it is over again at the end; otherwise where a rollback
    is."""

    name: str
    title: str
    make: Callable[[random.Random], Situation]
    answers: tuple[Answer, ...]
    demands: tuple[Demand, ...] = ()
    reported: bool = False
    early: bool = False

    def situation(self, seed: int, number: int) -> Situation:
        """Return case `number` of a seed, deterministically."""
        return self.make(random.Random(f"{self.name}/{seed}/{number}"))


STORIES: dict[str, Story] = {}


def story(
    title: str, *answers: Answer, demands: tuple[Demand, ...] = (), reported: bool = False, early: bool = False
) -> Callable[[Callable[[random.Random], Situation]], Callable[[random.Random], Situation]]:
    """Register a generator as a story under its name."""

    def register(make: Callable[[random.Random], Situation]) -> Callable[[random.Random], Situation]:
        STORIES[make.__name__] = Story(make.__name__, title, make, answers, demands, reported, early)
        return make

    return register


# --- demands --------------------------------------------------------------------------------------------------------


def says(pattern: str) -> Demand:
    """Demand words (a regular expression) in some sentence that people see."""
    return lambda outcome: "" if re.search(pattern, outcome.text, re.I) else f"nowhere says /{pattern}/"


def never_says(pattern: str) -> Demand:
    """Forbid words (a regular expression) in what people see."""

    def demand(outcome: Outcome) -> str:
        found = re.search(pattern, outcome.text, re.I)
        return f"says “{found.group()}”" if found else ""

    return demand


def if_warned(demand: Demand) -> Demand:
    """Demand something of a conclusive warning only."""
    return lambda outcome: demand(outcome) if outcome.verdict.verdict == WARNING and outcome.verdict.conclusive else ""


def no_hint(code: str) -> Demand:
    return lambda outcome: f"hint {code}" if any(hint.code == code for hint in outcome.hints) else ""


def nothing_found_in(metric: str) -> Demand:
    return lambda outcome: f"finding in {metric}" if metric in outcome.verdict.failed_metrics else ""


def unhealthy(outcome: Outcome) -> str:
    """Demand that the service is called unhealthy."""
    health = outcome.verdict.health
    return "" if health.healthy == "no" and health.reasons else f"healthy: {health.healthy}"


def not_healthy(outcome: Outcome) -> str:
    """Forbid to call the service healthy; unknown is acceptable."""
    return "healthy: yes" if outcome.verdict.health.healthy == "yes" else ""


def not_unhealthy(outcome: Outcome) -> str:
    """Forbid to call the service unhealthy; unknown is acceptable."""
    return "healthy: no" if outcome.verdict.health.healthy == "no" else ""


def not_exercised(outcome: Outcome) -> str:
    return "exercised" if outcome.verdict.basis.exercised else ""


def called_early(outcome: Outcome) -> str:
    """Demand an early verdict in the first half of a window of ten."""
    return "" if outcome.early is not None and outcome.early <= 5 else f"early: {outcome.early}"


WAS_FAILING = says(r"already")
SCALING = if_warned(says(r"scaling|scaled|replica|processes"))
TOO_GOOD = says(r"too good|too fast|much better")
NO_RISE = never_says(r"errors?\b[^.;]{0,30}\b(rose|rise|increased)\b")


# --- what was wrong before ------------------------------------------------------------------------------------------


def _drawn_until(make: Callable[[], Situation], known: Callable[[Situation], bool]) -> Situation:
    """Draw again until PRE shows what the story says of it."""
    return next(found for found in islice((make() for _ in count()), 1000) if known(found))


def _standing_errors(rng: random.Random, *, rate: float, errors: float, pre: int, post: int | None = None) -> Situation:
    """Errors before and after alike, and PRE shows them: at least half of their share."""

    def shown(situation: Situation) -> bool:
        requests = sum(sample.requests_per_sec or 0.0 for sample in situation.pre)
        failed = sum((sample.error_rate or 0.0) * (sample.requests_per_sec or 0.0) for sample in situation.pre)
        return failed >= 0.5 * errors * requests > 0.0

    return _drawn_until(lambda: deployed(Service(rng, rate=rate, errors=errors), pre=pre, post=post), shown)


@story(
    "2 rps, 20 % errors before and after, PRE 1",
    OK,
    NOT_CONCLUSIVE,
    demands=(WAS_FAILING, NO_RISE, not_healthy),
    reported=True,
)
def standing_errors(rng: random.Random) -> Situation:
    return _standing_errors(rng, rate=2.0, errors=0.2, pre=1)


@story(
    "0.5–5 rps, 5–20 % errors before and after, PRE 1",
    OK,
    NOT_CONCLUSIVE,
    demands=(WAS_FAILING, NO_RISE, not_healthy),
    reported=True,
)
def standing_errors_at_low_volume(rng: random.Random) -> Situation:
    return _standing_errors(rng, rate=log_uniform(rng, 0.5, 5.0), errors=rng.uniform(0.05, 0.2), pre=1)


@story(
    "0.2–1 rps, 5–20 % errors before and after, PRE 6",
    OK,
    NOT_CONCLUSIVE,
    demands=(WAS_FAILING, NO_RISE, not_healthy),
    reported=True,
)
def standing_errors_pre_6(rng: random.Random) -> Situation:
    return _standing_errors(rng, rate=log_uniform(rng, 0.2, 1.0), errors=rng.uniform(0.05, 0.2), pre=6)


@story("40 % errors before and after, PRE 30", OK, demands=(WAS_FAILING, NO_RISE, unhealthy), reported=True)
def standing_errors_pre_30(rng: random.Random) -> Situation:
    return deployed(Service(rng, errors=0.4), pre=30)


@story("10–60 % errors before and after, PRE 6 or 15, 5–300 rps", OK, demands=(WAS_FAILING, NO_RISE, unhealthy))
def standing_errors_of_a_busy_service(rng: random.Random) -> Situation:
    return deployed(Service(rng, errors=rng.uniform(0.1, 0.6)), pre=rng.choice((6, 15)))


@story("every request failed before and after", OK, NOT_CONCLUSIVE, demands=(WAS_FAILING, NO_RISE, unhealthy))
def every_request_failed_before(rng: random.Random) -> Situation:
    return deployed(Service(rng, rate=log_uniform(rng, 1.0, 100.0), errors=1.0))


@story("p95 of 7–9 s before and after", OK, demands=(WAS_FAILING, unhealthy))
def standing_slowness(rng: random.Random) -> Situation:
    return deployed(Service(rng, latency=rng.uniform(7_000.0, 9_000.0)), pre=rng.choice((6, 15, 30)))


@story("memory at 96–97 % before and after", OK, demands=(WAS_FAILING, never_says("memory rose"), unhealthy))
def standing_full_memory(rng: random.Random) -> Situation:
    service = Service(rng, memory=rng.uniform(0.96, 0.97), memory_scatter=0.002)
    return deployed(service, pre=rng.choice((6, 15, 30)))


@story("5 % errors before, which PRE of 30–60 requests happened not to show", OK, WARNING, NOT_CONCLUSIVE)
def standing_errors_that_pre_missed(rng: random.Random) -> Situation:
    service = Service(rng, rate=rng.uniform(0.5, 1.0), errors=0.05)
    return _drawn_until(lambda: deployed(service, pre=1), lambda found: not found.pre[0].error_rate)


@story("8–15 % errors before, 0.1 % after: the deployment repairs it", OK, demands=(NO_RISE, not_unhealthy))
def errors_repaired(rng: random.Random) -> Situation:
    return deployed(Service(rng), before={"errors": flat(rng.uniform(0.08, 0.15))}, after={"errors": flat(0.001)})


@story("5 % errors before, 40–90 % after", ROLLBACK)
def standing_errors_get_worse(rng: random.Random) -> Situation:
    return deployed(Service(rng, errors=0.05), after={"errors": flat(rng.uniform(0.4, 0.9))})


@story("PRE 8 hours old, 50 % errors since the deployment", ROLLBACK, WARNING)
def age_excuses_no_errors(rng: random.Random) -> Situation:
    service = Service(rng, errors=0.001)
    return deployed(service, age=480.0, took=3.0, after={"errors": flat(0.5)})


# --- PRE has an age, and traffic its course -------------------------------------------------------------------------


def _fall(service: Service, share: float, *, over: float, until_minute: float = 0.0) -> Course:
    """Return traffic that falls smoothly to `share` of its level, over so many minutes until `until_minute`."""

    def course(minute: float) -> float:
        passed = min(1.0, max(0.0, (minute - until_minute + over) / over))
        return service.rate * math.pow(share, 0.5 - 0.5 * math.cos(math.pi * passed))

    return course


@story(
    "three-hour rollout in the evening, 200 → 80 rps, PRE three hours old", OK, WARNING, NOT_CONCLUSIVE, reported=True
)
def evening_rollout(rng: random.Random) -> Situation:
    service = Service(rng, rate=200.0)
    course = {"rate": _fall(service, 0.4, over=180.0)}
    return deployed(service, took=180.0, before=course, after=course)


@story("rollout over night, eight hours, 400 → 25 rps", OK, WARNING, NOT_CONCLUSIVE)
def rollout_over_night(rng: random.Random) -> Situation:
    service = Service(rng, rate=400.0)
    course = {"rate": _fall(service, 1 / 16, over=480.0)}
    return deployed(service, took=480.0, before=course, after=course)


@story("PRE of Friday, deployed on Sunday at a third of the traffic", OK, WARNING, NOT_CONCLUSIVE)
def pre_of_friday(rng: random.Random) -> Situation:
    service = Service(rng)
    return deployed(service, age=2880.0, took=3.0, after={"rate": flat(service.rate * rng.uniform(0.25, 0.4))})


@story("two-hour rollout in the morning, traffic ×3 and the p95 with it (×1.2)", OK, WARNING, NOT_CONCLUSIVE)
def morning_rollout(rng: random.Random) -> Situation:
    service = Service(rng, cpu=0.2)
    return deployed(service, took=120.0, after={"rate": flat(3 * service.rate), "latency": flat(1.2 * service.latency)})


def _course(service: Service, per_minute: float) -> Courses:
    return {"rate": lambda minute: service.rate * math.exp(per_minute * minute)}


@story("traffic falls 1 % a minute before, during a 40-minute deployment, and after", OK, reported=True)
def falling_traffic_goes_on(rng: random.Random) -> Situation:
    service = Service(rng, rate=rng.uniform(50.0, 200.0))
    course = _course(service, math.log(0.99))
    return deployed(service, pre=30, took=40.0, before=course, after=course)


@story("traffic falls 0.5–2 % a minute throughout, deployment of 2–20 minutes", OK)
def falling_traffic_goes_on_otherwise(rng: random.Random) -> Situation:
    service = Service(rng, rate=rng.uniform(50.0, 200.0))
    course = _course(service, -rng.uniform(0.005, 0.02))
    return deployed(service, pre=rng.choice((15, 30)), took=rng.uniform(2.0, 20.0), before=course, after=course)


@story("traffic rises 1–2 % a minute throughout", OK)
def rising_traffic_goes_on(rng: random.Random) -> Situation:
    service = Service(rng, cpu=rng.uniform(0.15, 0.3))
    course = _course(service, rng.uniform(0.01, 0.02))
    return deployed(service, pre=rng.choice((15, 30)), took=rng.uniform(2.0, 20.0), before=course, after=course)


@story("p95 rises 0.5–1 % a minute throughout", OK, WARNING)
def rising_latency_goes_on(rng: random.Random) -> Situation:
    service = Service(rng)
    slower = rng.uniform(0.005, 0.01)
    course: Courses = {"latency": lambda minute: service.latency * math.exp(slower * minute)}
    return deployed(service, pre=30, took=rng.uniform(2.0, 10.0), before=course, after=course)


@story("cpu rises 0.3–0.6 points a minute throughout", OK, WARNING)
def rising_cpu_goes_on(rng: random.Random) -> Situation:
    service, more = Service(rng, cpu=0.4), rng.uniform(0.003, 0.006)
    course: Courses = {"cpu": lambda minute: service.cpu + more * minute}
    return deployed(service, pre=30, took=rng.uniform(2.0, 10.0), before=course, after=course)


@story("memory rises 0.1–0.2 points a minute throughout: it leaked before", OK, WARNING)
def leak_goes_on(rng: random.Random) -> Situation:
    service, leak = Service(rng, memory=0.5, memory_scatter=0.003), rng.uniform(0.001, 0.002)
    course: Courses = {"memory": lambda minute: service.memory + leak * minute}
    return deployed(service, pre=30, took=rng.uniform(2.0, 10.0), before=course, after=course)


@story("traffic falls 1 % a minute throughout, and from the deployment on 60–80 % are missing", WARNING)
def course_excuses_no_loss(rng: random.Random) -> Situation:
    service = Service(rng, rate=rng.uniform(50.0, 200.0))
    course, left = _course(service, math.log(0.99)), rng.uniform(0.2, 0.4)
    after: Courses = {"rate": lambda minute: left * course["rate"](minute)}
    return deployed(service, pre=30, took=rng.uniform(2.0, 10.0), before=course, after=after)


def _levels(service: Service, rate: float) -> dict[str, float]:
    """Return the levels of an earlier day at this traffic."""
    return {
        "requests_per_sec": rate,
        "latency_p95": service.latency,
        "error_rate": service.errors,
        "cpu_usage": service.cpu * (1 - service.cpu_share + service.cpu_share * rate / service.rate),
        "memory_usage": service.memory,
    }


def _steep(rng: random.Random, per_minute: float, *, days: int, post: int) -> Situation:
    """Traffic that starts to change ten minutes before the deployment, as on each of `days` earlier days."""
    service = Service(rng, rate=log_uniform(rng, 30.0, 300.0), cpu=rng.uniform(0.15, 0.3))
    course: Courses = {"rate": lambda minute: service.rate * math.exp(per_minute * max(0.0, minute + 10.0))}
    after = math.fsum(course["rate"](float(i)) for i in range(post)) / post
    known = earlier_days(rng, days, _levels(service, service.rate), _levels(service, after)) if days else ()
    return deployed(service, pre=30, post=post, took=5.0, before=course, after=course, earlier_days=known)


@story("traffic falls 1.5–3.5 % a minute from shortly before, as every evening at this hour", OK, reported=True)
def evening_as_every_day(rng: random.Random) -> Situation:
    post = rng.choice((10, 15))
    return _steep(rng, -rng.uniform(0.015, 0.035), days=rng.randint(5, 14), post=post)


@story("traffic doubles in the morning, as every day", OK, reported=True)
def morning_as_every_day(rng: random.Random) -> Situation:
    return _steep(rng, math.log(2.0) / 20.0, days=rng.randint(5, 14), post=rng.choice((5, 10)))


@story("traffic doubles in the morning; no earlier day is known", OK)
def morning_without_earlier_days(rng: random.Random) -> Situation:
    return _steep(rng, math.log(2.0) / 20.0, days=0, post=rng.choice((5, 10)))


@story("closing time: from 120 to 6–12 rps within the deployment, as every day", OK, NOT_CONCLUSIVE)
def closing_time(rng: random.Random) -> Situation:
    service, left = Service(rng, rate=120.0), rng.uniform(6.0, 12.0)
    known = earlier_days(rng, rng.randint(5, 14), _levels(service, 120.0), _levels(service, left))
    return deployed(service, pre=30, took=8.0, after={"rate": flat(left)}, earlier_days=known)


@story("weekend: the earlier days are three times as busy, and as even as today", OK)
def weekend_against_weekdays(rng: random.Random) -> Situation:
    service = Service(rng)
    busy = _levels(service, 3.0 * service.rate)
    return deployed(service, pre=rng.choice((6, 15, 30)), earlier_days=earlier_days(rng, 5, busy, busy))


@story("traffic falls by 45–70 % with the deployment; on earlier days it never did", WARNING)
def earlier_days_knew_no_loss(rng: random.Random) -> Situation:
    service = Service(rng)
    same = _levels(service, service.rate)
    lost = {"rate": flat(service.rate * rng.uniform(0.3, 0.55)), "cpu": flat(service.cpu)}
    return deployed(service, pre=rng.choice((15, 30)), after=lost, earlier_days=earlier_days(rng, 7, same, same))


@story("traffic falls by 40 %; earlier days rose or fell at random", OK, WARNING)
def earlier_days_without_a_pattern(rng: random.Random) -> Situation:
    service = Service(rng)
    same = _levels(service, service.rate)
    days = earlier_days(rng, 7, same, same, scatter=0.5)
    return deployed(service, pre=15, after={"rate": flat(0.6 * service.rate)}, earlier_days=days)


@story("nothing arrives any more; earlier days fell by half at this hour", ROLLBACK)
def evening_excuses_no_outage(rng: random.Random) -> Situation:
    service = Service(rng, rate=log_uniform(rng, 20.0, 300.0))
    days = earlier_days(rng, 7, _levels(service, service.rate), _levels(service, service.rate / 2))
    return deployed(service, pre=30, after={"rate": flat(0.0)}, earlier_days=days)


@story("the nightly batch starts in the window: cpu +0.3, p95 ×1.2, as every night", OK, WARNING)
def nightly_batch(rng: random.Random) -> Situation:
    service = Service(rng, cpu=0.2)
    batch = {"cpu": until(2.0, service.cpu, 0.5), "latency": until(2.0, service.latency, 1.2 * service.latency)}
    before = _levels(service, service.rate)
    after = before | {"cpu_usage": 0.44, "latency_p95": 1.15 * service.latency}
    return deployed(service, pre=15, post=10, after=batch, earlier_days=earlier_days(rng, 7, before, after))


# --- traffic that is elsewhere --------------------------------------------------------------------------------------


def _spread(rng: random.Random, factor: float, *, onset: float = 0.0, level: float | None = None) -> Situation:
    """Each answer is of one process: its traffic and cpu change by the same factor, nothing else does."""
    service = Service(rng) if level is None else Service(rng, cpu=level)
    return deployed(
        service,
        after={
            "rate": until(onset, service.rate, service.rate * factor),
            "cpu": until(onset, service.cpu, service.cpu * factor),
            "latency": flat(service.latency),
        },
    )


@story(
    "replicas doubled: rps and cpu of the answering process halve together",
    OK,
    WARNING,
    demands=(SCALING,),
    reported=True,
)
def replicas_doubled(rng: random.Random) -> Situation:
    return _spread(rng, 0.5)


@story("workers 4 → 8, each answer of one of them", OK, WARNING, demands=(SCALING,), reported=True)
def workers_doubled(rng: random.Random) -> Situation:
    service = Service(rng, rate=rng.uniform(4.0, 40.0), cpu=rng.uniform(0.25, 0.7))
    uneven = {"rate": lambda m: service.rate * rng.uniform(0.42, 0.58), "latency": flat(service.latency)}
    return deployed(service, after={**uneven, "cpu": flat(service.cpu / 2)})


@story("replicas 2 → 6 or 4 → 6", OK, WARNING, demands=(SCALING,))
def replicas_added(rng: random.Random) -> Situation:
    return _spread(rng, rng.choice((1 / 3, 2 / 3)))


@story("the autoscaler adds replicas in mid-window", OK, WARNING, demands=(SCALING,))
def autoscaler_in_mid_window(rng: random.Random) -> Situation:
    return _spread(rng, 0.5, onset=2.0)


@story("replicas 6 → 3: rps and cpu of each double", OK, WARNING)
def replicas_halved(rng: random.Random) -> Situation:
    return _spread(rng, 2.0, level=rng.uniform(0.15, 0.35))


@story("traffic halves at the same cpu", WARNING, demands=(never_says(r"looks like scaling"),))
def half_the_traffic_lost(rng: random.Random) -> Situation:
    service = Service(rng)
    return deployed(service, after={"rate": flat(service.rate * rng.uniform(0.3, 0.55)), "cpu": flat(service.cpu)})


@story("traffic and cpu halve, and 8–20 % of the rest fails", ROLLBACK)
def half_lost_and_failing(rng: random.Random) -> Situation:
    service = Service(rng)
    half = {"rate": flat(service.rate / 2), "cpu": flat(service.cpu / 2), "errors": flat(rng.uniform(0.08, 0.2))}
    return deployed(service, after=half)


@story("a cache in front: 60 % fewer requests, cpu with them, p95 ×1.15", OK, WARNING)
def cache_in_front(rng: random.Random) -> Situation:
    service = Service(rng)
    left = {"rate": flat(0.4 * service.rate), "latency": flat(1.15 * service.latency)}
    return deployed(service, after=left)


@story("30 % errors and their retries stop: 40–60 % fewer requests", OK, WARNING, demands=(NO_RISE, not_unhealthy))
def retries_stop(rng: random.Random) -> Situation:
    service = Service(rng)
    left = {"rate": flat(service.rate * rng.uniform(0.4, 0.6)), "errors": flat(0.001)}
    return deployed(service, pre=rng.choice((6, 15, 30)), before={"errors": flat(0.3)}, after=left)


@story("a batch that ended: traffic and cpu back to a third", OK, WARNING)
def batch_ended(rng: random.Random) -> Situation:
    service = Service(rng, cpu=rng.uniform(0.2, 0.3))
    busy = {"rate": flat(3.0 * service.rate), "cpu": flat(3.0 * service.cpu)}
    return deployed(service, pre=rng.choice((6, 15, 30)), before=busy)


@story("a load test ran until ten minutes before: PRE saw five times the traffic, then the usual", OK, WARNING)
def load_test_before(rng: random.Random) -> Situation:
    service = Service(rng, cpu=rng.uniform(0.12, 0.18))
    tested = {"rate": until(-10.0, 5.0 * service.rate, service.rate), "cpu": until(-10.0, 0.7, service.cpu)}
    return deployed(service, pre=30, took=2.0, before=tested)


@story("a feature switched off: 35–55 % fewer requests, the rest as before", OK, WARNING)
def feature_switched_off(rng: random.Random) -> Situation:
    service = Service(rng)
    return deployed(service, after={"rate": flat(service.rate * rng.uniform(0.45, 0.65))})


# --- nothing to judge by --------------------------------------------------------------------------------------------


@story("no traffic before and after (night)", NOT_CONCLUSIVE, demands=(not_exercised,), reported=True)
def no_traffic_at_night(rng: random.Random) -> Situation:
    return deployed(Service(rng, rate=0.0))


@story("PRE idle (a request now and then), nothing after", NOT_CONCLUSIVE, demands=(not_exercised,), reported=True)
def idle_then_nothing(rng: random.Random) -> Situation:
    return deployed(Service(rng, rate=rng.uniform(0.005, 0.02)), after={"rate": flat(0.0)})


@story("PRE busy but 6–12 hours old, nothing after", NOT_CONCLUSIVE, demands=(not_exercised,), reported=True)
def old_then_nothing(rng: random.Random) -> Situation:
    return deployed(Service(rng), age=60.0 * rng.uniform(6.0, 12.0), took=3.0, after={"rate": flat(0.0)})


@story("PRE fresh and busy, nothing after", ROLLBACK, reported=True)
def busy_then_nothing(rng: random.Random) -> Situation:
    return deployed(Service(rng), after={"rate": flat(0.0)})


@story("PRE fresh and busy, only health checks after (0.1–0.2 rps)", ROLLBACK)
def only_health_checks_left(rng: random.Random) -> Situation:
    service = Service(rng, rate=log_uniform(rng, 20.0, 300.0))
    return deployed(service, after={"rate": flat(rng.uniform(0.1, 0.2)), "latency": flat(3.0)})


@story("health checks only, before and after (0.1–0.2 rps)", OK, NOT_CONCLUSIVE)
def health_checks_only(rng: random.Random) -> Situation:
    return deployed(Service(rng, rate=rng.uniform(0.1, 0.2), latency=4.0, errors=0.0))


@story("nothing before (deployed at night), 20 rps in the morning", OK, NOT_CONCLUSIVE)
def first_traffic_after(rng: random.Random) -> Situation:
    return deployed(Service(rng, rate=20.0), before={"rate": flat(0.0), "cpu": flat(0.02)})


@story(
    "blue/green: PRE of the busy pool, POST of the new one, which has no traffic yet", ROLLBACK, NOT_CONCLUSIVE, WARNING
)
def new_pool_without_traffic(rng: random.Random) -> Situation:
    service = Service(rng)
    empty = {"rate": flat(0.0), "cpu": flat(0.02), "memory": flat(0.5 * service.memory)}
    return deployed(service, took=rng.uniform(5.0, 20.0), after=empty)


def _unmeasured(situation: Situation, *metrics: str, after: bool = True) -> Situation:
    """Return the situation with metrics that are constantly 0, in POST only if `after`."""

    zeros: dict[str, Any] = dict.fromkeys(metrics, 0.0)

    def without(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        return tuple(replace(sample, **zeros) for sample in samples)

    return replace(situation, pre=without(situation.pre), post=without(situation.post) if after else situation.post)


@story("cpu and memory constantly 0, everything else as before", OK, reported=True)
def unmeasured_metrics(rng: random.Random) -> Situation:
    return _unmeasured(deployed(Service(rng)), "cpu_usage", "memory_usage")


@story("cpu and memory were constantly 0; the new version measures them", OK)
def metrics_measured_since(rng: random.Random) -> Situation:
    return _unmeasured(deployed(Service(rng)), "cpu_usage", "memory_usage", after=False)


@story("p95 was null in every sample; the new version measures it", OK)
def latency_measured_since(rng: random.Random) -> Situation:
    situation = deployed(Service(rng))
    return replace(situation, pre=tuple(replace(sample, latency_p95=None) for sample in situation.pre))


@story("consumer without HTTP: rps 0, cpu .40 → .01", NOT_CONCLUSIVE, WARNING, reported=True)
def consumer_stops(rng: random.Random) -> Situation:
    return deployed(Service(rng, rate=0.0, cpu=0.4), after={"cpu": flat(0.01)})


@story("consumer without HTTP, as before", NOT_CONCLUSIVE)
def consumer_as_before(rng: random.Random) -> Situation:
    return deployed(Service(rng, rate=0.0, cpu=rng.uniform(0.2, 0.6)))


@story("consumer without HTTP: its memory fills up", ROLLBACK)
def consumer_memory_fills(rng: random.Random) -> Situation:
    service = Service(rng, rate=0.0, memory=0.6, memory_scatter=0.003)
    return deployed(service, post=10, after={"memory": lambda minute: min(1.0, 0.6 + 0.05 * minute)})


def _erring_idle(situation: Situation, errors: float) -> Situation:
    post = tuple(replace(sample, error_rate=errors) for sample in situation.post)
    return replace(situation, post=post)


@story(
    "error_rate 0 → 1 at rps 0",
    NOT_CONCLUSIVE,
    demands=(nothing_found_in("error_rate"), never_says(r"\b[1-9]\d* of about")),
    reported=True,
)
def errors_without_requests(rng: random.Random) -> Situation:
    return _erring_idle(deployed(Service(rng, rate=0.0)), 1.0)


@story("error_rate 0.5 at rps 0 after a night's 0.01 rps", NOT_CONCLUSIVE, demands=(nothing_found_in("error_rate"),))
def half_errors_without_requests(rng: random.Random) -> Situation:
    return _erring_idle(deployed(Service(rng, rate=0.01), after={"rate": flat(0.0)}), 0.5)


# --- too good to be true --------------------------------------------------------------------------------------------


@story(
    "every request answered 404/401 (no error): p95 120 → 3 ms, cpu .35 → .05 at equal rps",
    WARNING,
    demands=(TOO_GOOD, no_hint("latency_improved"), not_healthy),
    reported=True,
)
def everything_refused(rng: random.Random) -> Situation:
    service = Service(rng, latency=120.0, cpu=0.35)
    return deployed(service, after={"latency": flat(3.0), "cpu": flat(0.05)})


@story(
    "everything redirected to the login: p95 ×0.03–0.06, cpu ×0.15–0.25",
    WARNING,
    demands=(TOO_GOOD, no_hint("latency_improved")),
)
def everything_redirected(rng: random.Random) -> Situation:
    service = Service(rng, latency=log_uniform(rng, 100.0, 800.0), cpu=rng.uniform(0.3, 0.6))
    quick = flat(service.latency * rng.uniform(0.03, 0.06))
    return deployed(service, after={"latency": quick, "cpu": flat(service.cpu * rng.uniform(0.15, 0.25))})


@story("a canary's 404s: a third of the answers, p95 ×0.9, cpu ×0.7", OK, WARNING)
def canary_not_found(rng: random.Random) -> Situation:
    service = Service(rng)
    return deployed(service, after={"latency": flat(0.9 * service.latency), "cpu": flat(0.7 * service.cpu)})


@story("a cache in the service: p95 ×0.5–0.7, cpu ×0.7", OK)
def cache_added(rng: random.Random) -> Situation:
    service = Service(rng)
    faster = flat(service.latency * rng.uniform(0.5, 0.7))
    return deployed(service, after={"latency": faster, "cpu": flat(0.7 * service.cpu)})


@story("an index added: p95 900 → 120–200 ms, cpu ×0.8", OK)
def index_added(rng: random.Random) -> Situation:
    service = Service(rng, latency=900.0)
    return deployed(service, after={"latency": flat(rng.uniform(120.0, 200.0)), "cpu": flat(0.8 * service.cpu)})


@story("gzip switched on: p95 ×0.85, cpu +0.06", OK)
def gzip_switched_on(rng: random.Random) -> Situation:
    service = Service(rng)
    return deployed(service, after={"latency": flat(0.85 * service.latency), "cpu": flat(service.cpu + 0.06)})


# --- the start ------------------------------------------------------------------------------------------------------


def _start(service: Service, metric: str, levels: list[float]) -> dict[str, Course]:
    """Return the first minutes of a metric; then its usual level."""
    return {metric: one_of([*levels, getattr(service, metric)])}


@story("503 in the first two of five samples, then healthy", OK, WARNING, reported=True)
def errors_at_the_start(rng: random.Random) -> Situation:
    service = Service(rng)
    return deployed(service, post=5, after=_start(service, "errors", [rng.uniform(0.8, 1.0) for _ in range(2)]))


@story("503 in the first two or three of ten samples, then healthy", OK, WARNING)
def errors_at_the_start_of_ten(rng: random.Random) -> Situation:
    service, bad = Service(rng), rng.choice((2, 3))
    return deployed(service, post=10, after=_start(service, "errors", [rng.uniform(0.5, 1.0)] * bad))


@story("no answer to the first two or three of ten collections, `warmup_samples` 3", OK, reported=True)
def warmup_covers_missing_answers(rng: random.Random) -> Situation:
    situation = refused(deployed(Service(rng), post=10), range(rng.choice((2, 3))))
    return replace(situation, policy=AdaptivePolicy(warmup_samples=3))


@story("503 in the first three of ten samples, `warmup_samples` 3", OK, WARNING)
def warmup_covers_errors(rng: random.Random) -> Situation:
    service = Service(rng)
    situation = deployed(service, post=10, after=_start(service, "errors", [rng.uniform(0.8, 1.0)] * 3))
    return replace(situation, policy=AdaptivePolicy(warmup_samples=3))


@story("no answer to the first two of five collections, then healthy", OK, WARNING, NOT_CONCLUSIVE)
def no_answer_at_the_start(rng: random.Random) -> Situation:
    return refused(deployed(Service(rng), post=5), range(2))


@story("cold caches: p95 ×8, ×4, ×1.8, ×1.2, then as before", OK, WARNING)
def cold_caches(rng: random.Random) -> Situation:
    service = Service(rng)
    return deployed(service, after=_start(service, "latency", [service.latency * f for f in (8.0, 4.0, 1.8, 1.2)]))


@story("a migration's locks: 20–40 % errors in minutes two and three of ten", OK, WARNING)
def migration_locks(rng: random.Random) -> Situation:
    service = Service(rng)
    locked = [service.errors, *(rng.uniform(0.2, 0.4) for _ in range(2))]
    return deployed(service, post=10, after=_start(service, "errors", locked))


@story("503 in every sample of ten", ROLLBACK, demands=(called_early,))
def errors_throughout(rng: random.Random) -> Situation:
    return deployed(Service(rng), post=10, after={"errors": flat(rng.uniform(0.8, 1.0))})


@story("503 from the third of five samples on", ROLLBACK)
def errors_at_the_end(rng: random.Random) -> Situation:
    service = Service(rng)
    return deployed(service, post=5, after={"errors": until(2.0, service.errors, rng.uniform(0.5, 1.0))})


@story("1–3 rps, no errors before, 50 % after", ROLLBACK)
def errors_at_low_volume(rng: random.Random) -> Situation:
    service = Service(rng, rate=rng.uniform(1.0, 3.0), errors=0.0)
    return deployed(service, after={"errors": flat(0.5)})


# --- the deployment before was bad ----------------------------------------------------------------------------------


def _after_a_bad_one(rng: random.Random, before: Courses, after: Courses, service: Service) -> Situation:
    return deployed(service, pre=rng.choice((1, 6, 15)), before=before, after=after, bad_predecessor=17)


@story("begins while a bad one (150 → 700 ms) is under observation, and changes nothing", NOT_CONCLUSIVE, reported=True)
def bad_predecessor(rng: random.Random) -> Situation:
    return _after_a_bad_one(rng, {}, {}, Service(rng, latency=700.0))


@story("begins while a bad one (8 % errors) is under observation, and changes nothing", NOT_CONCLUSIVE)
def bad_predecessor_with_errors(rng: random.Random) -> Situation:
    return _after_a_bad_one(rng, {}, {}, Service(rng, errors=0.08))


@story("begins while a bad one (700 ms) is under observation, and repairs it", OK, NOT_CONCLUSIVE)
def bad_predecessor_repaired(rng: random.Random) -> Situation:
    return _after_a_bad_one(rng, {"latency": flat(700.0)}, {}, Service(rng, latency=150.0))


@story(
    "begins while a bad one (5 % errors) is under observation, and fails every other request",
    ROLLBACK,
    NOT_CONCLUSIVE,
    WARNING,
)
def bad_predecessor_made_worse(rng: random.Random) -> Situation:
    return _after_a_bad_one(rng, {"errors": flat(0.05)}, {"errors": flat(0.5)}, Service(rng))


# --- noise, spikes and small counts ---------------------------------------------------------------------------------


def _with_thin_twin(situation: Situation) -> Situation:
    """Return the situation with a twin that has the last six PRE samples only."""
    return replace(situation, twin=replace(situation, pre=situation.pre[-6:]))


@story("p95 alternates 120/900, before steady 120: the same answer with PRE 6 and PRE 30", WARNING, reported=True)
def alternating_latency(rng: random.Random) -> Situation:
    service, first = Service(rng, latency=120.0), rng.choice((0, 1))
    alternating: Courses = {"latency": lambda minute: 900.0 if (int(minute) + first) % 2 else 120.0}
    return _with_thin_twin(deployed(service, pre=30, after=alternating))


@story("p95 alternates ×1 and ×3–5: the same answer with PRE 6 and PRE 30", WARNING, ROLLBACK)
def alternating_latency_otherwise(rng: random.Random) -> Situation:
    service, first = Service(rng), rng.choice((0, 1))
    high = service.latency * rng.uniform(3.0, 5.0) + 30.0
    alternating: Courses = {"latency": lambda minute: high if (int(minute) + first) % 2 else service.latency}
    return _with_thin_twin(deployed(service, pre=30, post=10, after=alternating))


@story("errors alternate 0 and 10–20 %: the same answer with PRE 6 and PRE 30", WARNING, ROLLBACK)
def alternating_errors(rng: random.Random) -> Situation:
    service, first, failing = Service(rng, errors=0.0), rng.choice((0, 1)), rng.uniform(0.1, 0.2)
    alternating: Courses = {"errors": lambda minute: failing if (int(minute) + first) % 2 else 0.0}
    return _with_thin_twin(deployed(service, pre=30, post=10, after=alternating))


def _few_errors(rng: random.Random, *, requests: int, errors: int, minutes: int, pre: int) -> Situation:
    """Exactly so many errors in so many requests, in different minutes after the warm-up; none before."""
    post = rng.choice((5, 10))
    service = Service(rng, rate=requests / post / 60.0, errors=0.0)
    situation = deployed(service, pre=pre, post=post)
    failing = rng.sample(range(2 if post >= 8 else 1, post), minutes)
    each = [0] * post
    for place in range(errors):
        each[failing[place % minutes]] += 1
    shares = [requests // post + (i < requests % post) for i in range(post)]
    samples = tuple(
        replace(sample, requests_per_sec=share / 60.0, error_rate=failed / share)
        for sample, share, failed in zip(situation.post, shares, each, strict=True)
    )
    return replace(situation, post=samples)


@story("18 samples without an error, then 3 errors in 140 requests in three minutes", WARNING, reported=True)
def few_errors_count(rng: random.Random) -> Situation:
    return _few_errors(rng, requests=140, errors=3, minutes=3, pre=18)


@story("20–30 samples without an error, then 4–5 errors in 200 requests in four minutes", WARNING)
def few_errors_count_otherwise(rng: random.Random) -> Situation:
    return _few_errors(rng, requests=200, errors=rng.choice((4, 5)), minutes=4, pre=rng.randint(20, 30))


@story("18 samples without an error, then one or two errors in 140 requests, in one minute", OK)
def one_error_counts_little(rng: random.Random) -> Situation:
    return _few_errors(rng, requests=140, errors=rng.choice((1, 2)), minutes=1, pre=18)


@story("p95 29 before; 31, 273, 2144, 873, 34 after (over again before the end)", WARNING, reported=True)
def spike_that_ended(rng: random.Random) -> Situation:
    service = Service(rng, latency=29.0)
    return deployed(service, post=5, after={"latency": one_of([31.0, 273.0, 2144.0, 873.0, 34.0])})


@story("p95 ×1, ×6, ×40, ×15, ×1 at 40–100 ms", WARNING, OK)
def spike_that_ended_otherwise(rng: random.Random) -> Situation:
    service = Service(rng, latency=rng.uniform(40.0, 100.0))
    return deployed(service, post=5, after={"latency": one_of([service.latency * f for f in (1, 6, 40, 15, 1)])})


@story("p95 ×10–30 in minutes four to six of ten, then as before", WARNING, OK, early=True)
def spike_in_mid_window(rng: random.Random) -> Situation:
    service = Service(rng)
    spike = [service.latency] * 3 + [service.latency * rng.uniform(10.0, 30.0) for _ in range(3)]
    return deployed(service, post=10, after=_start(service, "latency", spike))


@story("a cron job at the full hour: cpu +0.4 and p95 ×3 in one or two samples", OK, WARNING)
def cron_at_the_full_hour(rng: random.Random) -> Situation:
    service, at = Service(rng), rng.choice((1, 2))
    busy = [rng.choice((1, 3))] * at
    cpu = [service.cpu] * at + [min(1.0, service.cpu + 0.4)] * busy[0]
    slow = [service.latency] * at + [3.0 * service.latency] * busy[0]
    return deployed(service, after=_start(service, "cpu", cpu) | _start(service, "latency", slow))


@story(
    "memory scatters by 5 % around 38.5 %",
    OK,
    demands=(nothing_found_in("memory_usage"), never_says("full in")),
    reported=True,
)
def memory_noise(rng: random.Random) -> Situation:
    return deployed(Service(rng, memory=0.385, memory_scatter=0.05), pre=rng.choice((1, 6, 15, 30)))


@story("memory scatters by 2–8 % around 20–70 %, windows of 5 to 15", OK, demands=(nothing_found_in("memory_usage"),))
def memory_noise_otherwise(rng: random.Random) -> Situation:
    service = Service(rng, memory=rng.uniform(0.2, 0.7), memory_scatter=rng.uniform(0.02, 0.08))
    return deployed(service, post=rng.choice((5, 10, 15)))


@story("memory leaks 1.5–2.5 points a minute at ordinary noise", WARNING, ROLLBACK)
def memory_leaks(rng: random.Random) -> Situation:
    service, leak = Service(rng, memory=rng.uniform(0.3, 0.6), memory_scatter=0.01), rng.uniform(0.015, 0.025)
    return deployed(service, post=10, after={"memory": lambda minute: min(1.0, service.memory + leak * minute)})


@story("nothing changes", OK, demands=(not_unhealthy,))
def nothing_changes(rng: random.Random) -> Situation:
    return deployed(Service(rng), post=rng.choice((5, 10, 15)))


@story("nothing changes at 0.1–1 rps and up to 1 % errors", OK, NOT_CONCLUSIVE, demands=(not_unhealthy,))
def nothing_changes_at_low_volume(rng: random.Random) -> Situation:
    return deployed(Service(rng, rate=log_uniform(rng, 0.1, 1.0), errors=rng.uniform(0.0, 0.01)))


@story("nothing changes, PRE 6–12 hours old", OK, NOT_CONCLUSIVE)
def nothing_changes_since_hours(rng: random.Random) -> Situation:
    return deployed(Service(rng), age=60.0 * rng.uniform(6.0, 12.0), took=3.0)
