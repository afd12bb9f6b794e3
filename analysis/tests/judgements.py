"""Verdicts and hints of many kinds, which between them use every text of the judge."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import islice, product
from typing import Any

from analysis.judge import judge, judge_early
from analysis.judge.hints import hints
from analysis.judge.types import (
    EXPECTATION,
    METRICS,
    Alert,
    Check,
    EarlierDay,
    Expectation,
    Hint,
    Miss,
    Sample,
    Verdict,
    Window,
)
from analysis.tests import adaptive_samples
from analysis.tests.samples import FINISH, make_miss, make_post, make_pre, make_sample, make_window
from analysis.texts.metrics import REASONS
from explain.facts import Fact
from projects.policy import policy_from_dict

PER_CENT = Fact(
    "failed_and_answered",
    {
        "failure": Fact(
            "invalid_payload",
            {
                "url": "http://shop.example/m",
                "problem": Fact(
                    "metric_looks_like_percent",
                    {"name": "cpu_usage", "number": 35.0, "field": "metrics.cpu_usage", "allowed": "ratio"},
                ),
            },
        ),
        "text": '{"metrics": {"cpu_usage": 35.0}}',
    },
)
POLICIES: list[dict[str, Any]] = [
    {},
    {"sensitivity": "high"},
    {"limits": {"latency_p95": 200.0, "requests_per_sec": 30.0, "error_rate": 0.01}},
    {"left_out": ["requests_per_sec", "error_rate", "cpu_usage", "memory_usage"]},
    {"kind": "fixed"},
    {"kind": "fixed", "critical_metrics": ["latency_p95", "cpu_usage", "memory_usage"]},
]
LEVELS: list[dict[str, Any]] = [
    {},
    {"error_rate": 0.2},
    {"error_rate": 0.02},
    {"error_rate": [0.2, 0, 0, 0.1, 0]},
    {"error_rate": [0.2, 0, 0, 0, 0]},
    {"error_rate": [0, 0, 0, 0.9, 0.9]},
    {"latency_p95": 60.0},
    {"latency_p95": 135.0},
    {"latency_p95": 240.0},
    {"latency_p95": 15_000.0},
    {"latency_p95": [100, 100, 100, 100, 900]},
    {"requests_per_sec": 9.0},
    {"requests_per_sec": 0.2},
    {"requests_per_sec": 0.0},
    {"requests_per_sec": [50, 50, 9, 9, 9]},
    {"cpu_usage": 0.95},
    {"memory_usage": 0.72},
    {"memory_usage": 0.75},
    {"memory_usage": 0.85},
    {"memory_usage": 0.99},
    {"memory_usage": [0.5, 0.54, 0.58, 0.62, 0.66]},
    {"error_rate": 0.2, "latency_p95": 900.0},
    {"error_rate": 0.02, "latency_p95": 260.0},
    {"cpu_usage": 0.95, "latency_p95": 900.0},
    {"error_rate": 0.2, "requests_per_sec": 9.0},
]


def judgements(*, step: int = 1) -> Iterator[tuple[Verdict, list[Hint]]]:
    """Every kind of verdict: those of every `step`-th case of samples, and those that only another judge would give."""
    yield from judgements_of_samples(step)
    yield from by_another_judge()


def judgements_of_samples(step: int = 1) -> Iterator[tuple[Verdict, list[Hint]]]:
    """Every kind of samples under every kind of policy."""
    for (pre, post, window), policy in islice(product(situations(), POLICIES), 0, None, step):
        read = policy_from_dict(policy)
        for verdict in (judge(pre, post, read, window), judge_early(pre, post, read, replace(window, final=False))):
            if verdict is not None:
                yield verdict, hints(verdict, pre, post, window)
    yield from of_custom_metrics()
    yield from of_journeys()
    yield from with_alerts()


def situations() -> Iterator[tuple[list[Sample], list[Sample], Window]]:
    """Samples before, samples after, and what was planned."""
    for levels, count in product(LEVELS, (1, 15)):
        yield make_pre(count), make_post(5, **levels), make_window()
    for levels in LEVELS:
        yield [], make_post(5, **levels), make_window()
        yield make_pre(15), make_post(2, **levels), make_window(expected=10)
        yield [replace(one, origin="history") for one in make_pre(8)], make_post(5, **levels), make_window()
    for count, lost in product((0, 1, 2, 4), REASONS):
        misses = tuple(make_miss(index, lost) for index in range(count, 5))
        yield make_pre(15), make_post(count), make_window(misses=misses)
    for count in (0, 1, 2, 4):
        yield make_pre(15), make_post(count), make_window(evaluated_at=FINISH + timedelta(minutes=10), expected=10)
    yield from odd_ones()
    yield from partly_measured()
    for expected in (5, 6):
        # One of them may be missing for another reason.
        refused = tuple(make_miss(index, "invalid_payload", detail=PER_CENT) for index in range(5))
        other = (make_miss(5, "timeout"),) if expected == 6 else ()
        yield [], [], make_window(expected=expected, misses=(*refused, *other))
    # Refused everything; stopped working; more processes; never answered; seconds for milliseconds.
    yield make_pre(15, cpu_usage=0.4), make_post(5, latency_p95=3.0, cpu_usage=0.05), make_window()
    idle = {"requests_per_sec": 0.0, "latency_p95": 0.0}
    yield make_pre(15, cpu_usage=0.4, **idle), make_post(5, cpu_usage=0.01, **idle), make_window()
    yield make_pre(15, cpu_usage=0.4), make_post(5, requests_per_sec=25.0, cpu_usage=0.2), make_window()
    for detail in (None, Fact("reason_only", {"reason": "http_4xx"})):
        never = tuple(make_miss(index, "refused", detail=detail) for index in range(5))
        yield [], [], make_window(misses=never, endpoint_answered_before=False)
    yield make_pre(15, latency_p95=0.12), make_post(5, latency_p95=0.12), make_window()
    # Not measured before, after, or at all; beyond its limit and passed; rose, as numbers do not show.
    for before, after in ((0.0, 0.4), (0.4, 0.0), (0.0, 0.0)):
        yield make_pre(15, memory_usage=before), make_post(5, memory_usage=after), make_window()
    busy = {"requests_per_sec": 150.0, "latency_p95": 190.0, "cpu_usage": 0.75}
    yield make_pre(15, cpu_usage=0.3), make_post(5, **busy), make_window()
    yield make_pre(15), make_post(5, latency_p95=[120, 900, 900, 900, 120]), make_window()
    # Failing before as after.
    yield make_pre(30, error_rate=0.4), make_post(5, error_rate=0.4), make_window()
    yield make_pre(15), make_post(5), make_window(bad_predecessor=7)
    yield make_pre(15, error_rate=0.4), make_post(5, error_rate=0.4), make_window(bad_predecessor=7)
    # New traffic that fails; a history that shows the scatter; traffic that falls on other days as well.
    yield make_pre(15, **idle), make_post(5, error_rate=0.3), make_window()
    yield [*(replace(one, origin="history") for one in make_pre(8)), *make_pre(2)], make_post(5), make_window()
    days = tuple(EarlierDay(n, {"requests_per_sec": 50.0}, {"requests_per_sec": 25.0}) for n in range(1, 8))
    yield make_pre(15), make_post(5, requests_per_sec=5.0), make_window(earlier_days=days)
    yield make_pre(15), make_post(5, error_rate=[0.4, 0.4, 0.4, 0.0, 0.0]), make_window()
    # The early judge wants a minute's distance and a longer baseline.
    for error, latency, rate, memory in [(0.97, 1, 1, 1), (0.4, 1, 1, 1), (0.002, 20, 1, 1), (0.002, 1, 0.01, 1.98)]:
        pre = adaptive_samples.make_pre()
        post = adaptive_samples.make_series(
            3, error_rate=error, latency_p95=118.0 * latency, requests_per_sec=50.0 * rate, memory_usage=0.5 * memory
        )
        yield pre, post, adaptive_samples.make_window()


def partly_measured() -> Iterator[tuple[list[Sample], list[Sample], Window]]:
    """Samples of sources that do not know every metric."""
    for metric, count, level in product(METRICS, (1, 15), (None, 0.9)):
        changes: dict[str, Any] = {} if level is None else {"error_rate": level, "cpu_usage": level}
        pre, post = make_pre(count), make_post(5, **changes)
        nothing: dict[str, Any] = {metric: None}
        before, after = ([replace(one, **nothing) for one in side] for side in (pre, post))
        yield from ((one, other, make_window()) for one, other in ((before, after), (before, post), (pre, after)))
    for before_it, after_it in ((4, 6), (6, 3)):
        counted = ((make_pre(15), before_it), (make_post(), after_it))
        pre, post = ([replace(one, instances=count) for one in side] for side, count in counted)
        yield pre, post, make_window()
    for pre in (make_pre(15), []):
        yield pre, make_post(), make_window(control_before=tuple(make_pre(15)), control_after=tuple(make_post()))
    sides = {"control_before": tuple(make_pre(15)), "control_after": tuple(make_post())}
    slow = {**sides, "control_after": tuple(make_post(5, latency_p95=400.0))}
    yield make_pre(15), make_post(5, latency_p95=2400.0), make_window(has_control=True, **slow)
    for problem, group in product(
        (None, Fact("http_5xx", {"status": 503, "url": "http://old.example/m"})), ({}, sides)
    ):
        yield make_pre(15), make_post(), make_window(has_control=True, control_problem=problem, **group)
    idle: dict[str, Any] = dict.fromkeys(METRICS[:3])
    yield [replace(one, **idle) for one in make_pre(15)], [replace(one, **idle) for one in make_post()], make_window()


def odd_ones() -> Iterator[tuple[list[Sample], list[Sample], Window]]:
    """Samples whose times or number are wrong, and services that answer little."""
    late = make_window(evaluated_at=FINISH + timedelta(hours=5))
    yield make_pre(3), make_post(), late
    yield [make_sample(-7200, origin="pre")], make_post(), late
    yield [make_sample(90, origin="pre")], make_post(), make_window()
    yield [make_sample(10, origin="pre")], make_post(1), make_window(expected=1)
    yield make_pre(3), make_post(7)[2:], make_window(evaluated_at=FINISH + timedelta(seconds=400))
    yield make_pre(3), [make_sample(0), make_sample(200), make_sample(500)], late
    yield make_pre(), make_post(), make_window(evaluated_at=FINISH + timedelta(seconds=200))
    yield make_pre(3, requests_per_sec=0.1), make_post(requests_per_sec=0.1), make_window()
    yield make_pre(3, requests_per_sec=0.0, latency_p95=0.0), make_post(requests_per_sec=0.0), make_window()
    yield make_pre(1), make_post(1, error_rate=0.5), make_window(expected=1)
    before = Miss(FINISH - timedelta(minutes=3), "refused", "pre", 0)
    yield [], make_post(), make_window(misses=(before,))
    yield make_pre(15), make_post(3), make_window(misses=(before, make_miss(3, "refused"), make_miss(4, "timeout")))
    for reason, post in product(("refused", "http_4xx", "unheard_of"), (0, 2, 6)):
        misses = tuple(make_miss(index, reason) for index in range(post, 10))
        yield make_pre(15), make_post(post), make_window(expected=10, misses=misses)
    some = tuple(make_miss(index, "refused") for index in (2, 4, 7))
    kept = [one for index, one in enumerate(make_post(10)) if index not in (2, 4, 7)]
    yield make_pre(15), kept, make_window(expected=10, misses=some, evaluated_at=FINISH + timedelta(minutes=10))


CUSTOM_METRICS: list[dict[str, Any]] = [
    {"name": "checkouts_per_minute", "kind": "rate", "unit": "/min", "critical": True},
    {"name": "queue_backlog", "kind": "gauge", "smallest": 10.0},
    {"name": "failed_share", "kind": "ratio", "critical": True},
    {"name": "temperature", "direction": "either", "warning": {"absolute": 5}},
    {"name": "cache_hits", "kind": "ratio", "direction": "down_is_bad"},
]
CUSTOM_LEVELS: list[dict[str, float]] = [
    {},
    {"checkouts_per_minute": 3.0, "temperature": 30.0},
    {"checkouts_per_minute": 28.0, "cache_hits": 0.5},
    {"queue_backlog": 9.0},
    {"queue_backlog": 400.0, "failed_share": 0.4},
    {"failed_share": 0.04},
]


def of_custom_metrics() -> Iterator[tuple[Verdict, list[Hint]]]:
    """Verdicts on custom metrics: of a worker without requests, not measured, and without a level before."""
    usual = {"checkouts_per_minute": 42.0, "queue_backlog": 4.0, "failed_share": 0.01, "temperature": 50.0}

    def custom(samples: list[Sample], **levels: float) -> list[Sample]:
        nothing: dict[str, Any] = dict.fromkeys(METRICS[:3])
        return [replace(one, custom={**usual, **levels}, **nothing) for one in samples]

    for kind, levels in product(("adaptive", "fixed"), CUSTOM_LEVELS):
        policy = policy_from_dict({"kind": kind, "custom_metrics": CUSTOM_METRICS})
        for pre in ([], custom(make_pre(15), cache_hits=0.9)):
            post, window = custom(make_post(5), **levels), make_window()
            verdict = judge(pre, post, policy, window)
            yield verdict, hints(verdict, pre, post, window)


def of_journeys() -> Iterator[tuple[Verdict, list[Hint]]]:
    """Verdicts on journeys: what fails since, as before, by chance, without a sample before, of another release."""
    step = {"step": "POST /login"}
    expected = (
        Expectation("broken", "asked", "answered", Fact("expected.text", {**step, "text": "Welcome"})),
        Expectation("version", "asked", "answered", Fact("expected.version", step), after_only=True),
    )
    nothing: dict[str, Any] = dict.fromkeys(METRICS)

    def asked(samples: list[Sample], failed: int) -> list[Sample]:
        counts = {"asked": 5, "answered": 200, "broken": failed, "version": failed, "error_rate_asks": 5}
        return [
            replace(one, **{**nothing, "latency_p95": 90.0, "error_rate": failed / 5}, custom=counts) for one in samples
        ]

    def situations() -> Iterator[tuple[list[Sample], list[Sample], Window]]:
        for count, before, after in product((0, 15), (0, 5), (0, 1, 5)):
            yield asked(make_pre(count), before), asked(make_post(5), after), make_window()
        once = [sample for index, one in enumerate(make_post(5)) for sample in asked([one], int(index == 3))]
        yield asked(make_pre(15), 0), once, make_window()

    for kind, (pre, post, bare) in product(("adaptive", "fixed"), situations()):
        window = replace(bare, expectations=expected)
        verdict = judge(pre, post, policy_from_dict({"kind": kind}), window)
        yield verdict, hints(verdict, pre, post, window)


def with_alerts() -> Iterator[tuple[Verdict, list[Hint]]]:
    """Verdicts with alerts of others: that fire since the deployment, fired and ended, and fired before."""
    pre, post, window = make_pre(15), make_post(5), make_window()
    one, over = Alert("Checkout", "page", True, FINISH), FINISH + timedelta(minutes=2)
    for alert in (one, replace(one, critical=False, severity=""), replace(one, ended_at=over)):
        for before in (False, True):
            changed = replace(window, alerts=(replace(alert, before=before),))
            verdict = judge(pre, post, policy_from_dict({}), changed)
            yield verdict, hints(verdict, pre, post, changed)


def by_another_judge() -> Iterator[tuple[Verdict, list[Hint]]]:
    """A rollback for a reason that no hint is about; a broken journey without a rollback."""
    pre, post, window = make_pre(15), make_post(5, error_rate=0.3), make_window()
    verdict = judge(pre, post, policy_from_dict({}), window)
    unheard_of = [replace(check, metric="endpoint") for check in verdict.checks if check.outcome == "critical"]
    bare = Check(metric="memory_usage", rule="leak", outcome="critical", code="no_usable_sample")
    # Slower and busier than less traffic explains, though no slower or busier than before; what passed, and why.
    share = Fact("share_lost", {"share": 0.3})
    reasons = ("passed.scatter", "passed.over_again", "passed.single_samples")
    passed = [Fact("passed_because", {"line": share, "why": Fact(reason)}) for reason in reasons]
    slow = Check("latency_p95", "latency_above_own_level", "ok", "latency_beyond_load", {}, 100.0, 100.0)
    levels = Fact("cpu_levels", {"before": 0.4, "after": 0.4})
    busy = Check(
        "cpu_usage", "cpu_beyond_load", "ok", "cpu_beyond_load", {"levels": levels, "beyond": 0.2, "line": share}
    )
    slower = (replace(slow, params={"line": line}, details={"beyond_load": 1.8}) for line in passed)
    beyond_load = (*slower, busy)
    for checks in ((), tuple(unheard_of), (bare,), beyond_load):
        changed = replace(verdict, checks=checks)
        yield changed, hints(changed, pre, post, window)
    what = Fact("expected.text", {"step": "POST /login", "status": 200, "text": "Welcome"})
    counts = {"what": what, "n": 9, "asks": 10, "n_before": 0, "asks_before": 0}
    broken = Check("error_rate", EXPECTATION, "critical", "expectation_without_before", counts, 0.9)
    changed = replace(verdict, verdict="warning", checks=(broken,))
    yield changed, hints(changed, pre, post, window)
