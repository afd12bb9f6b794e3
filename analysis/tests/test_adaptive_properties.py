"""Properties that hold for any samples."""

import json
import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from statistics import median

from hypothesis import given, settings
from hypothesis import strategies as st

import analysis.texts  # noqa: F401  (registers the sentences)
from analysis.judge import judge
from analysis.judge.adaptive import judge_adaptive, judge_early
from analysis.judge.hints import hints
from analysis.judge.types import (
    METRICS,
    OK,
    ROLLBACK,
    VERDICTS,
    WARNING,
    Check,
    Hint,
    Miss,
    Sample,
    Verdict,
    Window,
    values_of,
)
from analysis.recorded import hint_columns, read_recorded, verdict_json
from analysis.tests.adaptive_samples import NOON, judged, make_pre, make_series, make_window
from analysis.texts.hints import facts_of
from explain.rendering import render
from projects.policy import AdaptivePolicy

finite = st.floats(min_value=0.0, max_value=1.7e308, allow_nan=False, allow_infinity=False)
ratio = st.floats(min_value=0.0, max_value=1.0)
seconds = st.integers(min_value=-(10**6), max_value=10**6)
samples = st.lists(
    st.builds(
        lambda at, rate, latency, ratios, origin: Sample(NOON + timedelta(seconds=at), rate, latency, *ratios, origin),
        seconds,
        finite,
        finite,
        st.tuples(ratio, ratio, ratio),
        st.sampled_from(["pre", "baseline", "history", "post"]),
    ),
    max_size=12,
)
reasons = ("timeout", "refused", "http_5xx", "http_4xx", "expired", "cancelled", "unauthorized", "other", "unheard_of")
misses = st.lists(
    st.builds(Miss, st.none(), st.sampled_from(reasons), st.sampled_from(["pre", "post"]), st.integers(0, 20)),
    max_size=6,
)
ORDER = {OK: 0, WARNING: 1, ROLLBACK: 2}
# Of each property: some thousand were tried when it was written.
EXAMPLES = 80


@given(pre=samples, post=samples, missed=misses, expected=st.integers(0, 20), final=st.booleans())
@settings(max_examples=300)
def test_any_finite_samples_get_a_verdict(
    pre: list[Sample], post: list[Sample], missed: list[Miss], expected: int, final: bool
) -> None:
    window = Window(expected=expected, misses=tuple(missed), final=final, evaluated_at=NOON)
    verdict = judge_adaptive(pre, post, AdaptivePolicy(), window)
    assert verdict.verdict in VERDICTS
    assert 0.0 <= verdict.confidence <= 1.0
    assert 0.0 <= verdict.score <= 1.0
    assert verdict.conclusive or verdict.verdict != OK
    # Whatever was found can be stored, and reads back as it was.
    stored = json.loads(json.dumps({**verdict_json(verdict), "policy": verdict.policy}, allow_nan=False))
    assert stored["summary"]
    assert all(check["sentence"] for check in stored["checks"])
    assert read_recorded(stored).verdict == verdict
    json.dumps([hint_columns(hint) for hint in hints(verdict, pre, post, window)], allow_nan=False)
    for check in verdict.checks:
        for number in (check.observed, check.baseline, check.spread, check.limit, check.share, check.margin):
            assert number is None or math.isfinite(number)
    early = judge_early(pre, post, AdaptivePolicy(), window)
    assert early is None or (early.verdict == ROLLBACK and early.early)


@given(factor=st.floats(min_value=0.2, max_value=20.0), seed=st.integers(0, 200))
@settings(max_examples=60)
def test_a_level_common_to_both_sides_is_never_a_rollback(factor: float, seed: int) -> None:
    pre, post = make_pre(seed=seed), make_series(10, seed=seed)
    scaled = [[replace(s, latency_p95=s.latency * factor) for s in side] for side in (pre, post)]
    assert judged(*scaled).verdict != ROLLBACK


