"""Reading the body of a metrics endpoint (WIRE §2). Pure, and strict: what is not surely a measurement is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

# Metric → its greatest value; None: no bound above.
BOUNDS: dict[str, float | None] = {
    "requests_per_sec": None,
    "latency_p95": None,
    "error_rate": 1.0,
    "cpu_usage": 1.0,
    "memory_usage": 1.0,
}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


STRICT_JSON = json.JSONDecoder(parse_constant=_no_constant)


class InvalidPayload(ValueError):
    """The body is no set of metrics. code: invalid_json or invalid_payload; the message tells what to mend."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Metrics:
    """One set of the five metrics: requests per second, ms, and three ratios 0..1."""

    requests_per_sec: float
    latency_p95: float
    error_rate: float
    cpu_usage: float
    memory_usage: float


def parse_metrics(body: bytes) -> Metrics:
    """The five metrics of a body; raises InvalidPayload that names the field and what it may be."""
    metrics = metrics_object(body)
    return Metrics(**{name: checked(metrics, name) for name in BOUNDS})


def metrics_object(body: bytes) -> dict[str, Any]:
    """The object that holds the metrics; raises InvalidPayload."""
    try:
        document = STRICT_JSON.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidPayload("invalid_json", f"the answer is not valid JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("metrics"), dict):
        raise InvalidPayload("invalid_payload", 'the answer has no object "metrics" with the five metrics')
    found: dict[str, Any] = document["metrics"]
    return found


def checked(metrics: dict[str, Any], name: str) -> float:
    """One metric of the object, as a number within its bounds."""
    bound = BOUNDS[name]
    allowed = "at least 0" if bound is None else f"0..{bound:g}"
    if name not in metrics:
        raise InvalidPayload("invalid_payload", f"{name} is missing, it has to be a number, {allowed}")
    value = metrics[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidPayload("invalid_payload", f"{name} is {short(value)}, it has to be a number, {allowed}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidPayload("invalid_payload", f"{name} is not finite, it has to be a number, {allowed}")
    if number < 0 or (bound is not None and number > bound):
        raise InvalidPayload("invalid_payload", f"{name} is {number:g}, allowed {allowed}")
    return number


def short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        # It could just be read, from a little less far down.
        return "nested too deep"
    return text if len(text) <= 40 else text[:37] + "…"


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric of a body as a person looks at it: its value, or what is wrong with it.

    doubt: "" or what the number may really be: "percent" (no ratio), "seconds" (no milliseconds), "nothing" (0 of
    what every running service uses).
    """

    name: str
    value: float | None = None
    problem: str = ""
    doubt: str = ""


# Milliseconds: nothing that people use answers faster; what does may count seconds.
FASTEST_MS = 1.0
# A service that runs uses some of both.
NEVER_NOTHING = ("cpu_usage", "memory_usage")


def read_metrics(body: bytes) -> list[Reading]:
    """Each of the five metrics by itself; raises InvalidPayload where the body holds none at all."""
    metrics = metrics_object(body)
    return [reading(metrics, name) for name in BOUNDS]


def reading(metrics: dict[str, Any], name: str) -> Reading:
    try:
        value = checked(metrics, name)
    except InvalidPayload as error:
        return Reading(name, problem=str(error), doubt=_doubt_of_refused(metrics.get(name), name))
    if name == "latency_p95" and 0 < value < FASTEST_MS:
        return Reading(name, value, doubt="seconds")
    if name in NEVER_NOTHING and value == 0:
        return Reading(name, value, doubt="nothing")
    return Reading(name, value)


def _doubt_of_refused(value: Any, name: str) -> str:
    """What a value that is not allowed may have been meant as."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "percent" if number and BOUNDS[name] == 1.0 and 1 < value <= 100 else ""
