"""Make samples of OTLP metrics, by the semantic conventions of OpenTelemetry. Pure.

Counters and histograms may come as deltas or since their start; for the latter, the values of the export before are
kept by series (State). Exports of SDKs come about once a minute, one per instance.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from metrics.payload import LARGEST_CUSTOM, Metrics

DELTA = 1  # AggregationTemporality
MOST_SERIES = 500
MOST_POINTS = 20_000
MOST_BUCKETS = 400
# What is older says nothing about now.
JUST_BEGUN_S = 600.0
# Of a period: times of data points may be rounded.
LEAST_S = 1e-3
# Among the flags of a data point: the series has ended, or has no value now.
NO_VALUE = 1
QUANTILE = 0.95
# Histograms of the duration of requests, and ms of their unit.
DURATIONS = {"http.server.request.duration": 1000.0, "http.server.duration": 1.0}
STATUS = ("http.response.status_code", "http.status_code")
# Shares of cpu by their mode, which are no work.
IDLE = ("idle", "iowait", "wait", "steal")
CPU = ("container.cpu.utilization", "process.cpu.utilization", "system.cpu.utilization")
MEMORY = ("container.memory.utilization", "process.memory.utilization", "system.memory.utilization")
USAGE = ("container.memory.usage", "process.memory.usage", "system.memory.usage")
LIMITS = ("container.memory.limit", "system.memory.limit")
MODES = ("cpu.mode", "process.cpu.state", "system.cpu.state", "state", "cpu.state", "system.memory.state")
INSTANCES = ("service.instance.id", "k8s.pod.name", "container.id", "host.name")
ENVIRONMENTS = ("deployment.environment.name", "deployment.environment")

# Counts by (lower bound, upper bound].
Segments = dict[tuple[float, float], float]


@dataclass(slots=True)
class State:
    """What an instance sent last. at: seconds since 1970; series: by key, what was counted since a start (ns)."""

    at: float = 0.0
    series: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Found:
    """What one export of an instance gives. rejected: data points that are left out, and why."""

    at: datetime | None = None
    metrics: Metrics = field(default_factory=Metrics)
    rejected: int = 0
    why: str = ""


def attributes_of(attributes: Any) -> dict[str, str]:
    """Return attributes as texts."""
    found = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        if kind in ("string_value", "int_value", "double_value", "bool_value"):
            found[one.key] = str(getattr(one.value, kind))
    return found


def named(attributes: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the first of these attributes that is there, without what cannot be stored."""
    value = next((attributes[name] for name in names if attributes.get(name)), "")
    return "".join(one for one in value[:200] if one.isprintable())


def points_of(metric: Any) -> Sequence[Any]:
    kind = metric.WhichOneof("data")
    return getattr(metric, kind).data_points if kind and kind != "summary" else ()


