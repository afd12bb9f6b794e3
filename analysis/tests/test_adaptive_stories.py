"""Stories that the judge once got wrong: blips that fade, jams, refills, crash loops."""

from __future__ import annotations

import pytest

from analysis.judge.types import OK, ROLLBACK, WARNING, Sample
from analysis.tests.adaptive_samples import check_of, judged, make_pre, make_series


def _errors(*rates: float) -> list[Sample]:
    return make_series(len(rates), noisy=False, error_rate=lambda i: rates[i])


@pytest.mark.parametrize("rates", [(0.002, 0.002, 0.002, 0.2, 0.07), (0.002, 0.2, 0.07, 0.024, 0.006)])
def test_a_blip_seen_through_a_sliding_window_is_no_rollback(rates: tuple[float, ...]) -> None:
    assert judged(make_pre(), _errors(*rates)).verdict != ROLLBACK


def test_a_blip_that_has_faded_away_is_ok() -> None:
    rates = (0.002, 0.002, 0.002, 0.002, 0.002, 0.275, 0.096, 0.034, 0.012, 0.005)
    assert judged(make_pre(), _errors(*rates)).verdict == OK


def test_a_blip_on_top_of_a_lasting_fault_excuses_nothing() -> None:
    rates = (0.002, 0.002, 0.002, 0.002, 0.02, 0.02, 0.02, 0.02, 0.21, 0.02)
    assert judged(make_pre(), _errors(*rates)).verdict == WARNING


def test_two_separate_outage_minutes_are_a_crash_loop() -> None:
    rates = (0.002, 0.002, 0.002, 0.74, 0.002, 0.002, 0.002, 0.72, 0.002, 0.002)
    assert judged(make_pre(1), _errors(*rates)).verdict == ROLLBACK


def test_one_outage_minute_is_a_blip() -> None:
    rates = (0.002, 0.002, 0.002, 0.74, 0.002, 0.002, 0.002, 0.002, 0.002, 0.002)
    assert judged(make_pre(), _errors(*rates)).verdict == OK


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
