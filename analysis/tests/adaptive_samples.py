"""Plain helpers that build samples and windows for the tests of the adaptive judge."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from analysis.judge.adaptive import judge_adaptive, judge_early
from analysis.judge.types import Check, Miss, Origin, Sample, Verdict, Window
from projects.policy import AdaptivePolicy, policy_from_dict

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
# Usual level and standard deviation, as a share of it.
LEVELS = {
    "requests_per_sec": (50.0, 0.05),
    "latency_p95": (118.0, 0.05),
    "error_rate": (0.002, 0.3),
    "cpu_usage": (0.40, 0.03),
    "memory_usage": (0.50, 0.004),
}
Change = float | Callable[[int], float]


def make_series(
    count: int, *, start: int = 0, origin: Origin = "post", seed: int = 1, noisy: bool = True, **levels: Change
) -> list[Sample]:
    """`count` samples a minute apart from minute `start` after noon; a level is a number or a function of the index."""
    rng = random.Random(seed * 1000 + start)
    samples = []
    for i in range(count):
        values: dict[str, float] = {}
        for metric, (usual, spread) in LEVELS.items():
            level = levels.get(metric, usual)
            value = level(i) if callable(level) else level
            values[metric] = max(0.0, value * (1.0 + (spread * rng.gauss(0.0, 1.0) if noisy else 0.0)))
        for metric in ("error_rate", "cpu_usage", "memory_usage"):
            values[metric] = min(1.0, values[metric])
        samples.append(Sample(NOON + timedelta(minutes=start + i), **values, origin=origin))
    return samples


def make_pre(count: int = 20, **levels: Any) -> list[Sample]:
    """PRE samples at the usual level, the last one two minutes before noon."""
    levels.setdefault("origin", "baseline")
    return make_series(count, start=-count - 1, **levels)


def make_window(expected: int = 10, **changes: Any) -> Window:
    """A finished window of `expected` minutes from noon."""
    changes.setdefault("evaluated_at", NOON + timedelta(minutes=expected))
    return Window(expected=expected, **changes)


def make_misses(*reasons: str, start: int = 0, phase: Any = "post") -> tuple[Miss, ...]:
    """Failed collections, one per minute."""
    return tuple(
        Miss(NOON + timedelta(minutes=start + i), reason, phase, start + i) for i, reason in enumerate(reasons)
    )


def judged(
    pre: list[Sample], post: list[Sample], policy: Mapping[str, Any] | None = None, window: Window | None = None
) -> Verdict:
    """The verdict under a policy given by its changes from the default."""
    return judge_adaptive(pre, post, policy_from_dict(policy or {}), window or make_window(max(5, len(post))))


def judged_early(pre: list[Sample], post: list[Sample], window: Window | None = None) -> Verdict | None:
    """The early verdict so far, None while it is right to wait."""
    return judge_early(pre, post, AdaptivePolicy(), window or make_window(final=False))


def check_of(verdict: Verdict, metric: str) -> Check:
    """The first check of a metric."""
    return next(check for check in verdict.checks if check.metric == metric)
