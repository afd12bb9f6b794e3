"""Memory: noise is no leak, whatever it looks like; leaks are found."""

import math
import random
from collections.abc import Callable, Iterator
from itertools import count, islice, product

import pytest

from analysis.judge.types import OK, ROLLBACK, WARNING, Sample
from analysis.tests.adaptive_samples import check_of, judged, make_pre, make_series
from explain.rendering import render

pytestmark = pytest.mark.unit


def _normal(rng: random.Random) -> Iterator[float]:
    return (rng.gauss(0.0, 1.0) for _ in count())


def _uniform(rng: random.Random) -> Iterator[float]:
    return (rng.uniform(-1.73, 1.73) for _ in count())


def _heavy(rng: random.Random) -> Iterator[float]:
    return (0.7 * rng.gauss(0.0, 1.0) / math.sqrt(rng.gammavariate(2.0, 0.5)) for _ in count())


def _autocorrelated(rng: random.Random) -> Iterator[float]:
    state = rng.gauss(0.0, 1.0)
    while True:
        yield state
        state = 0.4 * state + math.sqrt(1 - 0.4**2) * rng.gauss(0.0, 1.0)


def _two_levels(rng: random.Random) -> Iterator[float]:
    return (rng.choice((-1.0, 1.0)) for _ in count())


NOISES = (_normal, _uniform, _heavy, _autocorrelated, _two_levels)


def noisy(
    kind: Callable[[random.Random], Iterator[float]], rng: random.Random, *, scatter: float, pre: int, post: int
) -> tuple[list[Sample], list[Sample]]:
    """A service whose memory scatters by a share of its level and does nothing else."""
    level = rng.uniform(0.2, 0.7)
    values = [min(1.0, level * (1.0 + scatter * one)) for one in islice(kind(rng), pre + post)]
    before = make_pre(pre, noisy=False, memory_usage=lambda i: values[i])
    return before, make_series(post, noisy=False, memory_usage=lambda i: values[pre + i])


def test_none_of_a_thousand_healthy_noisy_windows_is_a_leak() -> None:
    rng = random.Random(38.5)
    grid = list(product(NOISES, (0.01, 0.02, 0.035, 0.05), (1, 6, 30), (5, 10, 15)))
    failed = []
    for number in range(1_080):
        kind, scatter, pre, post = grid[number % len(grid)]
        verdict = judged(*noisy(kind, rng, scatter=scatter, pre=pre, post=post))
        if verdict.verdict != OK:
            failed.append((kind.__name__, scatter, pre, post, render(verdict.summary)))
    assert failed == []


@pytest.mark.parametrize("pre", [1, 6, 30])
@pytest.mark.parametrize("post", [5, 10, 15])
def test_a_leak_is_found_with_any_pre_and_window(pre: int, post: int) -> None:
    verdict = judged(make_pre(pre), make_series(post, memory_usage=lambda i: 0.5 + 0.015 * (i + 1)))
    assert verdict.verdict == WARNING
    assert check_of(verdict, "memory_usage").rule == "memory_leak"


def test_memory_that_fills_up_is_a_rollback() -> None:
    assert judged(make_pre(6), make_series(10, memory_usage=lambda i: min(1.0, 0.55 + 0.05 * i))).verdict == ROLLBACK


def test_growth_that_noise_could_be_is_no_leak_and_names_no_time_until_full() -> None:
    # 38.5 % before, ±5 % of noise: 40.2 % at the end would be full in 155 minutes if it were a line.
    pre = make_pre(6, noisy=False, memory_usage=lambda i: (0.377, 0.392, 0.381, 0.395, 0.378, 0.387)[i])
    post = make_series(5, noisy=False, memory_usage=lambda i: (0.376, 0.389, 0.380, 0.397, 0.402)[i])
    verdict = judged(pre, post)
    assert verdict.verdict == OK
    assert "full in" not in render(check_of(verdict, "memory_usage").fact)
