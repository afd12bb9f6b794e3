"""Verdicts by effect: the table of the policy, one row per test case; stories that the judge once got wrong."""

import math
from dataclasses import replace
from typing import Any

import pytest

from analysis.judge.types import METRICS, OK, ROLLBACK, WARNING
from analysis.tests.adaptive_samples import check_of, judged, make_pre, make_series, make_window
from explain.rendering import render

HEALTHY: list[tuple[str, dict[str, Any]]] = [
    ("nothing changed", {}),
    ("a little slower", {"latency_p95": 128.0}),
    ("faster", {"latency_p95": 60.0, "cpu_usage": 0.3}),
    ("a few more errors", {"error_rate": 0.004}),
    ("no more errors", {"error_rate": 0.0}),
    ("a little more cpu", {"cpu_usage": 0.46}),
    ("twice the traffic, and cpu with it", {"requests_per_sec": 100.0, "cpu_usage": 0.78}),
    ("a tenth less traffic", {"requests_per_sec": 45.0}),
    ("a little more memory", {"memory_usage": 0.55}),
    ("a cold start", {"latency_p95": lambda i: 118.0 * (1 + 4 * math.exp(-i / 0.7))}),
    ("one bad minute", {"latency_p95": lambda i: 900.0 if i == 5 else 118.0, "error_rate": lambda i: 0.4 * (i == 5)}),
    ("a bad first minute", {"error_rate": lambda i: 0.5 if i == 0 else 0.002}),
    ("memory refilled after a restart", {"memory_usage": lambda i: 0.5 - 0.3 * math.exp(-i / 3)}),
]
DEGRADED: list[tuple[str, dict[str, Any]]] = [
    ("latency ×1.4", {"latency_p95": 165.0}),
    ("latency ×2.5", {"latency_p95": 300.0}),
    ("errors 0.2 → 1.5 %", {"error_rate": 0.015}),
    ("cpu without load", {"cpu_usage": 0.75}),
    ("a leak", {"memory_usage": lambda i: 0.5 + 0.008 * i}),
    ("a memory step", {"memory_usage": 0.66}),
    ("40 % of the traffic lost", {"requests_per_sec": 30.0}),
    ("70 % of the traffic lost", {"requests_per_sec": 15.0}),
    ("slower from mid-window on", {"latency_p95": lambda i: 118.0 if i < 6 else 250.0}),
]
CRITICAL: list[tuple[str, dict[str, Any]]] = [
    ("errors 0.2 → 6 %", {"error_rate": 0.06}),
    ("only errors", {"error_rate": 1.0}),
    ("latency ×5", {"latency_p95": 590.0}),
    ("traffic gone", {"requests_per_sec": 0.0, "latency_p95": 0.0, "error_rate": 0.0}),
    ("95 % of the traffic lost", {"requests_per_sec": 2.5}),
    ("memory full before the hour", {"memory_usage": lambda i: min(1.0, 0.5 + 0.05 * i)}),
    ("slower and failing", {"latency_p95": 260.0, "error_rate": 0.02}),
    ("failing and losing traffic", {"error_rate": 0.02, "requests_per_sec": 30.0}),
    ("errors from mid-window on", {"error_rate": lambda i: 0.002 if i < 6 else 0.3}),
    ("a crash loop", {"error_rate": lambda i: 0.6 if i % 3 == 0 else 0.002}),
]


EFFECTS = [
    (verdict, *row) for verdict, rows in ((OK, HEALTHY), (WARNING, DEGRADED), (ROLLBACK, CRITICAL)) for row in rows
]


@pytest.mark.parametrize(("expected", "what", "levels"), EFFECTS, ids=[what for _verdict, what, _levels in EFFECTS])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_effect_decides_the_verdict(expected: str, what: str, levels: dict[str, Any], seed: int) -> None:
    verdict = judged(make_pre(seed=seed), make_series(10, seed=seed, **levels))
    assert verdict.verdict == expected, verdict.summary
    assert verdict.conclusive or expected != OK
    assert bool(verdict.failed_metrics) is (expected != OK)
    assert render(verdict.summary).startswith("Roll back: ") is (expected == ROLLBACK)