@given(seed=st.integers(0, 500), count=st.integers(1, 15))
@settings(max_examples=60)
def test_without_pre_an_ok_is_less_confident(seed: int, count: int) -> None:
    first, known = judged([], make_series(count, seed=seed)), judged(make_pre(), make_series(count, seed=seed))
    assert first.verdict != OK or known.verdict != OK or first.confidence <= known.confidence


@given(
    seed=st.integers(0, 300),
    low=st.floats(min_value=0.0, max_value=0.9),
    more=st.floats(min_value=0.0, max_value=0.9),
    count=st.sampled_from([5, 10, 15]),
)
@settings(max_examples=100)
def test_more_errors_never_lower_the_verdict(seed: int, low: float, more: float, count: int) -> None:
    pre = make_pre(seed=seed)
    fewer = judged(pre, make_series(count, seed=seed, noisy=False, error_rate=low), window=make_window(count))
    high = min(1.0, low + more)
    worse = judged(pre, make_series(count, seed=seed, noisy=False, error_rate=high), window=make_window(count))
    assert ORDER[worse.verdict] >= ORDER[fewer.verdict]
    assert worse.score >= fewer.score - 1e-9


# --- what holds for any service, whatever the deployment did ---------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """Levels of a service: requests per second, ms (None: not timed), ratios. noise: of single samples, relative."""

    rate: float
    latency: float | None
    errors: float
    cpu: float
    memory: float
    noise: float
    seed: int

    def samples(self, count: int, *, first: int, **factors: float) -> list[Sample]:
        """`count` samples a minute apart from minute `first` after noon; factors: on the levels, by name."""
        rng = random.Random(f"{self.seed}/{first}")

        def value(name: str, level: float, most: float = math.inf) -> float:
            noise = math.exp(self.noise * max(-2.5, min(2.5, rng.gauss(0.0, 1.0)))) if self.noise else 1.0
            return min(most, level * factors.get(name, 1.0) * noise)

        return [
            Sample(
                NOON + timedelta(minutes=first + i),
                value("rate", self.rate),
                None if self.latency is None else value("latency", self.latency),
                value("errors", self.errors, 1.0),
                value("cpu", self.cpu, 1.0),
                value("memory", self.memory, 1.0),
                origin="baseline" if first < 0 else "post",
            )
            for i in range(count)
        ]


@dataclass(frozen=True)
class Deployment:
    """Samples around a deployment, and what people see of its verdict."""

    pre: list[Sample]
    post: list[Sample]

    @property
    def window(self) -> Window:
        return make_window(len(self.post), finished_at=NOON)

    @cached_property
    def verdict(self) -> Verdict:
        return judge(self.pre, self.post, AdaptivePolicy(), self.window)

    @cached_property
    def hints(self) -> list[Hint]:
        return hints(self.verdict, self.pre, self.post, self.window)

    @property
    def found(self) -> list[str]:
        """The findings, without "too good to be true"."""
        return [f"{c.rule}: {render(c.fact)}" for c in self.verdict.checks if c.failed and not is_too_good(c)]

    @property
    def sentences(self) -> list[str]:
        facts = [self.verdict.summary, *(check.fact for check in self.verdict.checks)]
        for hint in self.hints:
            words = facts_of(hint.text_key, hint.params, evidence=hint.evidence, roll_back=hint.roll_back)
            facts += [words.title, words.cause, words.impact, *words.actions, *words.evidence]
        return [render(fact) for fact in facts]


def is_too_good(check: Check) -> bool:
    return "too_good" in f"{check.rule} {check.code}"


def at_minute(sample: Sample, minute: int) -> Sample:
    return replace(sample, collected_at=NOON + timedelta(minutes=minute), origin="post")


def decades(low: float, high: float) -> st.SearchStrategy[float]:
    """Values between two bounds, each order of magnitude as often."""
    return st.floats(math.log(low), math.log(high)).map(math.exp)


