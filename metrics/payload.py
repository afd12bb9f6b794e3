"""Parse the body of a metrics endpoint (docs/protocol.md). Pure, and strict: ambiguous values are refused."""

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from common.strict_json import Constant, InvalidJSON, read_json
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.formats import format_of
from projects.units import MS, OUR_UNITS, PERCENT, RATIO, SECONDS, Units

# Greatest value by metric; None: no upper bound.
BOUNDS: dict[str, float | None] = {
    "requests_per_sec": None,
    "latency_p95": None,
    "error_rate": 1.0,
    "cpu_usage": 1.0,
    "memory_usage": 1.0,
}
# Values so little out of bounds are rounding errors and are set to the bound. A ratio: 1 % of its range, at both ends.
# A rate or a duration has no range to take a share of, so only what differences of floats leave below 0.
RATIO_SLACK = 0.01
ROUNDING = 1e-6
NUMBERS = (int, float)  # of JSON; a bool is none


class InvalidPayload(ExplainedError, ValueError):
    """The body is not a set of metrics."""

    @property
    def reason(self) -> str:
        """Return the code of the failed collection: invalid_json or invalid_payload."""
        return "invalid_json" if self.code in ("not_json", "metric_constant") else "invalid_payload"


METRICS = tuple(BOUNDS)

# Names of custom metrics, as a policy may have them (projects/policy.py), and how many an answer may have.
CUSTOM_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
MOST_CUSTOM = 100
LARGEST_CUSTOM = 1e15
MOST_INSTANCES = 1_000_000
# Among the custom metrics: of how many journeys an error rate is, where a source knows (analysis/judge/types.py).
ERROR_ASKS = "error_rate_asks"


@dataclass(slots=True)  # not frozen: that makes it four times as slow, thousands of times a second
class Metrics:
    """The five metrics: requests per second, ms, and three ratios 0..1. None: the source does not know it.

    latency_p95: None without requests. custom: further metrics by name, in their own units (projects/policy.py);
    instances: how many instances of the service they cover, None where that is unknown.
    """

    requests_per_sec: float | None = None
    latency_p95: float | None = None
    error_rate: float | None = None
    cpu_usage: float | None = None
    memory_usage: float | None = None
    custom: dict[str, float] = field(default_factory=dict)
    instances: int | None = None

    @property
    def empty(self) -> bool:
        """Return whether not one metric is known."""
        return not self.custom and all(getattr(self, name) is None for name in METRICS)


def parse_metrics(body: bytes, units: Units = OUR_UNITS) -> Metrics:
    """Return the five metrics of a body, converted from these units.

    Raises: InvalidPayload that names the field, its value and what is allowed.
    """
    document = document_of(body)
    custom, instances = custom_of(document), instances_of(document)
    metrics = document.get("metrics", {})
    values = [accepted(metrics.get(name), rule) for name, rule in _rules(units).items()]
    if None not in values:
        requests, latency, errors, cpu, memory = values
        return Metrics(requests, latency, errors, cpu, memory, custom, instances)
    if custom:
        # A service that has metrics of its own may have no use for some of the five: a worker has no requests.
        known = {name: checked(metrics, name, units) for name in BOUNDS if metrics.get(name) is not None}
        return Metrics(**known, custom=custom, instances=instances)
    for name in BOUNDS:
        # It is no JSON at all, which comes before what may be wrong with other values.
        if isinstance(metrics.get(name), Constant):
            checked(metrics, name, units)
    return Metrics(
        checked(metrics, "requests_per_sec", units),
        None if _untimed(metrics, units) else checked(metrics, "latency_p95", units),
        checked(metrics, "error_rate", units),
        checked(metrics, "cpu_usage", units),
        checked(metrics, "memory_usage", units),
        instances=instances,
    )


def metrics_of(values: Mapping[str, float | None], *, instances: int | None = None) -> Metrics:
    """Return these values, in our units, as metrics: those that are none of the five are custom ones.

    A value of None or NaN is no value. Raises: InvalidPayload where one of the five is out of its bounds.
    """
    known = {name: value for name, value in values.items() if value is not None and not math.isnan(value)}
    found = Metrics(instances=instances)
    for name, value in known.items():
        if name in BOUNDS:
            setattr(found, name, checked(known, name))
        elif math.isfinite(value):
            found.custom[name] = float(value)
    return found