def latency_outcomes(pre: int, latencies: list[float]) -> set[str]:
    """Return the outcomes of the checks of p95 of a service of few requests; 0.0 is a minute without any."""
    quiet = {"noisy": False, "error_rate": 0.0, "latency_p95": 110.0, "requests_per_sec": 0.4}
    after = quiet | {"latency_p95": lambda i: latencies[i], "requests_per_sec": lambda i: 0.4 if latencies[i] else 0.0}
    verdict = judged(make_pre(pre, **quiet), make_series(5, **after))
    return {check.outcome for check in verdict.checks if check.metric == "latency_p95"}


@pytest.mark.parametrize("pre", [0, 1, 6, 30])
@pytest.mark.parametrize(
    "latencies",
    [
        pytest.param([363.0, 91.0, 124.0, 1151.0, 0.0], id="the last one with requests"),
        pytest.param([0.0, 110.0, 0.0, 1151.0, 0.0], id="one of two"),
        pytest.param([0.0, 0.0, 0.0, 1151.0, 0.0], id="the only one"),
        pytest.param([110.0, 0.0, 95.0, 0.0, 1151.0], id="the last one"),
    ],
)
def test_one_slow_minute_among_minutes_without_requests_is_a_single_bad_minute(
    pre: int, latencies: list[float]
) -> None:
    assert latency_outcomes(pre, latencies) <= {"ok", "skipped"}


@pytest.mark.parametrize("pre", [1, 6, 30])
def test_two_slow_minutes_with_requests_are_a_regression(pre: int) -> None:
    assert latency_outcomes(pre, [110.0, 0.0, 1120.0, 0.0, 1151.0]) == {"critical"}


NIGHT = {"requests_per_sec": 0.3, "error_rate": 0.0}
HIGH = {"latency_p95": 900.0, "cpu_usage": 0.85, "error_rate": 0.012}
ONE_FAILED: dict[str, Any] = {
    "noisy": False,
    "requests_per_sec": 0.3,
    "error_rate": lambda i: 1 / 18 if i == 6 else 0.0,
}


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        pytest.param(HIGH, HIGH, OK, id="a service that always runs high"),
        pytest.param({"latency_p95": 8.0}, {"latency_p95": 20.0}, OK, id="a fast service, slower by milliseconds"),
        pytest.param(NIGHT, ONE_FAILED, OK, id="one failed request at night"),
        pytest.param(NIGHT, {**NIGHT, "error_rate": 0.5}, ROLLBACK, id="many failed requests at night"),
        pytest.param(
            {"error_rate": lambda i: 0.3 if i in {4, 5} else 0.002},
            {"error_rate": 0.06},
            ROLLBACK,
            id="a fault at the level of a past blip",
        ),
    ],
)
def test_a_deployment_is_compared_with_the_services_own_level(
    before: dict[str, Any], after: dict[str, Any], verdict: str
) -> None:
    assert judged(make_pre(**before), make_series(10, **after)).verdict == verdict


def test_cpu_alone_never_recommends_a_rollback() -> None:
    verdict = judged(make_pre(cpu_usage=0.1), make_series(10, cpu_usage=1.0))
    assert verdict.verdict == WARNING
    assert verdict.failed_metrics == ("cpu_usage",)


def test_a_drift_that_began_before_goes_on_without_alarm() -> None:
    pre = make_series(30, start=-31, origin="baseline", requests_per_sec=lambda i: 90.0 - 1.2 * i)
    post = make_series(10, requests_per_sec=lambda i: 53.0 - 1.2 * i)
    assert judged(pre, post).verdict == OK


def test_two_user_facing_regressions_are_named_together() -> None:
    verdict = judged(make_pre(), make_series(10, latency_p95=260.0, error_rate=0.02))
    together = [check for check in verdict.checks if check.rule == "together"]
    assert len(together) == 1
    assert together[0].details["metrics"] == ["latency_p95", "error_rate"]
    assert together[0].outcome == "critical"


