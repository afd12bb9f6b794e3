"""What a verdict is judged by. Pure values; read from and written to plain JSON objects.

The numbers of FixedPolicy are the product's published defaults for the `fixed` policy. Overrides are partial: a key
that is missing means its default. A further kind of policy adds its class to `Policy` and its reader to `_READERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from analysis.adaptive.policy import AdaptivePolicy
from analysis.types import METRICS

LIMITED_METRICS = ("latency_p95", "error_rate", "cpu_usage", "memory_usage")
DEFAULT_KIND = "adaptive"


@dataclass(frozen=True, slots=True)
class Limit:
    """limit in the metric's unit; tolerance: share 0..1 of POST samples that may lie above the secured limit."""

    limit: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class TrafficRule:
    """drop: how far (0..1) below the PRE mean a POST sample counts as lost traffic; tolerance: share of such samples
    that is allowed; min_pre_mean: requests per second below which traffic is too thin to compare."""

    drop: float = 0.20
    tolerance: float = 0.20
    min_pre_mean: float = 0.5


@dataclass(frozen=True)
class FixedPolicy:
    """Fixed limits for every service. secured_factor × limit is the line that samples are held against; min_quality
    is the data quality score (0..1, see quality.py) from which a verdict is conclusive."""

    kind: ClassVar[str] = "fixed"

    latency_p95: Limit = Limit(300.0, 0.20)
    error_rate: Limit = Limit(0.01, 0.05)
    cpu_usage: Limit = Limit(0.80, 0.20)
    memory_usage: Limit = Limit(0.80, 0.10)
    requests_per_sec: TrafficRule = TrafficRule()
    secured_factor: float = 0.9
    critical_metrics: tuple[str, ...] = ("requests_per_sec", "error_rate")
    min_quality: float = 0.6

    def limit_of(self, metric: str) -> Limit:
        """The limit and tolerance of one of LIMITED_METRICS."""
        found: Limit = getattr(self, metric)
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON values; `policy_from_dict` reads them back to an equal policy."""
        traffic = self.requests_per_sec
        return {
            "kind": self.kind,
            **{
                metric: {"limit": self.limit_of(metric).limit, "tolerance": self.limit_of(metric).tolerance}
                for metric in LIMITED_METRICS
            },
            "requests_per_sec": {
                "drop": traffic.drop,
                "tolerance": traffic.tolerance,
                "min_pre_mean": traffic.min_pre_mean,
            },
            "secured_factor": self.secured_factor,
            "critical_metrics": list(self.critical_metrics),
            "min_quality": self.min_quality,
        }


Policy: TypeAlias = FixedPolicy | AdaptivePolicy


def policy_from_dict(data: Mapping[str, Any]) -> Policy:
    """The policy that `data` describes; keys that are missing mean their defaults.

    Raises ValueError with the field and what would be right, also for unknown fields: a misspelt limit must not be
    silently replaced by its default.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"policy: must be a JSON object, not {type(data).__name__}")
    kind = data.get("kind", DEFAULT_KIND)
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise ValueError(f"kind: {kind!r} is unknown; use one of: {', '.join(sorted(_READERS))}")
    return reader({key: value for key, value in data.items() if key != "kind"})


def _read_fixed(data: Mapping[str, Any]) -> FixedPolicy:
    base = FixedPolicy()
    known = {*LIMITED_METRICS, "requests_per_sec", "secured_factor", "critical_metrics", "min_quality"}
    _refuse_unknown(data, known, "")
    return FixedPolicy(
        latency_p95=_limit(data, "latency_p95", base.latency_p95, most=math.inf),
        error_rate=_limit(data, "error_rate", base.error_rate, most=1.0),
        cpu_usage=_limit(data, "cpu_usage", base.cpu_usage, most=1.0),
        memory_usage=_limit(data, "memory_usage", base.memory_usage, most=1.0),
        requests_per_sec=_traffic(data, base.requests_per_sec),
        secured_factor=_positive(data, "secured_factor", base.secured_factor, most=1.0),
        critical_metrics=_critical(data, base.critical_metrics),
        min_quality=_number(data, "min_quality", base.min_quality, most=1.0),
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], Policy]] = {
    "adaptive": AdaptivePolicy.from_dict,
    "fixed": _read_fixed,
}


def _limit(data: Mapping[str, Any], name: str, base: Limit, *, most: float) -> Limit:
    part = _section(data, name, {"limit", "tolerance"})
    return Limit(
        limit=_positive(part, "limit", base.limit, most=most, path=f"{name}."),
        tolerance=_number(part, "tolerance", base.tolerance, most=1.0, path=f"{name}."),
    )


def _traffic(data: Mapping[str, Any], base: TrafficRule) -> TrafficRule:
    path = "requests_per_sec."
    part = _section(data, "requests_per_sec", {"drop", "tolerance", "min_pre_mean"})
    return TrafficRule(
        drop=_positive(part, "drop", base.drop, most=1.0, path=path),
        tolerance=_number(part, "tolerance", base.tolerance, most=1.0, path=path),
        min_pre_mean=_number(part, "min_pre_mean", base.min_pre_mean, most=math.inf, path=path),
    )


def _critical(data: Mapping[str, Any], base: tuple[str, ...]) -> tuple[str, ...]:
    value = data.get("critical_metrics", base)
    if not isinstance(value, (list, tuple)) or any(metric not in METRICS for metric in value):
        raise ValueError(f"critical_metrics: must be a list of metrics out of: {', '.join(METRICS)}; got {value!r}")
    return tuple(metric for metric in METRICS if metric in value)


def _section(data: Mapping[str, Any], name: str, known: set[str]) -> Mapping[str, Any]:
    part = data.get(name, {})
    if not isinstance(part, Mapping):
        raise ValueError(f"{name}: must be an object with {', '.join(sorted(known))}; got {part!r}")
    _refuse_unknown(part, known, f"{name}.")
    return part


def _refuse_unknown(data: Mapping[str, Any], known: set[str], path: str) -> None:
    for key in data:
        if key not in known:
            raise ValueError(f"{path}{key}: unknown field; known ones: {', '.join(sorted(known))}")


def _positive(data: Mapping[str, Any], name: str, base: float, *, most: float, path: str = "") -> float:
    number = _number(data, name, base, most=most, path=path)
    if number == 0:
        raise ValueError(f"{path}{name}: must be greater than 0")
    return number


def _number(data: Mapping[str, Any], name: str, base: float, *, most: float, path: str = "") -> float:
    value = data.get(name, base)
    allowed = "a number of at least 0" if most == math.inf else f"a number from 0 to {most:g}"
    wrong = ValueError(f"{path}{name}: must be {allowed}; got {value!r:.60}")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong
    try:
        number = float(value)
    except OverflowError:
        raise wrong from None
    if not math.isfinite(number) or not 0 <= number <= most:
        raise wrong
    return number