class Export:
    """One export of one instance, and what it counts since the one before. custom: kinds by name, of the policy."""

    def __init__(self, state: State, custom: Mapping[str, str]) -> None:
        self.state, self.custom = state, custom
        self.at = 0.0
        self.rejected, self.why = 0, ""
        self.durations = ""
        self.requests: float | None = None
        self.errors, self.rate = 0.0, 0.0
        self.segments: Segments = {}
        self.values: dict[str, list[tuple[dict[str, str], float]]] = {}
        self.counted: dict[str, tuple[float, float]] = {}

    def add(self, metric: Any) -> None:
        """Take a metric that means something here; others are accepted, and used for nothing."""
        kind = metric.WhichOneof("data")
        ours = metric.name.replace(".", "_")
        if metric.name in DURATIONS and kind in ("histogram", "exponential_histogram"):
            if self.durations not in ("", metric.name):
                return  # the same requests by both names, as http/dup has them
            self.durations = metric.name
            self.add_durations(metric, getattr(metric, kind), kind)
        elif kind == "gauge" or (kind == "sum" and not metric.sum.is_monotonic):
            if metric.name in (*CPU, *MEMORY, *USAGE, *LIMITS) or ours in self.custom:
                for point in points_of(metric):
                    self.add_value(metric.name, point)
        elif kind == "sum" and ours in self.custom:
            for point in metric.sum.data_points:
                self.add_counter(ours, metric, point)

    def add_value(self, name: str, point: Any) -> None:
        if point.flags & NO_VALUE:
            return None
        value = number_of(point)
        if value is None:
            return self.reject("a value is not finite")
        self.seen(point)
        self.values.setdefault(name, []).append((attributes_of(point.attributes), value))
        return None

    def add_counter(self, name: str, metric: Any, point: Any) -> None:
        if point.flags & NO_VALUE:
            return None
        value = number_of(point)
        if value is None or value < 0:
            return self.reject("a counter is negative, or not finite")
        found = self.since(metric.name, point, {"count": value}, delta=metric.sum.aggregation_temporality == DELTA)
        if found is not None:
            counts, seconds = found
            total, _ = self.counted.get(name, (0.0, 0.0))
            self.counted[name] = (total + counts["count"], seconds)
        return None

    def add_durations(self, metric: Any, histogram: Any, kind: str) -> None:
        # The unit that the exporter names counts more than the convention.
        ms = {"s": 1000.0, "ms": 1.0}.get(metric.unit, DURATIONS[metric.name])
        delta = histogram.aggregation_temporality == DELTA
        for point in histogram.data_points:
            counts = explicit(point) if kind == "histogram" else exponential(point)
            if counts is None:
                self.reject("the buckets of a histogram do not fit its counts, or are too many")
                continue
            found = self.since(metric.name, point, counts, delta=delta)
            if found is None:
                continue
            counts, seconds = found
            self.requests = (self.requests or 0.0) + counts["count"]
            self.rate += counts["count"] / seconds
            if named(attributes_of(point.attributes), STATUS).startswith("5"):
                self.errors += counts["count"]
            for (low, high), count in segments_of(counts, point):
                place = (low * ms, high * ms)
                self.segments[place] = self.segments.get(place, 0.0) + count

    def since(
        self, name: str, point: Any, counts: dict[str, Any], *, delta: bool
    ) -> tuple[dict[str, Any], float] | None:
        """Return what was counted since the export before, and in how many seconds; None where that is not known."""
        at, start = point.time_unix_nano / 1e9, point.start_time_unix_nano
        if not self.has_period(point):
            return None
        self.seen(point)
        if delta:
            return counts, max(LEAST_S, at - start / 1e9) if start else 60.0
        told = repr((name, sorted(attributes_of(point.attributes).items())))
        key = hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:16]
        before = self.state.series.get(key)
        if before is None and len(self.state.series) >= MOST_SERIES:
            self.reject(f"an instance has more than {MOST_SERIES} series that count since their start")
            return None
        if before is not None and at <= before["at"]:
            return None
        self.state.series[key] = {**counts, "start": start, "at": at}
        if before is None:
            # A series that is new in an instance which is known, or began a moment ago, began at 0.
            seconds = at - (self.state.at or start / 1e9)
            return (counts, max(LEAST_S, seconds)) if 0 < seconds <= JUST_BEGUN_S else None
        if before["start"] == start and counts["count"] >= before["count"]:
            counts = difference(counts, before)
        return counts, at - before["at"]

    def has_period(self, point: Any) -> bool:
        """Return whether a count has a value and covers a period. Rejects a point that ends before it begins."""
        if point.flags & NO_VALUE:
            return False
        if point.start_time_unix_nano >= point.time_unix_nano:
            self.reject("a data point ends before it begins")
            return False
        return True

    def seen(self, point: Any) -> None:
        self.at = max(self.at, point.time_unix_nano / 1e9)

    def reject(self, why: str) -> None:
        self.rejected, self.why = self.rejected + 1, self.why or why

    def finish(self) -> Found:
        """Return the sample, and note in the state when it was."""
        found = Found(rejected=self.rejected, why=self.why)
        if not self.at or not math.isfinite(self.at):
            return found
        found.at = datetime.fromtimestamp(min(max(self.at, 0.0), 32_503_680_000), UTC)
        metrics = found.metrics
        if self.requests is not None:
            metrics.requests_per_sec = self.rate
            if self.requests > 0:
                metrics.error_rate = min(1.0, self.errors / self.requests)
                metrics.latency_p95 = quantile(self.segments, QUANTILE)
        metrics.cpu_usage, metrics.memory_usage = self.cpu(), self.memory()
        for name, kind in self.custom.items():
            value = self.custom_value(name, kind)
            if value is not None and abs(value) <= LARGEST_CUSTOM:
                metrics.custom[name] = value
        self.state.at = max(self.state.at, self.at)
        return found

    def cpu(self) -> float | None:
        for name in CPU:
            by_cpu: dict[str, float] = {}
            for attributes, value in self.values.get(name, ()):
                if named(attributes, MODES) not in IDLE:
                    which = attributes.get("cpu.logical_number") or attributes.get("cpu", "")
                    by_cpu[which] = by_cpu.get(which, 0.0) + value
            if by_cpu:
                return share(sum(by_cpu.values()) / len(by_cpu))
        return None

    def memory(self) -> float | None:
        for name in MEMORY:
            if used := self.used(name):
                return share(sum(used))
        limits = [value for name in LIMITS for _, value in self.values.get(name, ()) if value > 0]
        for name in USAGE if limits else ():
            if used := self.used(name):
                return share(sum(used) / limits[0])
        return None

    def used(self, name: str) -> list[float]:
        given = ((named(attributes, MODES), value) for attributes, value in self.values.get(name, ()))
        return [value for mode, value in given if mode in ("", "used")]

    def custom_value(self, name: str, kind: str) -> float | None:
        if name in self.counted:
            total, seconds = self.counted[name]
            return total / seconds if kind == "rate" else total
        for own, values in self.values.items():
            if own.replace(".", "_") == name:
                amounts = [value for _, value in values]
                return sum(amounts) / len(amounts) if kind == "ratio" else sum(amounts)
        return None