def test_the_sentence_tells_levels_ratio_share_and_line() -> None:
    pre = make_pre(noisy=False)
    check = check_of(judged(pre, make_series(10, noisy=False, latency_p95=342.2)), "latency_p95")
    assert render(check.fact) == (
        "p95 rose from 118 ms to 342 ms (×2.9) in 8 of 8 samples; that reaches the warning threshold (×1.26 and "
        "+18.4 ms); the rollback threshold is ×3.09 and +238 ms"
    )


def test_a_finding_between_where_it_decides_and_the_nominal_line_is_told_by_the_first() -> None:
    pre = make_pre(noisy=False)
    check = check_of(judged(pre, make_series(10, noisy=False, requests_per_sec=6.0)), "requests_per_sec")
    assert check.outcome == "critical"
    assert "(88 % lost)" in render(check.fact)
    assert render(check.fact).endswith("that reaches the rollback threshold (85.5 % lost)")


@pytest.mark.parametrize(
    ("metric", "levels"),
    [
        ("latency_p95", [320, 370, 700, 705, 250, 700, 705, 710, 700, 705]),
        ("error_rate", [0.02, 0.02, 0.1, 0.11, 0.015, 0.1, 0.11, 0.12, 0.1, 0.11]),
        ("requests_per_sec", [32, 31, 3, 2, 30, 2, 3, 2, 3, 2]),
        ("memory_usage", [0.6, 0.6, 0.9, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99]),
    ],
)
def test_samples_are_counted_against_the_limit_that_is_told(metric: str, levels: list[float]) -> None:
    post = make_series(10, noisy=False, **{metric: lambda i: levels[i]})
    check = check_of(judged(make_pre(noisy=False), post), metric)
    assert check.outcome == "critical"
    assert check.limit is not None
    body = levels[2:]
    # One of them lies beyond the line for a warning only.
    beyond = [value for value in body if (value < check.limit if metric == "requests_per_sec" else value > check.limit)]
    assert len(beyond) == len(body) - 1
    assert check.details["over"] == len(beyond)
    assert check.share == pytest.approx(len(beyond) / len(body))


def test_every_check_can_be_recomputed_from_its_numbers() -> None:
    verdict = judged(make_pre(), make_series(10, latency_p95=300.0))
    for metric in METRICS:
        check = check_of(verdict, metric)
        assert None not in [
            getattr(check, name) for name in ("observed", "baseline", "spread", "limit", "margin", "share")
        ]
        assert render(check.fact)
    assert verdict.policy["kind"] == "adaptive"


@pytest.mark.parametrize("share", [0.3, 0.4, 0.45, 0.47, 0.5, 0.6, 0.72])
@pytest.mark.parametrize("slope", [0.0, 0.02, 0.06])
def test_traffic_that_failed_its_check_lies_under_the_limit_that_is_told(share: float, slope: float) -> None:
    failed = 0
    for seed in range(1, 8):
        post = make_series(5, seed=seed, requests_per_sec=lambda i: 50.0 * (share + slope * (2 - i)))
        check = check_of(judged(make_pre(seed=seed), post), "requests_per_sec")
        if check.outcome in ("warning", "critical"):
            failed += 1
            assert check.observed is not None and check.baseline and check.limit is not None
            assert check.observed <= check.limit + 1e-9
            assert check.details["lost"] == pytest.approx(1 - check.observed / check.baseline, abs=0.001)
    assert failed or share > 0.7


def test_more_evidence_gives_more_confidence() -> None:
    post = make_series(10, noisy=False, latency_p95=132.0)
    thin, rich = judged(make_pre(1, noisy=False), post), judged(make_pre(25, noisy=False), post)
    assert thin.verdict == rich.verdict == OK
    assert thin.confidence < rich.confidence


def test_an_effect_near_a_line_gives_less_confidence() -> None:
    near = judged(make_pre(noisy=False), make_series(10, noisy=False, latency_p95=145.0))
    far = judged(make_pre(noisy=False), make_series(10, noisy=False, latency_p95=118.0))
    assert near.verdict == far.verdict == OK
    assert near.confidence < far.confidence


