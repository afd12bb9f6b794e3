"""Stories that the judge once got wrong: blips that fade, jams, refills, crash loops."""

import pytest

from analysis.judge.types import OK, ROLLBACK, WARNING
from analysis.tests.adaptive_samples import check_of, judged, make_pre, make_series


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
