"""A seeded table of situations, each judged several times: what may be blamed on a deployment, and what may not."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations, product
from typing import Any

import pytest

import analysis.texts  # noqa: F401  (registers the sentences)
from analysis.judge import judge
from analysis.judge.hints import hints
from analysis.judge.types import METRICS, OK, ROLLBACK, WARNING, Sample, Verdict, Window
from analysis.recorded import hint_columns
from analysis.tests.adaptive_samples import make_pre, make_series, make_window
from explain.rendering import render
from metrics.payload import Metrics
from metrics.sources.aggregation import aggregated
from projects.policy import policy_from_dict

SEEDS = range(8)
USER_FACING = {"requests_per_sec", "latency_p95", "error_rate"}
Samples = list[Sample]


def only(samples: Sequence[Sample], known: Sequence[str]) -> Samples:
    """Return the samples as a source gives them that knows these of the five."""
    absent: dict[str, Any] = {metric: None for metric in METRICS if metric not in known}
    return [replace(sample, **absent) for sample in samples]


def subsets() -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(METRICS, count) for count in range(len(METRICS) + 1)))


# --- what is not measured ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["adaptive", "fixed"])
def test_nothing_is_ok_unless_something_that_users_notice_was_measured(kind: str) -> None:
    """Each subset of the five before, with each after; healthy, and broken in all that is known."""
    policy = policy_from_dict({"kind": kind})
    broken: dict[str, Any] = {"latency_p95": 900.0, "error_rate": 0.4, "cpu_usage": 0.97, "memory_usage": 0.97}
    quiet: dict[str, Any] = {"latency_p95": 118.0, "error_rate": 0.002, "cpu_usage": 0.4, "memory_usage": 0.5}
    pre, posts = make_pre(6, **quiet), (make_series(5, **quiet), make_series(5, **broken))
    for before, after in product(subsets(), subsets()):
        comparable = USER_FACING & {*before} & {*after}
        good, bad = (judge(only(pre, before), only(post, after), policy, make_window(5)) for post in posts)
        assert not (good.conclusive and good.verdict == OK and not comparable), (before, after)
        assert {*good.basis.unmeasured} >= {*METRICS} - {*before}, (before, after)
        if comparable and before == after:
            assert (good.verdict, good.conclusive) == (OK, True), before
        if "error_rate" in comparable:
            assert bad.verdict == ROLLBACK, (before, after)
        for verdict in (good, bad):
            assert render(verdict.summary)
            assert verdict.verdict != OK or verdict.conclusive


# --- custom metrics ---------------------------------------------------------------------------------------------------


def with_custom(samples: Samples, level: float) -> Samples:
    """Return the samples with a metric that scatters as their traffic does."""
    usual = [(sample.requests_per_sec or 50.0) / 50.0 - 1.0 for sample in samples]
    values = [level * (1.0 + each) for each in usual]
    return [replace(one, custom={"jobs": value}) for one, value in zip(samples, values, strict=True)]


MOVES: list[tuple[dict[str, Any], float, float, str, str]] = [
    ({"kind": "rate", "unit": "/min", "direction": "down_is_bad"}, 42.0, 3.0, ROLLBACK, "fell"),
    ({"kind": "rate", "unit": "/min", "direction": "down_is_bad"}, 42.0, 120.0, OK, ""),
    ({"kind": "rate", "unit": "/min", "direction": "up_is_bad"}, 42.0, 3.0, OK, ""),
    ({"kind": "rate", "unit": "/min", "direction": "up_is_bad"}, 42.0, 200.0, ROLLBACK, "rose"),
    ({"kind": "rate", "unit": "/min", "direction": "either"}, 42.0, 3.0, ROLLBACK, "fell"),
    ({"kind": "rate", "unit": "/min", "direction": "either"}, 42.0, 200.0, ROLLBACK, "rose"),
    ({"kind": "gauge", "direction": "up_is_bad"}, 100.0, 900.0, ROLLBACK, "rose"),
    ({"kind": "gauge", "direction": "up_is_bad"}, 100.0, 10.0, OK, ""),
    ({"kind": "count", "direction": "down_is_bad"}, 400.0, 20.0, ROLLBACK, "fell"),
    ({"kind": "ratio", "direction": "down_is_bad"}, 0.95, 0.2, ROLLBACK, "fell"),
    ({"kind": "ratio", "direction": "up_is_bad"}, 0.01, 0.4, ROLLBACK, "rose"),
    # Below the smallest amount that counts: before, of what falls; after, of what rises.
    ({"kind": "rate", "unit": "/min", "direction": "down_is_bad", "smallest": 50}, 42.0, 3.0, OK, ""),
    ({"kind": "gauge", "direction": "up_is_bad", "smallest": 1000}, 100.0, 900.0, OK, ""),
    ({"kind": "gauge", "direction": "up_is_bad", "smallest": 800}, 100.0, 900.0, ROLLBACK, "rose"),
    # One that may not roll back warns.
    ({"kind": "gauge", "direction": "up_is_bad", "critical": False}, 100.0, 900.0, WARNING, "rose"),
    ({"kind": "rate", "unit": "/min", "direction": "either"}, 42.0, 42.0, OK, ""),
]


@pytest.mark.parametrize(("metric", "was", "now", "verdict", "hint"), MOVES)
def test_a_custom_metric_is_blamed_in_its_bad_direction_only(
    metric: dict[str, Any], was: float, now: float, verdict: str, hint: str
) -> None:
    policy = policy_from_dict({"custom_metrics": [{"name": "jobs", "critical": True, **metric}]})
    found: Counter[str] = Counter()
    for seed in SEEDS:
        pre, post = with_custom(make_pre(20, seed=seed), was), with_custom(make_series(10, seed=seed), now)
        judged = judge(pre, post, policy, make_window(10))
        found[judged.verdict] += 1
        told = [hint_columns(one)["title"] for one in hints(judged, pre, post, make_window(10))]
        told = [title.split(" from ")[0] for title in told if title.startswith("jobs ")]
        assert told == ([f"jobs {hint}"] if hint else [])
    assert found == {verdict: len(SEEDS)}, found


# --- instances --------------------------------------------------------------------------------------------------------


def instances(samples: Samples, count: int) -> Samples:
    """Return the samples as instances give them together that share their traffic."""

    def of(sample: Sample) -> Sample:
        known = {metric: getattr(sample, metric) for metric in METRICS}
        each = Metrics(**known, custom={"jobs": 60.0 / count}, instances=1)
        each.requests_per_sec = (sample.requests_per_sec or 0.0) / count
        one = aggregated([each] * count, {"jobs": "rate"})
        return Sample(
            sample.collected_at,
            **{metric: getattr(one, metric) for metric in METRICS},
            origin=sample.origin,
            custom=one.custom,
            instances=one.instances,
        )

    return [of(sample) for sample in samples]


@pytest.mark.parametrize(("before_it", "after_it"), [(3, 6), (6, 3), (1, 8), (4, 4)])
@pytest.mark.parametrize("lost", [1.0, 0.1])
def test_another_number_of_instances_is_neither_a_loss_of_traffic_nor_hides_one(
    before_it: int, after_it: int, lost: float
) -> None:
    policy = policy_from_dict({"custom_metrics": [{"name": "jobs", "kind": "rate", "direction": "either"}]})
    for seed in SEEDS:
        post = make_series(10, seed=seed, requests_per_sec=50.0 * lost)
        judged = judge(
            instances(make_pre(20, seed=seed), before_it), instances(post, after_it), policy, make_window(10)
        )
        assert (judged.basis.instances_before, judged.basis.instances) == (before_it, after_it)
        assert judged.failed_metrics == (() if lost == 1.0 else ("requests_per_sec",)), render(judged.summary)


# --- control groups ---------------------------------------------------------------------------------------------------

SHARED: list[dict[str, Any]] = [
    {"latency_p95": 500.0},
    {"error_rate": 0.15},
    {"latency_p95": 400.0, "error_rate": 0.08, "cpu_usage": 0.8},
    {"latency_p95": lambda minute: 118.0 * (1.0 + 0.3 * minute)},
]


def beside(shared: dict[str, Any], own: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """Yield the verdict without and with a control group of more instances."""
    usual: dict[str, Any] = {"requests_per_sec": 400.0, "seed": seed + 100}
    pre, post = make_pre(20, seed=seed), make_series(10, seed=seed, **{**shared, **own})
    before, after = make_pre(20, **usual), make_series(10, **{**usual, **shared})
    windows: list[Window] = [
        make_window(10),
        make_window(10, has_control=True, control_before=tuple(before), control_after=tuple(after)),
    ]
    yield from (judge(pre, post, policy_from_dict({}), window) for window in windows)


@pytest.mark.parametrize("shared", SHARED)
def test_what_rises_in_both_groups_is_blamed_without_a_control_group_only(shared: dict[str, Any]) -> None:
    found: Counter[tuple[bool, str]] = Counter()
    for seed in SEEDS:
        alone, controlled = beside(shared, {}, seed)
        found[False, alone.verdict if alone.verdict == OK else "blamed"] += 1
        found[True, controlled.verdict] += 1
        _, guilty = beside(shared, {"error_rate": 0.7}, seed)
        assert guilty.verdict == ROLLBACK
    assert found[False, "blamed"] == len(SEEDS)
    # Errors of each group scatter by a third of their level, and one of eight differs by that much.
    assert found[True, OK] >= len(SEEDS) - 1