def number_of(point: Any) -> float | None:
    kind = point.WhichOneof("value")
    value = float(getattr(point, kind)) if kind else math.nan
    return value if math.isfinite(value) else None


def share(value: float) -> float:
    return min(1.0, max(0.0, value))


def explicit(point: Any) -> dict[str, Any] | None:
    """Return the counts of a histogram with explicit bounds; None where they contradict each other."""
    bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    if len(counts) > MOST_BUCKETS or (counts and len(counts) != len(bounds) + 1):
        return None
    if not all(map(math.isfinite, bounds)) or any(low >= high for low, high in pairwise(bounds)):
        return None
    return {"count": float(point.count), "bounds": bounds, "buckets": counts}


def exponential(point: Any) -> dict[str, Any] | None:
    """Return the counts of an exponential histogram; durations are not negative."""
    counts = list(point.positive.bucket_counts)
    if len(counts) > MOST_BUCKETS or not -20 <= point.scale <= 20 or abs(point.positive.offset) > 2**30:
        return None
    buckets = {str(point.positive.offset + place): count for place, count in enumerate(counts) if count}
    return {"count": float(point.count), "scale": point.scale, "zero": point.zero_count, "buckets": buckets}


def difference(counts: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was counted since; where buckets are others than before, their shares are taken as they are."""
    found = {**counts, "count": counts["count"] - before["count"]}
    if "scale" in counts and "scale" in before:
        scale = min(counts["scale"], before["scale"])
        now, then = at_scale(counts, scale), at_scale(before, scale)
        buckets = {place: max(0, count - then.get(place, 0)) for place, count in now.items()}
        return {**found, "scale": scale, "zero": max(0, counts["zero"] - before["zero"]), "buckets": buckets}
    if "bounds" in counts and counts["bounds"] == before.get("bounds"):
        pairs = zip(counts["buckets"], before["buckets"], strict=False)
        found["buckets"] = [max(0, now - then) for now, then in pairs]
    return found


def at_scale(counts: Mapping[str, Any], scale: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for place, count in counts["buckets"].items():
        coarse = str(int(place) >> (counts["scale"] - scale))
        found[coarse] = found.get(coarse, 0) + count
    return found


def segments_of(counts: Mapping[str, Any], point: Any) -> Iterator[tuple[tuple[float, float], float]]:
    """Yield ((lower bound, upper bound), count), in the unit of the histogram."""
    if "scale" in counts:
        if counts["zero"]:
            yield (0.0, max(0.0, getattr(point, "zero_threshold", 0.0))), counts["zero"]
        factor = 2.0 ** -counts["scale"]
        for place, count in counts["buckets"].items():
            # From 2^(index × factor) on; beyond what a float holds nothing is a duration.
            low, high = (min(max((int(place) + one) * factor, -60.0), 60.0) for one in (0, 1))
            yield (2.0**low, 2.0**high), count
        return
    lows = [0.0, *counts.get("bounds", ())]
    for place, count in enumerate(counts.get("buckets", ())):
        # What is beyond the last bound is at least that.
        yield (lows[place], lows[place + 1] if place + 1 < len(lows) else lows[place]), count


def quantile(segments: Segments, share: float) -> float | None:
    """Return the quantile of counts that are spread evenly within their bounds; None of nothing."""
    total = sum(segments.values())
    if total <= 0:
        return None
    below = 0.0
    ordered = sorted(segments.items())
    if all(one[0][1] <= after[0][0] for one, after in pairwise(ordered)):
        # The usual case: buckets that follow each other.
        for (low, high), count in ordered:
            if count and below + count >= share * total:
                return low + (high - low) * (share * total - below) / count
            below += count
    edges = sorted({edge for place in segments for edge in place})
    before = (edges[0], 0.0)
    for edge in edges:
        below = sum(count * within(edge, low, high) for (low, high), count in segments.items())
        if below >= share * total:
            rise = below - before[1]
            return before[0] + (edge - before[0]) * (share * total - before[1]) / rise if rise else edge
        before = (edge, below)
    return edges[-1]


def within(edge: float, low: float, high: float) -> float:
    """Return the share of a segment up to an edge."""
    return 1.0 if edge >= high else 0.0 if edge <= low else (edge - low) / (high - low)
