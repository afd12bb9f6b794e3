"""Metrics of JSON that is not ours: where each stands in it, and in which unit. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from common.strict_json import Constant, InvalidJSON, read_json
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.formats import format_of
from metrics.payload import BOUNDS, InvalidPayload, Metrics, is_number, metrics_of, short
from metrics.sources.base import WrongSetting
from metrics.sources.json_path import LONGEST, Missing, parse_path, value_at

# What makes our unit of a unit, by what it measures.
UNITS: Mapping[str, Mapping[str, float]] = {
    "rate": {"per_second": 1.0, "per_minute": 1 / 60, "per_hour": 1 / 3600},
    "duration": {"ms": 1.0, "s": 1000.0, "us": 0.001, "ns": 1e-6},
    "share": {"ratio": 1.0, "percent": 0.01},
    "amount": {"bytes": 1.0, "kib": 1024.0, "mib": 1024.0**2, "gib": 1024.0**3},
}
FACTORS = {unit: factor for units in UNITS.values() for unit, factor in units.items()}
MEASURED = {
    "requests_per_sec": "rate",
    "latency_p95": "duration",
    **dict.fromkeys(("error_rate", "cpu_usage", "memory_usage"), "share"),
}
Unit = Literal[
    "", "per_second", "per_minute", "per_hour", "ms", "s", "us", "ns", "ratio", "percent", "bytes", "kib", "mib", "gib"
]


def checked_path(text: str) -> str:
    if text:
        parse_path(text)
    return text


JsonPath = Annotated[str, Field(max_length=LONGEST), AfterValidator(checked_path)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class JsonField(BaseModel):
    """Where a metric stands.

    path: of the number; value: instead, a constant; unit: of it, ours unless given (requests per second, ms, ratio;
    of a custom metric: as it is); over: path of what it is a share of; over_value: instead, a constant, both in the
    same unit; scale: a further factor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    path: JsonPath = ""
    value: Finite | None = None
    unit: Unit = ""
    over: JsonPath = ""
    over_value: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    scale: Finite = 1.0

    @model_validator(mode="after")
    def has_one_place(self) -> Self:
        if bool(self.path) == (self.value is not None):
            raise WrongSetting("config.path_or_value", field="path")
        if self.over and self.over_value is not None:
            raise WrongSetting("config.over_or_value", field="over_value")
        return self

    def check_unit(self, name: str) -> None:
        """Raise WrongSetting for a unit that this metric cannot have."""
        measured = MEASURED.get(name)
        if measured is None or not self.unit or self.over or self.over_value is not None:
            return
        if self.unit in UNITS["amount"] and measured == "share":
            raise WrongSetting("config.unit_needs_over", field="over", name=name)
        if self.unit not in UNITS[measured]:
            raise WrongSetting("config.unit_of", field="unit", name=name, units=", ".join(UNITS[measured]))

    def found_in(self, name: str, document: Any) -> float | None:
        """Return the metric in our unit; None where the document says it is unknown.

        Raises: InvalidPayload.
        """
        number = self.value if self.value is not None else number_at(name, self.path, document)
        if number is None:
            return None
        if self.over or self.over_value is not None:
            total = self.over_value if self.over_value is not None else number_at(name, self.over, document)
            return None if not total else number / total * self.scale
        return number * FACTORS.get(self.unit, 1.0) * self.scale


class FieldMissing(InvalidPayload):
    """The answer has nothing at this place: the metric is not known."""


def number_at(name: str, path: str, document: Any) -> float | None:
    """Return the number at a path, None for null and NaN. Raises InvalidPayload."""
    try:
        value = value_at(document, parse_path(path))
    except Missing:
        raise FieldMissing("field_missing", name=name, path=path) from None
    if value is None or isinstance(value, Constant):
        return None
    if not is_number(value) or not abs(value) < 1e300:
        raise InvalidPayload("field_no_number", name=name, path=path, value=short(value))
    return float(value)


def metrics_at(fields: Mapping[str, JsonField], body: bytes) -> tuple[Metrics, list[Fact]]:
    """Return what an answer says of these metrics, and what is wrong with others. Raises InvalidPayload."""
    try:
        document = read_json(body, constants=True)
    except InvalidJSON as error:
        known = format_of(body)
        raise InvalidPayload("not_json", problem=Fact(f"answer_is.{known}") if known else error.fact) from None
    found: dict[str, float | None] = {}
    failures: list[ExplainedError] = []
    for name, field in fields.items():
        try:
            value = field.found_in(name, document)
            metrics_of({name: value})
            found[name] = value
        except InvalidPayload as error:
            failures.append(error)
    metrics = metrics_of(found)
    wrong = [error for error in failures if not isinstance(error, FieldMissing)]
    if metrics.empty and failures:
        raise (wrong or failures)[0]
    return metrics, [error.fact for error in failures]


assert set(MEASURED) == set(BOUNDS)  # noqa: S101  (of constants)
