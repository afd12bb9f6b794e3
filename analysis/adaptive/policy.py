"""The adaptive policy: what a team can tune about the judge. A value; stored with every verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from analysis.adaptive.lines import SENSITIVITY_SCALE, Lines, lines_for
from analysis.types import METRICS

Sensitivity = Literal["low", "normal", "high"]

# Metrics that may recommend a rollback by themselves. cpu_usage is not among them: a busy machine alone hurts nobody.
CRITICAL_METRICS = ("requests_per_sec", "latency_p95", "error_rate", "memory_usage")

# Share of POST samples that may lie beyond a hard limit, as in the fixed policy.
TOLERANCES: Mapping[str, float] = {
    "requests_per_sec": 0.20,
    "latency_p95": 0.20,
    "error_rate": 0.05,
    "cpu_usage": 0.20,
    "memory_usage": 0.10,
}
MAX_WARMUP = 10
_RATIOS = ("error_rate", "cpu_usage", "memory_usage")


@dataclass(frozen=True, slots=True)
class AdaptivePolicy:
    """Compare a deployment with the service's own level.

    sensitivity scales the lines. limits: the team's own absolute limits per metric (ms, ratio 0..1, requests per
    second); where there is one it replaces the metric's lines: beyond it the metric fails, whatever its level was, and
    within it its level is fine. For requests_per_sec it is a minimum. tolerances: share of POST samples that may lie
    beyond a limit. warmup_samples: how many first POST samples are forgiven (None: one or two, by the window).
    critical_metrics may recommend a rollback, others only warn. left_out metrics are not judged. shadow: the verdict is
    recorded and never gates.
    """

    kind: Literal["adaptive"] = "adaptive"
    sensitivity: Sensitivity = "normal"
    limits: Mapping[str, float] = field(default_factory=dict)
    tolerances: Mapping[str, float] = field(default_factory=dict)
    warmup_samples: int | None = None
    critical_metrics: tuple[str, ...] = CRITICAL_METRICS
    left_out: tuple[str, ...] = ()
    shadow: bool = False

    @property
    def lines(self) -> Lines:
        """The lines at this sensitivity."""
        return lines_for(self.sensitivity)

    def tolerance(self, metric: str) -> float:
        """Share (0..1) of POST samples that may lie beyond the metric's hard limit."""
        return self.tolerances.get(metric, TOLERANCES[metric])

    def as_dict(self) -> dict[str, Any]:
        """The policy as JSON values; `from_dict` reads it back."""
        return {
            "kind": self.kind,
            "sensitivity": self.sensitivity,
            "limits": dict(self.limits),
            "tolerances": {metric: self.tolerance(metric) for metric in METRICS},
            "warmup_samples": self.warmup_samples,
            "critical_metrics": list(self.critical_metrics),
            "left_out": list(self.left_out),
            "shadow": self.shadow,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AdaptivePolicy:
        """Read a policy; missing keys mean the default. Raises ValueError that names the field and what it allows."""
        if not isinstance(data, Mapping):
            raise ValueError("policy: must be an object with the policy's fields")
        unknown = sorted(str(key) for key in set(data) - _FIELDS)
        if unknown:
            raise ValueError(f"{unknown[0]}: unknown field; the adaptive policy has {', '.join(sorted(_FIELDS))}")
        if data.get("kind", "adaptive") != "adaptive":
            raise ValueError(f"kind: must be 'adaptive', not {data['kind']!r}")
        sensitivity = data.get("sensitivity", "normal")
        if not isinstance(sensitivity, str) or sensitivity not in SENSITIVITY_SCALE:
            raise ValueError(f"sensitivity: must be one of low, normal, high, not {sensitivity!r}")
        policy = cls(
            sensitivity=cast("Sensitivity", sensitivity),
            limits=_limits(data.get("limits", {})),
            tolerances=_tolerances(data.get("tolerances", {})),
            warmup_samples=_warmup(data.get("warmup_samples")),
            critical_metrics=_metrics("critical_metrics", data.get("critical_metrics", CRITICAL_METRICS)),
            left_out=_metrics("left_out", data.get("left_out", ())),
            shadow=_flag("shadow", data.get("shadow", False)),
        )
        if len(policy.left_out) == len(METRICS):
            raise ValueError("left_out: leaves nothing to judge; keep at least one metric")
        return policy


_FIELDS = frozenset(AdaptivePolicy.__dataclass_fields__)


def _number(name: str, value: Any, low: float, high: float) -> float:
    allowed = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more, finite"
    wrong = ValueError(f"{name}: must be a number, {allowed}, not {value!r:.60}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    try:
        number = float(value)
    except OverflowError:
        raise wrong from None
    if not math.isfinite(number) or not low <= number <= high:
        raise wrong
    return number


def _per_metric(name: str, data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"{name}: must be an object from metric to number, not {data!r}")
    for metric in data:
        if metric not in METRICS:
            raise ValueError(f"{name}.{metric}: no such metric; there are {', '.join(METRICS)}")
    return data


def _limits(data: Any) -> dict[str, float]:
    return {
        metric: _number(f"limits.{metric}", value, 0.0, 1.0 if metric in _RATIOS else math.inf)
        for metric, value in _per_metric("limits", data).items()
    }


def _tolerances(data: Any) -> dict[str, float]:
    return {
        metric: _number(f"tolerances.{metric}", value, 0.0, 1.0)
        for metric, value in _per_metric("tolerances", data).items()
    }


def _warmup(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_WARMUP:
        raise ValueError(
            f"warmup_samples: must be a whole number, 0 to {MAX_WARMUP}, or null for automatic, not {value!r}"
        )
    return value


def _metrics(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name}: must be a list of metrics, not {value!r}")
    for metric in value:
        if metric not in METRICS:
            raise ValueError(f"{name}: no metric {metric!r}; there are {', '.join(METRICS)}")
    return tuple(metric for metric in METRICS if metric in value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: must be true or false, not {value!r}")
    return value