services = st.builds(
    Service,
    rate=st.just(0.0) | decades(0.1, 1000.0),
    latency=st.none() | st.just(0.0) | decades(1.0, 5000.0),
    errors=st.sampled_from([0.0, 1.0]) | decades(0.0005, 1.0),
    cpu=st.just(0.0) | st.floats(0.01, 1.0),
    memory=st.just(0.0) | st.floats(0.05, 0.97),
    noise=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    seed=st.integers(0, 10**6),
)
counts_before = st.integers(1, 30)
windows = st.integers(5, 15)
changes = st.fixed_dictionaries(
    {},
    optional={
        "rate": decades(0.05, 5.0),
        "latency": decades(0.1, 10.0),
        "errors": decades(0.1, 100.0),
        "cpu": decades(0.1, 3.0),
        "memory": decades(0.5, 2.0),
    },
)


@st.composite
def changed(draw: st.DrawFn) -> Deployment:
    """A deployment that may have changed anything."""
    service, count = draw(services), draw(counts_before)
    return Deployment(
        service.samples(count, first=-count - 1), service.samples(draw(windows), first=0, **draw(changes))
    )


@given(service=services, count=windows)
@settings(max_examples=EXAMPLES)
def test_the_same_samples_before_and_after_give_no_finding(service: Service, count: int) -> None:
    pre = service.samples(count, first=-count - 1)
    assert Deployment(pre, [at_minute(sample, minute) for minute, sample in enumerate(pre)]).found == []


@given(service=services, count=counts_before, after=windows)
@settings(max_examples=EXAMPLES)
def test_constant_levels_give_no_finding_however_few_samples_show_them(
    service: Service, count: int, after: int
) -> None:
    even = replace(service, noise=0.0)
    assert Deployment(even.samples(count, first=-count - 1), even.samples(after, first=0)).found == []


@given(
    service=services,
    count=counts_before,
    after=windows,
    busier=st.floats(1.0, 3.0),
    better=st.tuples(*[st.floats(0.02, 1.0)] * 4),
)
@settings(max_examples=EXAMPLES)
def test_a_service_that_is_better_in_every_metric_gives_no_finding_but_too_good(
    service: Service, count: int, after: int, busier: float, better: tuple[float, float, float, float]
) -> None:
    pre, rng = service.samples(count, first=-count - 1), random.Random(service.seed)
    fastest = min((sample.latency for sample in pre if sample.latency), default=None)

    def below(level: float, factor: float) -> float:
        return level * factor * (rng.uniform(0.9, 1.0) if service.noise else 1.0)

    post = [
        Sample(
            NOON + timedelta(minutes=minute),
            max(values_of(pre, "requests_per_sec")) * busier,
            None if fastest is None else below(fastest, better[0]),
            below(min(values_of(pre, "error_rate")), better[1]),
            below(min(values_of(pre, "cpu_usage")), better[2]),
            below(min(values_of(pre, "memory_usage")), better[3]),
        )
        for minute in range(after)
    ]
    assert Deployment(pre, post).found == []


NUMBER = r"(\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*(ms|s|%|)"
RISES, FALLS = ("rose", "grew", "climbed"), ("fell", "dropped", "improved")
MOVED = re.compile(rf"\b({'|'.join((*RISES, *FALLS))}) from {NUMBER} to {NUMBER}(?![\w/])")


def moves(sentence: str) -> Iterator[tuple[str, float, float]]:
    """Yield each verb of movement with the two numbers printed with it, in the same unit."""
    for verb, before, before_unit, after, after_unit in MOVED.findall(sentence):
        first, second = (float(number.replace(",", "")) for number in (before, after))
        yield verb, first * (1000 if before_unit == "s" else 1), second * (1000 if after_unit == "s" else 1)