def document_of(body: bytes) -> dict[str, Any]:
    """Return the object with the metrics, or with custom ones only. Raises InvalidPayload."""
    try:
        document = read_json(body)
    except InvalidJSON as error:
        document = _with_constants(body) if error.code == "json_constant" else None
        if document is None:
            known = format_of(body)
            raise InvalidPayload("not_json", problem=Fact(f"answer_is.{known}") if known else error.fact) from None
    if not isinstance(document, dict) or not isinstance(document.get("metrics", {}), dict):
        raise InvalidPayload("no_metrics", field="metrics")
    if "metrics" not in document and not document.get("custom"):
        raise InvalidPayload("no_metrics", field="metrics")
    return document


def custom_of(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the custom metrics of an answer by name. Raises InvalidPayload that names what is wrong."""
    if document.get("custom") is None:
        return {}
    custom = document["custom"]
    if not isinstance(custom, dict):
        raise InvalidPayload("custom_no_object", field="custom", value=short(custom))
    if len(custom) > MOST_CUSTOM:
        raise InvalidPayload("custom_too_many", field="custom", n=len(custom), most=MOST_CUSTOM)
    for name, value in custom.items():
        if CUSTOM_NAME.fullmatch(name) is None or name in BOUNDS:
            raise InvalidPayload("custom_misnamed", field="custom", name=short(name))
        if type(value) not in NUMBERS or not -LARGEST_CUSTOM <= value <= LARGEST_CUSTOM:
            raise InvalidPayload("custom_no_number", field=f"custom.{name}", name=name, value=short(value))
    return {name: float(value) for name, value in custom.items()}


def instances_of(document: Mapping[str, Any]) -> int | None:
    """Return how many instances an answer covers, None where it does not say. Raises InvalidPayload."""
    instances = document.get("instances")
    if instances is None:
        return None
    if type(instances) is not int or not 1 <= instances <= MOST_INSTANCES:
        raise InvalidPayload("instances_no_number", field="instances", value=short(instances), most=MOST_INSTANCES)
    return instances


def pid_of(body: bytes) -> int | None:
    """Return the id of the process that an answer says it tells of, None where it says nothing of that."""
    try:
        pid = document_of(body).get("pid")
    except InvalidPayload:
        return None
    return pid if type(pid) is int else None


def _with_constants(body: bytes) -> Any:
    """Return a document that is no JSON because one of its metrics is NaN or infinite, to name it; else None."""
    try:
        document = read_json(body, constants=True)
    except InvalidJSON:
        return None
    if not isinstance(document, dict):
        return None
    metrics, custom = document.get("metrics"), document.get("custom")
    named = isinstance(metrics, dict) and any(isinstance(metrics.get(name), Constant) for name in BOUNDS)
    named |= isinstance(custom, dict) and any(isinstance(value, Constant) for value in custom.values())
    return document if named else None


def _untimed(metrics: Mapping[str, Any], units: Units) -> bool:
    """Return whether there is no latency because there was no request."""
    if metrics.get("latency_p95") is not None:
        return False
    try:
        return checked(metrics, "requests_per_sec", units) == 0
    except InvalidPayload:
        return False


class Rule(NamedTuple):
    """What is accepted of a metric: its unit, least and greatest value in ours, and the bound to which it is set."""

    unit: str
    least: float
    most: float
    bound: float


@lru_cache(maxsize=64)
def _rules(units: Units) -> dict[str, Rule]:
    rules = {}
    for name, bound in BOUNDS.items():
        if bound is None:
            rules[name] = Rule(units.of(name), -ROUNDING, sys.float_info.max, math.inf)
        else:
            slack = RATIO_SLACK * bound
            rules[name] = Rule(units.of(name), -slack, bound + slack, bound)
    return rules


def accepted(value: Any, rule: Rule) -> float | None:
    """Return a value in our unit and within its bounds; None where it is refused."""
    if type(value) not in NUMBERS:
        return None
    unit, least, most, bound = rule
    number = converted(value, unit)
    return min(max(0.0, number), bound) if least <= number <= most else None


def checked(metrics: Mapping[str, Any], name: str, units: Units = OUR_UNITS) -> float:
    """Return one metric of the object, in our unit and within its bounds. Raises InvalidPayload."""
    number = accepted(metrics.get(name), _rules(units)[name])
    if number is None:
        raise refused(metrics, name, units)
    return number


def refused(metrics: Mapping[str, Any], name: str, units: Units) -> InvalidPayload:
    """Return why a metric of the object is not accepted."""
    about: dict[str, Any] = {"field": f"metrics.{name}", "name": name, "allowed": _allowed(name, units)}
    if metrics.get(name) is None and name == "latency_p95" and "requests_per_sec" in metrics:
        about["requests"] = short(metrics["requests_per_sec"])
        return InvalidPayload("latency_null" if name in metrics else "latency_missing", **about)
    if name not in metrics:
        return InvalidPayload("metric_missing", **about)
    value = metrics[name]
    if isinstance(value, Constant):
        return InvalidPayload("metric_constant", value=value.name, **about)
    if not is_number(value):
        return InvalidPayload("metric_no_number", value=short(value), **about)
    number = converted(value, units.of(name))
    if not math.isfinite(number):
        return InvalidPayload("metric_not_finite", value=short(value), **about)
    doubt = _doubt_of_refused(number, name, units)
    code = f"metric_looks_like_{doubt}" if doubt else "metric_out_of_bounds"
    return InvalidPayload(code, number=float(value), **about)


def is_number(value: Any) -> bool:
    return type(value) in NUMBERS


def converted(value: float, unit: str) -> float:
    """Return a value in our unit: ms, or a ratio."""
    try:
        return value * 1000.0 if unit == SECONDS else value / 100.0 if unit == PERCENT else float(value)
    except OverflowError:
        return math.inf


def _allowed(name: str, units: Units) -> str:
    if BOUNDS[name] is None:
        return "not_negative"
    return "percent" if units.of(name) == PERCENT else "ratio"


def short(value: Any) -> str | Fact:
    """Return the value as JSON, cut off after 40 characters."""
    try:
        text = value.name if isinstance(value, Constant) else json.dumps(value, default=lambda one: one.name)
    except RecursionError:
        # It could be parsed, but not be written from this stack depth.
        return Fact("json_depth")
    return text if len(text) <= 40 else text[:37] + "…"


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric of a body for display: its value in our unit, or its problem.

    Both are None for the latency of no requests. doubt: "" or a likely mistake: "percent" (not a ratio), "ratio" (not
    per cent), "seconds" (not ms), "milliseconds" (not s), "amount" (bytes, cores), "nothing" (0 of a resource that
    every running service uses).
    """

    name: str
    value: float | None = None
    problem: Fact | None = None
    doubt: str = ""


# Hardly any service that computes something answers faster; smaller values are probably seconds.
FASTEST_MS = 1.0
# Hardly any caller waits longer; larger values are probably milliseconds.
SLOWEST_MS = 60_000.0
# A running service uses some of both.
NEVER_NOTHING = ("cpu_usage", "memory_usage")
# Of a memory in per cent: no running service uses less.
LEAST_MEMORY = 0.01


def read_metrics(body: bytes, units: Units = OUR_UNITS) -> list[Reading]:
    """Return each of the five metrics separately, and the custom ones.

    Raises: InvalidPayload if the body contains none.
    """
    document = document_of(body)
    custom, metrics = custom_of(document), document.get("metrics", {})
    instances_of(document)
    # With metrics of its own a service may leave out some of the five.
    names = [name for name in BOUNDS if metrics.get(name) is not None] if custom else BOUNDS
    return [
        *(reading(metrics, name, units) for name in names),
        *(Reading(name, value) for name, value in custom.items()),
    ]


def reading(metrics: Mapping[str, Any], name: str, units: Units) -> Reading:
    if name == "latency_p95" and _untimed(metrics, units):
        return Reading(name)
    try:
        value = checked(metrics, name, units)
    except InvalidPayload as error:
        doubt = error.code.partition("metric_looks_like_")[2]
        # What it looks like is shown beside the problem.
        problem = Fact("metric_out_of_bounds", error.fact.params) if doubt else error.fact
        return Reading(name, problem=problem, doubt=doubt)
    return Reading(name, value, doubt=_doubt_of_accepted(metrics, name, value, units.of(name)))


def _doubt_of_accepted(metrics: Mapping[str, Any], name: str, value: float, unit: str) -> str:
    """Return the likely mistake behind a value within its bounds."""
    if name == "latency_p95" and unit == MS:
        cpu = metrics.get("cpu_usage", 0)
        return "seconds" if 0 < value < FASTEST_MS and is_number(cpu) and cpu > 0 else ""
    if name == "latency_p95":
        return "milliseconds" if value > SLOWEST_MS else ""
    if name in NEVER_NOTHING and value == 0:
        return "nothing"
    return "ratio" if name == "memory_usage" and unit == PERCENT and value <= LEAST_MEMORY else ""


def _doubt_of_refused(number: float, name: str, units: Units) -> str:
    """Return the likely meaning of a value that is out of bounds."""
    if units.of(name) != RATIO or number < 0:
        return ""
    return "percent" if number <= 100.0 * (1 + RATIO_SLACK) else "amount"
