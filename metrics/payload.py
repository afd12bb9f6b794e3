"""Parse the body of a metrics endpoint (docs/protocol.md). Pure, and strict: ambiguous values are refused."""

import json
import math
from dataclasses import dataclass
from typing import Any

from common.strict_json import InvalidJSON, read_json
from explain.errors import ExplainedError
from explain.facts import Fact

# Greatest value by metric; None: no upper bound.
BOUNDS: dict[str, float | None] = {
    "requests_per_sec": None,
    "latency_p95": None,
    "error_rate": 1.0,
    "cpu_usage": 1.0,
    "memory_usage": 1.0,
}


class InvalidPayload(ExplainedError, ValueError):
    """The body is not a set of metrics."""

    @property
    def reason(self) -> str:
        """Return the code of the failed collection: invalid_json or invalid_payload."""
        return "invalid_json" if self.code == "not_json" else "invalid_payload"


@dataclass(frozen=True, slots=True)
class Metrics:
    """The five metrics: requests per second, ms, and three ratios 0..1."""

    requests_per_sec: float
    latency_p95: float
    error_rate: float
    cpu_usage: float
    memory_usage: float


def parse_metrics(body: bytes) -> Metrics:
    """Return the five metrics of a body.

    Raises: InvalidPayload that names the field and its allowed values.
    """
    metrics = metrics_object(body)
    return Metrics(**{name: checked(metrics, name) for name in BOUNDS})


def metrics_object(body: bytes) -> dict[str, Any]:
    """Return the object that holds the metrics. Raises InvalidPayload."""
    try:
        document = read_json(body)
    except InvalidJSON as error:
        raise InvalidPayload("not_json", problem=error.fact) from None
    if not isinstance(document, dict) or not isinstance(document.get("metrics"), dict):
        raise InvalidPayload("no_metrics", field="metrics")
    found: dict[str, Any] = document["metrics"]
    return found


def checked(metrics: dict[str, Any], name: str) -> float:
    """Return one metric of the object, as a number within its bounds. Raises InvalidPayload."""
    bound = BOUNDS[name]
    about: dict[str, Any] = {
        "field": f"metrics.{name}",
        "name": name,
        "allowed": "not_negative" if bound is None else "ratio",
    }
    if name not in metrics:
        raise InvalidPayload("metric_missing", **about)
    value = metrics[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidPayload("metric_no_number", value=short(value), **about)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidPayload("metric_not_finite", **about)
    if number < 0 or (bound is not None and number > bound):
        raise InvalidPayload("metric_out_of_bounds", number=number, **about)
    return number


def short(value: Any) -> str | Fact:
    """Return the value as JSON, cut off after 40 characters."""
    try:
        text = json.dumps(value)
    except RecursionError:
        # It could be parsed, but not be written from this stack depth.
        return Fact("json_depth")
    return text if len(text) <= 40 else text[:37] + "…"


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric of a body for display: its value, or its problem.

    doubt: "" or a likely mistake: "percent" (not a ratio), "seconds" (not milliseconds), "nothing" (0 of a resource
    that every running service uses).
    """

    name: str
    value: float | None = None
    problem: Fact | None = None
    doubt: str = ""


# Hardly any service answers faster; smaller values are probably seconds.
FASTEST_MS = 1.0
# A running service uses some of both.
NEVER_NOTHING = ("cpu_usage", "memory_usage")


def read_metrics(body: bytes) -> list[Reading]:
    """Return each of the five metrics separately.

    Raises: InvalidPayload if the body contains none.
    """
    metrics = metrics_object(body)
    return [reading(metrics, name) for name in BOUNDS]


def reading(metrics: dict[str, Any], name: str) -> Reading:
    try:
        value = checked(metrics, name)
    except InvalidPayload as error:
        return Reading(name, problem=error.fact, doubt=_doubt_of_refused(metrics.get(name), name))
    if name == "latency_p95" and 0 < value < FASTEST_MS:
        return Reading(name, value, doubt="seconds")
    if name in NEVER_NOTHING and value == 0:
        return Reading(name, value, doubt="nothing")
    return Reading(name, value)


def _doubt_of_refused(value: Any, name: str) -> str:
    """Return the likely meaning of a refused value."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "percent" if number and BOUNDS[name] == 1.0 and 1 < value <= 100 else ""
