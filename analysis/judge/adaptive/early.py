"""Early verdicts: the same judge on what has come so far. Pure.

A rollback is recommended before the end of the window if its evidence was clear at several looks in a row: at all
collections so far, at all but the latest, and so on. Each is judged anew from the samples, so nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import TypeAlias

from analysis.judge.adaptive.evidence import warmup_places
from analysis.judge.adaptive.knobs import ALL_ON
from analysis.judge.types import UNREACHABLE, Check, Miss, Sample, Window, values_of
from projects.policy import AdaptivePolicy

# Critical strength (1.0 = a rollback at the end of the window), and at how many looks in a row. Chosen on fresh seeds
# of all worlds: docs/verdicts.md, early verdicts. Memory that is full cannot be fuller: it takes the second rule.
Rules: TypeAlias = tuple[tuple[float, int], ...]
CLEAR: Rules = ((1.3, 2), (1.0, 4))
# Least share of the worst excess that the latest sample must still show: a spike in a short window is not waited out.
STILL_THERE = 0.5
# Least collections after the warm-up for a look. A single bad one is a blip.
LEAST = 2


@dataclass(frozen=True, slots=True)
class Look:
    """What the judge sees in the middle of a window, and the policy that forgives the warm-up of the whole one.

    answered: whether the service answered the latest collection.
    """

    post: tuple[Sample, ...]
    window: Window
    policy: AdaptivePolicy
    answered: bool


def looks(post: Sequence[Sample], policy: AdaptivePolicy, window: Window) -> Iterator[Look]:
    """Yield what there was to see at the latest collection, at the one before it, and so on; none in the warm-up.

    Collections that failed in the warm-up are left out, like samples of that time.
    """
    collections = _in_order(post, window)
    planned = warmup_places(window.expected, policy, ALL_ON)
    for count in range(len(collections), planned + LEAST - 1, -1):
        yield _look(collections[:count], planned, policy, window)


def is_clear(strengths: Iterable[float], rules: Rules = CLEAR) -> bool:
    """Return whether a rollback is clear by the critical strengths of the looks, latest first."""
    waiting = list(rules)
    for count, strength in enumerate(strengths, start=1):
        waiting = [(needed, times) for needed, times in waiting if strength >= needed]
        if any(times == count for _, times in waiting):
            return True
        if not waiting:
            return False
    return False


def lasting(checks: Sequence[Check], look: Look) -> list[Check]:
    """Return the critical checks of a look whose finding is not passing already."""
    body = look.post[look.policy.warmup_samples or 0 :]
    critical = (check for check in checks if check.outcome == "critical")
    return [check for check in critical if not (look.answered if check.rule == UNREACHABLE else _passing(check, body))]


def _passing(check: Check, body: Sequence[Sample]) -> bool:
    """Return whether the latest sample shows less than half of the worst excess."""
    values = values_of(body, check.metric)
    if not values or check.baseline is None or check.metric == "requests_per_sec":
        return False
    sign = -1.0 if check.details.get("moves") == "down" else 1.0
    moved = [sign * (value - check.baseline) for value in values]
    return moved[-1] < STILL_THERE * max(moved)


def _look(collections: Sequence[Sample | Miss], planned: int, policy: AdaptivePolicy, window: Window) -> Look:
    forgiven = tuple(one for one in collections[:planned] if isinstance(one, Sample))
    samples = tuple(one for one in collections[planned:] if isinstance(one, Sample))
    failed = tuple(one for one in collections[planned:] if isinstance(one, Miss))
    before = tuple(miss for miss in window.misses if miss.phase != "post")
    return Look(
        post=(*forgiven, *samples) if len(samples) >= LEAST else (),
        window=replace(window, misses=(*before, *failed), final=False),
        policy=policy.model_copy(update={"warmup_samples": len(forgiven)}),
        answered=isinstance(collections[-1], Sample),
    )


def _in_order(post: Sequence[Sample], window: Window) -> list[Sample | Miss]:
    """Return samples and failed collections of the window in the order of time."""
    misses = [miss for miss in window.misses if miss.phase == "post"]
    times: list[tuple[datetime, Sample | Miss]] = [(sample.collected_at, sample) for sample in post]
    times += [(miss.scheduled_at, miss) for miss in misses if miss.scheduled_at is not None]
    timed = [one for _, one in sorted(times, key=itemgetter(0))]
    for miss in sorted((m for m in misses if m.scheduled_at is None), key=lambda miss: miss.sequence_index):
        timed.insert(miss.sequence_index, miss)
    return timed
