"""Derive the deserved verdict from the noise-free effect of a deployment.

Written from the published table, without importing the judge's thresholds, so that an error there shows here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from analysis.judge.types import OK, ROLLBACK, WARNING, Sample, VerdictName, Window

# Just below a threshold both answers are accepted: if an effect this much larger would cross it.
EITHER = 1.18
FEW_ERRORS = 6.0
# With fewer expected requests in all, nothing can be told from next to nothing, or next to nothing from a tenth.
ENOUGH_TRAFFIC = 100.0
# Lost share of the expected traffic from which next to nothing arrives: a rollback by itself.
GONE = 0.9


@dataclass(frozen=True, slots=True)
class Effect:
    """Simulated effect, beyond the service's own level and what traffic explains.

    errors_before/after: ratio; latency_before/after: ms at equal load; cpu_before/after: ratio at equal load; leak:
    memory gained per minute, leaked: in all within the window; memory_end: level at the end; step: memory step; lost:
    share of the expected traffic; requests: expected while the fault was on.
    """

    errors_before: float = 0.0
    errors_after: float = 0.0
    latency_before: float = 100.0
    latency_after: float = 100.0
    cpu_before: float = 0.3
    cpu_after: float = 0.3
    leak: float = 0.0
    leaked: float = 0.0
    memory_before: float = 0.4
    memory_end: float = 0.4
    step: float = 0.0
    lost: float = 0.0
    requests: float = 1e6

    def stretched(self, factor: float) -> Effect:
        """Return the effect, `factor` times as large."""
        return replace(
            self,
            errors_after=self.errors_before + (self.errors_after - self.errors_before) * factor,
            latency_after=self.latency_before + (self.latency_after - self.latency_before) * factor,
            cpu_after=self.cpu_before + (self.cpu_after - self.cpu_before) * factor,
            leak=self.leak * factor,
            leaked=self.leaked * factor,
            memory_end=self.memory_before + (self.memory_end - self.memory_before) * factor,
            step=self.step * factor,
            lost=min(1.0, self.lost * factor),
        )


def _errors(effect: Effect) -> int:
    more = effect.errors_after - effect.errors_before
    if more >= 0.035:
        return 2
    return int(more >= 0.006 and effect.errors_after >= 1.6 * effect.errors_before)


def _latency(effect: Effect) -> int:
    more, ratio = effect.latency_after - effect.latency_before, effect.latency_after / effect.latency_before
    if ratio >= 3.2 and more >= 250.0:
        return 2
    return int(ratio >= 1.28 and more >= 20.0)


def _memory(effect: Effect) -> int:
    room = max(0.0, 1.0 - effect.memory_end)
    # "reaches" and "from full" require a change by the deployment: a service may always run at that level.
    if effect.memory_end >= 0.98 and effect.memory_end - effect.memory_before >= 0.03:
        return 2
    if effect.leak > 0.0 and effect.leaked >= 0.03:
        minutes = room / effect.leak
        if minutes <= 8.0:
            return 2
        if minutes <= 240.0:
            return 1
    return int(effect.step >= 0.12)


def _traffic(effect: Effect) -> int:
    # PRE is fresh in all worlds. A warning counts in a pair (`together`), so half of the traffic lost with errors or
    # latency is a rollback.
    return 2 if effect.lost >= GONE else int(effect.lost >= 0.29)


def deserved(effect: Effect) -> VerdictName:
    """Return the verdict that an effect deserves by the table."""
    errors, latency, traffic = _errors(effect), _latency(effect), _traffic(effect)
    memory = _memory(effect)
    cpu = int(effect.cpu_after - effect.cpu_before >= 0.15 and effect.cpu_after >= 1.3 * effect.cpu_before)
    slow = effect.latency_after >= 1.7 * effect.latency_before and effect.latency_after - effect.latency_before >= 50.0
    together = (errors >= 1) + slow + (traffic >= 1) >= 2
    if together or 2 in (errors, latency, memory, traffic):
        return ROLLBACK
    return WARNING if max(errors, latency, memory, traffic, cpu) else OK


def _uncountable(effect: Effect) -> list[Effect]:
    """Return the effect without each part that cannot be counted.

    That is fewer than six more failed requests in all (two are common by chance), or lost traffic within three standard
    deviations of the number of requests; and traffic that is gone, where too few requests were expected to be sure.
    """
    parts = [effect]
    failed = (effect.errors_after - effect.errors_before) * effect.requests * (1.0 - effect.lost)
    if 0.0 < failed < FEW_ERRORS:
        parts += [replace(part, errors_after=part.errors_before) for part in parts]
    if 0.0 < effect.lost * effect.requests < 3.0 * math.sqrt(effect.requests):
        parts += [replace(part, lost=0.0) for part in parts]
    elif effect.lost >= GONE and effect.requests < ENOUGH_TRAFFIC:
        parts += [replace(part, lost=GONE - 0.01) for part in parts]
    return parts


def accepted(effect: Effect) -> frozenset[VerdictName]:
    """Return the accepted verdicts: the deserved one, the next one if the effect is just below a threshold, and the one
    deserved without the parts that too few requests leave uncountable."""
    return frozenset({deserved(effect.stretched(EITHER)), *map(deserved, _uncountable(effect))})


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled deployment. kind: name of the change; late: the fault began in mid-window."""

    id: str
    kind: str
    effect: Effect
    pre: tuple[Sample, ...]
    post: tuple[Sample, ...]
    window: Window
    late: bool = False

    @property
    def label(self) -> VerdictName:
        return deserved(self.effect)

    @property
    def accepted(self) -> frozenset[VerdictName]:
        return accepted(self.effect)

    @property
    def pre_band(self) -> str:
        """Return the number of PRE samples as a band: one, few (2 to 7) or enough (8 and more)."""
        return "none" if not self.pre else "one" if len(self.pre) == 1 else "few" if len(self.pre) < 8 else "enough"

    def as_dict(self) -> dict[str, Any]:
        """Return the case as input of `manage.py backtest`, with its label."""
        keys = ("requests_per_sec", "latency_p95", "error_rate", "cpu_usage", "memory_usage")

        def shown(sample: Sample) -> dict[str, Any]:
            return {"collected_at": sample.collected_at.isoformat(), **{key: getattr(sample, key) for key in keys}}

        return {
            "id": self.id,
            "kind": self.kind,
            "label": self.label,
            "accepted": sorted(self.accepted),
            "pre": [shown(sample) for sample in self.pre],
            "post": [shown(sample) for sample in self.post],
            "observation_minutes": self.window.expected,
            "evaluated_at": self.window.evaluated_at.isoformat() if self.window.evaluated_at else None,
        }
