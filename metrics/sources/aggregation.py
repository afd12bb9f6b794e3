"""Make one sample of those of several instances: each metric by its kind. Pure."""

from collections.abc import Mapping, Sequence

from metrics.payload import METRICS, Metrics

# How values of instances become one: of the five, and of custom metrics by their kind in the policy.
BY_METRIC = {
    "requests_per_sec": "sum",
    "latency_p95": "max",  # a share of a percentile is none: that of the slowest instance
    "error_rate": "weighted",
    "cpu_usage": "mean",
    "memory_usage": "max",  # the first to run out of it ends
}
BY_KIND = {"rate": "sum", "count": "sum", "ratio": "weighted", "gauge": "mean"}


def aggregated(readings: Sequence[Metrics], kinds: Mapping[str, str]) -> Metrics:
    """Return what instances are together, each of which gave one reading.

    kinds: of custom metrics, by name; those that it lacks are gauges. A metric is of the instances that know it.
    """
    found = Metrics(instances=sum(reading.instances or 1 for reading in readings))
    for name in METRICS:
        setattr(found, name, together(BY_METRIC[name], [(getattr(reading, name), reading) for reading in readings]))
    for name in dict.fromkeys(name for reading in readings for name in reading.custom):
        given = [(reading.custom.get(name), reading) for reading in readings]
        value = together(way_of(name, kinds), given)
        if value is not None:
            found.custom[name] = value
    return found


def way_of(name: str, kinds: Mapping[str, str]) -> str:
    """Return how values of a metric become one."""
    return BY_METRIC.get(name) or BY_KIND.get(kinds.get(name, "gauge"), "mean")


def together(way: str, given: Sequence[tuple[float | None, Metrics]]) -> float | None:
    """Return one value of those that are known, None where none is.

    Weights are the requests of instances where all of them know those, else all count alike.
    """
    known = [(value, reading) for value, reading in given if value is not None]
    if not known:
        return None
    values = [value for value, _ in known]
    if way in ("sum", "max"):
        return sum(values) if way == "sum" else max(values)
    weights = [reading.requests_per_sec for _, reading in known]
    if way == "weighted" and None not in weights and sum(filter(None, weights)) > 0:
        total = sum(filter(None, weights))
        return sum(value * (weight or 0.0) / total for value, weight in zip(values, weights, strict=True))
    return sum(value / len(values) for value in values)