def test_the_score_rises_with_the_verdict() -> None:
    scores = [
        judged(make_pre(), make_series(10, latency_p95=level)).score for level in (100.0, 140.0, 180.0, 300.0, 800.0)
    ]
    assert scores == sorted(scores)
    assert scores[0] < 1 / 3 <= scores[2] < 2 / 3 <= scores[-1] <= 1.0


@pytest.mark.parametrize("late", [False, True])
def test_a_single_pre_sample_is_enough_for_a_clear_fault(late: bool) -> None:
    post = make_series(10, error_rate=lambda i: 0.002 if late and i < 5 else 0.2)
    assert judged(make_pre(1), post).verdict == ROLLBACK


def test_time_counts_in_sampling_intervals() -> None:
    # The demo samples every second: memory that rises by 1 point a sample is not full within a minute.
    levels = {"memory_usage": lambda i: 0.5 + 0.01 * i}
    by_minute = judged(make_pre(), make_series(10, **levels))
    assert by_minute.verdict == WARNING
    first = make_pre(1)[0].collected_at
    samples = [*make_pre(), *make_series(10, **levels)]
    quick = [replace(one, collected_at=first + (one.collected_at - first) / 60) for one in samples]
    window = make_window(10, interval_s=1.0, evaluated_at=None)
    assert judged(quick[:20], quick[20:], window=window).verdict == WARNING


# --- blips that fade, jams, refills, crash loops -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "rates", "verdicts"),
    [
        ("a blip seen through a sliding window", (0.002, 0.002, 0.002, 0.2, 0.07), {OK, WARNING}),
        ("the same, later", (0.002, 0.2, 0.07, 0.024, 0.006), {OK, WARNING}),
        ("a blip that has faded away", (*[0.002] * 5, 0.275, 0.096, 0.034, 0.012, 0.005), {OK}),
        ("a blip on top of a lasting fault", (*[0.002] * 4, 0.02, 0.02, 0.02, 0.02, 0.21, 0.02), {WARNING}),
        ("one outage minute", (0.002, 0.002, 0.002, 0.74, *[0.002] * 6), {OK}),
    ],
)
def test_a_blip_is_no_rollback_and_excuses_nothing(story: str, rates: tuple[float, ...], verdicts: set[str]) -> None:
    post = make_series(len(rates), noisy=False, error_rate=lambda i: rates[i])
    assert judged(make_pre(), post).verdict in verdicts


def test_two_separate_outage_minutes_are_a_crash_loop() -> None:
    post = make_series(10, noisy=False, error_rate=lambda i: {3: 0.74, 7: 0.72}.get(i, 0.002))
    assert judged(make_pre(1), post).verdict == ROLLBACK


@pytest.mark.parametrize(("left", "before", "after"), [(0.3, 0.9, 1.0), (0.5, 0.85, 0.99), (0.1, 0.8, 0.95)])
def test_the_limit_of_cpu_is_that_of_the_load_it_is_compared_at(left: float, before: float, after: float) -> None:
    post = make_series(10, noisy=False, requests_per_sec=50.0 * left, cpu_usage=after)
    check = check_of(judged(make_pre(noisy=False, cpu_usage=before), post), "cpu_usage")
    assert check.outcome == "warning"
    assert check.limit is not None
    assert before <= check.limit < after
    assert check.details["over"] == check.details["samples"]


@pytest.mark.parametrize(("cpu", "verdict"), [(0.60, WARNING), (0.84, OK)])
def test_more_load_excuses_latency_only_where_the_service_is_busier(cpu: float, verdict: str) -> None:
    pre = make_pre(cpu_usage=0.60)
    post = make_series(10, requests_per_sec=70.0, cpu_usage=cpu, latency_p95=118.0 * 1.7)
    assert check_of(judged(pre, post), "latency_p95").outcome == verdict


def test_a_refill_that_goes_far_beyond_the_old_level_is_a_leak() -> None:
    memory = (0.42, 0.46, 0.505, 0.545, 0.585)
    post = make_series(5, noisy=False, memory_usage=lambda i: memory[i])
    assert check_of(judged(make_pre(), post), "memory_usage").rule == "memory_leak"