def test_the_numbers_of_a_sentence_are_found() -> None:
    assert list(moves("p95 rose from 1,480 ms to 21.2 s (×8.6); cpu fell from 40 % to 40 % at ×1.00 of the load")) == [
        ("rose", 1480.0, 21200.0),
        ("fell", 40.0, 40.0),
    ]


@given(deployment=changed())
@settings(max_examples=EXAMPLES)
def test_nothing_rose_or_fell_unless_the_printed_numbers_did(deployment: Deployment) -> None:
    for sentence in deployment.sentences:
        for verb, before, after in moves(sentence):
            assert after > before if verb in RISES else after < before, sentence


@given(deployment=changed())
@settings(max_examples=EXAMPLES)
def test_a_limit_is_never_on_the_wrong_side_of_the_level_before(deployment: Deployment) -> None:
    for check in deployment.verdict.checks:
        if check.limit is not None and check.baseline is not None:
            floor = (check.metric == "requests_per_sec") != is_too_good(check)
            assert check.limit <= check.baseline if floor else check.limit >= check.baseline, render(check.fact)


@given(deployment=changed())
@settings(max_examples=EXAMPLES)
def test_a_passed_check_tolerates_the_samples_beyond_its_limit_or_says_why(deployment: Deployment) -> None:
    for check in deployment.verdict.checks:
        if check.outcome == "ok" and check.share is not None:
            says_why = '"why"' in json.dumps(check.fact.to_json())
            assert check.share <= (check.tolerance or 0.0) + 1e-9 or says_why, render(check.fact)


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other


@given(deployment=changed())
@settings(max_examples=EXAMPLES)
def test_sentence_hint_and_check_name_the_same_levels(deployment: Deployment) -> None:
    checks = deployment.verdict.checks
    for check in checks:
        # Where other traffic was expected than before, its sentence names both.
        if check.metric != "requests_per_sec":
            levels = {"before": check.baseline, "after": check.observed}
            assert all(same(check.params[name], level) for name, level in levels.items() if name in check.params)
    for hint in deployment.hints:
        for metric, numbers in hint.numbers.items():
            if metric in METRICS:
                assert any(
                    same(numbers.get("observed", check.observed), check.observed)
                    and same(numbers.get("baseline", numbers.get("before", check.baseline)), check.baseline)
                    for check in checks
                    if check.metric == metric
                ), hint.code


@given(deployment=changed(), seed=st.integers(0, 1000), at_once=st.booleans())
@settings(max_examples=EXAMPLES)
def test_the_order_of_any_samples_makes_no_difference(deployment: Deployment, seed: int, at_once: bool) -> None:
    pre, post, rng = deployment.pre[:], deployment.post[:], random.Random(seed)
    if at_once:  # two different samples of one second
        pre.append(replace(pre[0], cpu_usage=0.5))
        post.append(replace(post[0], cpu_usage=0.5))
    first = Deployment(pre[:], post[:])
    rng.shuffle(pre)
    rng.shuffle(post)
    second = Deployment(pre, post)
    assert second.verdict == first.verdict
    assert second.hints == first.hints


@given(deployment=changed(), more=st.integers(1, 5))
@settings(max_examples=EXAMPLES)
def test_more_samples_at_the_level_before_never_make_a_verdict_worse(deployment: Deployment, more: int) -> None:
    pre, post = deployment.pre, deployment.post
    timed = [sample.latency_p95 for sample in pre if sample.latency_p95 is not None]
    usual = Sample(
        NOON,
        median(values_of(pre, "requests_per_sec")),
        median(timed) if timed else None,
        median(values_of(pre, "error_rate")),
        median(values_of(pre, "cpu_usage")),
        median(values_of(pre, "memory_usage")),
    )
    longer = Deployment(pre, [*post, *(at_minute(usual, len(post) + i) for i in range(more))])
    assert ORDER[longer.verdict.verdict] <= ORDER[deployment.verdict.verdict], longer.sentences[0]