def test_a_ramp_of_the_usual_sawtooth_is_no_leak() -> None:
    pre = make_pre(20, noisy=False, memory_usage=lambda i: 0.48 + 0.0095 * (i % 5))
    memory = (0.48, 0.49, 0.507, 0.517, 0.528)
    post = make_series(5, noisy=False, memory_usage=lambda i: memory[i])
    assert judged(pre, post).verdict == OK


def test_a_second_regression_short_of_its_milliseconds_is_not_believed() -> None:
    # Errors are clear; ×3.2 of 17 ms is only +37 ms, well short of the +50 ms that make a pair.
    post = make_series(10, error_rate=0.02, latency_p95=54.0)
    assert judged(make_pre(latency_p95=17.0), post).verdict == WARNING


# --- settings of the policy ----------------------------------------------------------------------------------------

SLOW = {"latency_p95": 900.0}
LOW = {"requests_per_sec": 5.0}
ABOVE_500_IN_THREE = {"latency_p95": lambda i: 600.0 if i in {4, 6, 8} else 100.0}
ERRORS_AT_FIRST = {"error_rate": lambda i: 0.3 if i < 5 else 0.002}


def limit(**metrics: float) -> dict[str, Any]:
    return {"limits": metrics}


@pytest.mark.parametrize(
    ("pre", "post", "policy", "verdict"),
    [
        # Sensitivity moves the lines.
        ({}, {"latency_p95": 150.0}, {"sensitivity": "low"}, OK),
        ({}, {"latency_p95": 150.0}, {"sensitivity": "normal"}, WARNING),
        ({}, {"latency_p95": 150.0}, {"sensitivity": "high"}, WARNING),
        ({}, {"latency_p95": 145.0}, {"sensitivity": "low"}, OK),
        ({}, {"latency_p95": 145.0}, {"sensitivity": "normal"}, OK),
        ({}, {"latency_p95": 145.0}, {"sensitivity": "high"}, WARNING),
        # A hard limit wins over the own level; of traffic it is a minimum.
        (SLOW, SLOW, {}, OK),
        (SLOW, SLOW, limit(latency_p95=500), ROLLBACK),
        ({}, {"latency_p95": 400.0}, {}, ROLLBACK),
        ({}, {"latency_p95": 400.0}, limit(latency_p95=500), OK),
        (LOW, LOW, limit(requests_per_sec=10), ROLLBACK),
        # The share beyond a limit is tolerated up to its tolerance.
        ({}, ABOVE_500_IN_THREE, {**limit(latency_p95=500), "tolerances": {"latency_p95": 0.2}}, ROLLBACK),
        ({}, ABOVE_500_IN_THREE, {**limit(latency_p95=500), "tolerances": {"latency_p95": 0.4}}, OK),
        # A metric that is not critical only warns, and one left out is not judged.
        ({}, SLOW, {}, ROLLBACK),
        ({}, SLOW, {"critical_metrics": ["error_rate"]}, WARNING),
        ({}, {"cpu_usage": 0.9}, {}, WARNING),
        ({}, {"cpu_usage": 0.9}, {"left_out": ["cpu_usage"]}, OK),
        # Warm-up can be longer.
        ({}, ERRORS_AT_FIRST, {}, WARNING),
        ({}, ERRORS_AT_FIRST, {"warmup_samples": 5}, OK),
    ],
)
def test_the_policy_decides(pre: dict[str, Any], post: dict[str, Any], policy: dict[str, Any], verdict: str) -> None:
    assert judged(make_pre(**pre), make_series(10, **post), policy).verdict == verdict


def test_a_check_names_the_hard_limit_and_a_metric_left_out_has_none() -> None:
    policy = {**limit(latency_p95=500), "left_out": ["cpu_usage"]}
    verdict = judged(make_pre(**SLOW), make_series(10, **SLOW), policy)
    assert check_of(verdict, "latency_p95").rule == "hard_limit"
    assert all(check.metric != "cpu_usage" for check in verdict.checks)
