"""The policy model: reads policies, names each invalid field, and provides the schema.

Pure values, read from and written to plain JSON objects. Overrides are partial: a key that is missing means its
default. Errors are facts; projects/texts.py has their sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, LiteralString, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from explain.facts import Fact

Metric = Literal["requests_per_sec", "latency_p95", "error_rate", "cpu_usage", "memory_usage"]
Sensitivity = Literal["low", "normal", "high"]

METRICS: tuple[Metric, ...] = get_args(Metric)
SENSITIVITIES: tuple[Sensitivity, ...] = get_args(Sensitivity)
LIMITED_METRICS = ("latency_p95", "error_rate", "cpu_usage", "memory_usage")
DEFAULT_KIND = "adaptive"
MAX_WARMUP = 10
MAX_CUSTOM_METRICS = 30
MAX_UNIT = 20
# Of a policy that is wrong throughout, and of a path that is no field's.
MOST_ERRORS = 20
LONGEST_PATH = 100


def _must_be(code: LiteralString, **params: Any) -> WrapValidator:
    """Report whatever is wrong with a value as one error, which says all that is allowed."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError(code, code, params) from None

    return WrapValidator(check)


def _in_order(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    return tuple(metric for metric in METRICS if metric in metrics)


def _something_left(left_out: tuple[Metric, ...]) -> tuple[Metric, ...]:
    if len(left_out) == len(METRICS):
        raise PydanticCustomError("policy.nothing_to_judge", "nothing to judge")
    return left_out


def _not_built_in(name: str) -> str:
    if name in METRICS:
        raise ValueError("one of the five metrics")
    return name


def _printable(unit: str) -> str:
    if not unit.isprintable():
        raise ValueError("not printable")
    return unit


Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), _must_be("policy.number")]
PositiveNumber = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False), _must_be("policy.positive_number")]
Ratio = Annotated[float, Field(strict=True, ge=0, le=1), _must_be("policy.ratio")]
PositiveRatio = Annotated[float, Field(strict=True, gt=0, le=1), _must_be("policy.positive_ratio")]
Flag = Annotated[bool, Field(strict=True), _must_be("policy.flag")]
MetricName = Annotated[
    str, Field(strict=True, pattern=r"^[a-z][a-z0-9_]{0,62}$"), AfterValidator(_not_built_in), _must_be("policy.name")
]
Unit = Annotated[str, Field(strict=True, max_length=MAX_UNIT), AfterValidator(_printable), _must_be("policy.unit")]
Metrics = Annotated[tuple[Metric, ...], AfterValidator(_in_order), _must_be("policy.metrics", known=", ".join(METRICS))]


class _Model(BaseModel):
    # The validators are built when the first policy is read, not when a command starts.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def as_dict(self) -> dict[str, Any]:
        """JSON values; `policy_from_dict` reads those of a policy back to an equal policy."""
        return self.model_dump(mode="json")


class OwnLimits(TypedDict, total=False):
    """A team's own absolute limits: requests per second (a minimum), ms, ratios 0..1."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # how pydantic configures a TypedDict
    requests_per_sec: Number
    latency_p95: Number
    error_rate: Ratio
    cpu_usage: Ratio
    memory_usage: Ratio


class Tolerances(_Model):
    """Share (0..1) of POST samples that may lie beyond a metric's own limit."""

    requests_per_sec: Ratio = 0.20
    latency_p95: Ratio = 0.20
    error_rate: Ratio = 0.05
    cpu_usage: Ratio = 0.20
    memory_usage: Ratio = 0.10


CustomKind = Literal["gauge", "ratio", "rate", "count"]
Direction = Literal["up_is_bad", "down_is_bad", "either"]
CUSTOM_KINDS: tuple[CustomKind, ...] = get_args(CustomKind)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


class Margin(_Model):
    """How far a level may move: by a share of the level before, and by an amount in the metric's unit.

    Where both are given, both must be exceeded.
    """

    relative: Annotated[
        float | None, Field(strict=True, gt=0, allow_inf_nan=False), _must_be("policy.positive_number")
    ] = None
    absolute: Annotated[
        float | None, Field(strict=True, gt=0, allow_inf_nan=False), _must_be("policy.positive_number")
    ] = None

    @model_validator(mode="after")
    def _something(self) -> Margin:
        if self.relative is None and self.absolute is None:
            raise PydanticCustomError("policy.empty_margin", "empty margin")
        return self

    def amount(self, base: float) -> float:
        """Return the margin around a level, in the metric's unit."""
        return max((self.relative or 0.0) * abs(base), self.absolute or 0.0)


# Direction and margins by kind, where a custom metric does not say. A share has no use for relative margins: half of a
# cache's hits are lost before a relative margin of 0.5 is reached, and half of 0.1 % failed jobs is nothing.
_CUSTOM_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gauge": {"direction": "up_is_bad", "warning": {"relative": 0.3}, "rollback": {"relative": 1.0}},
    "ratio": {"direction": "up_is_bad", "warning": {"absolute": 0.02}, "rollback": {"absolute": 0.1}},
    "rate": {"direction": "down_is_bad", "warning": {"relative": 0.3}, "rollback": {"relative": 0.8}},
    "count": {"direction": "up_is_bad", "warning": {"relative": 0.5}, "rollback": {"relative": 1.0}},
}
# A rollback takes so many times what a warning takes; of what falls, a warning leaves so many times as much as it.
_ROLLBACK_FACTOR = 3.0
_HUGE = 1e300


def _rollback_by(warning: Any, *, falls: bool) -> Any:
    """Return the margin of a rollback where only that of a warning is given; None where that is none."""
    given = {by: warning.get(by) for by in ("relative", "absolute")} if isinstance(warning, Mapping) else {}
    warning = {by: value for by, value in given.items() if value is not None}
    if not warning or not all(type(value) in (int, float) and 0.0 < value < _HUGE for value in warning.values()):
        return None
    margin = {by: _ROLLBACK_FACTOR * value for by, value in warning.items()}
    # Nothing falls by more than all of it.
    relative = warning.get("relative")
    return {**margin, "relative": 1.0 - (1.0 - relative) / _ROLLBACK_FACTOR} if falls and relative else margin


class CustomMetric(_Model):
    """A metric of the service beside the five, as its sources name it.

    unit: a text behind numbers; kind: gauge (any level), ratio (0..1), rate (events per unit of time), count (events of
    one sample); direction: which move is bad; warning, rollback: from which move on it counts; critical: it may
    recommend a rollback, else it only warns; smallest: levels below are too small to count (what falls: the level
    before; what rises: the level after).
    """

    model_config = ConfigDict(json_schema_extra={"required": ["name"]})

    name: MetricName
    unit: Unit = ""
    kind: Annotated[CustomKind, _must_be("policy.choice", known=", ".join(CUSTOM_KINDS))] = "gauge"
    direction: Annotated[Direction, _must_be("policy.choice", known=", ".join(DIRECTIONS))]
    warning: Margin
    rollback: Margin
    critical: Flag = False
    smallest: Number = 0.0

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        kind = data.get("kind", "gauge")
        usual = _CUSTOM_DEFAULTS[kind if isinstance(kind, str) and kind in _CUSTOM_DEFAULTS else "gauge"]
        filled = {**usual, **data}
        falls = filled["direction"] != "up_is_bad"
        if "rollback" not in data and ("warning" in data or falls != (usual["direction"] != "up_is_bad")):
            filled["rollback"] = _rollback_by(filled["warning"], falls=falls) or usual["rollback"]
        return filled

    @model_validator(mode="after")
    def _reachable(self) -> CustomMetric:
        for margin in (self.warning, self.rollback):
            if self.direction == "down_is_bad" and (margin.relative or 0.0) > 1.0:
                raise PydanticCustomError("policy.falls_too_far", "falls too far")
        pairs = ((getattr(self.warning, by), getattr(self.rollback, by)) for by in ("relative", "absolute"))
        if any(warning is not None and rollback is not None and rollback < warning for warning, rollback in pairs):
            raise PydanticCustomError("policy.rollback_first", "rollback first")
        return self

    @property
    def label(self) -> str:
        """Return the name as words."""
        return self.name.replace("_", " ")


def _unique(metrics: tuple[CustomMetric, ...]) -> tuple[CustomMetric, ...]:
    twice = [name for name, count in Counter(metric.name for metric in metrics).items() if count > 1]
    if twice:
        raise PydanticCustomError("policy.named_twice", "named twice", {"names": ", ".join(twice)})
    return metrics


CustomMetrics = Annotated[tuple[CustomMetric, ...], Field(max_length=MAX_CUSTOM_METRICS), AfterValidator(_unique)]


class _Judging(_Model):
    """What all kinds of policies have."""

    custom_metrics: CustomMetrics = ()
    critical_metrics: Metrics = ()

    def custom(self, name: str) -> CustomMetric | None:
        """Return the custom metric of this name, if there is one."""
        return next((metric for metric in self.custom_metrics if metric.name == name), None)

    def may_roll_back(self, metric: str) -> bool:
        """Return whether the metric may recommend a rollback by itself."""
        custom = self.custom(metric)
        return metric in self.critical_metrics if custom is None else custom.critical


class AdaptivePolicy(_Judging):
    """Compare a deployment with the service's own level.

    sensitivity scales the lines. limits: where a metric has one it replaces the metric's lines: beyond it the metric
    fails, whatever its level was, and within it its level is fine. warmup_samples: how many first POST samples are
    forgiven (None: one or two, by the window). critical_metrics may recommend a rollback, others only warn; cpu_usage
    is not among them, because a busy machine alone hurts no user. left_out metrics are not judged. shadow: the verdict
    is recorded and never gates.
    """

    kind: Literal["adaptive"] = "adaptive"
    sensitivity: Annotated[Sensitivity, _must_be("policy.choice", known=", ".join(SENSITIVITIES))] = "normal"
    limits: Annotated[dict[str, float], GetPydanticSchema(lambda _type, schema_of: schema_of(OwnLimits))] = {}
    tolerances: Tolerances = Field(default_factory=Tolerances)
    warmup_samples: Annotated[
        int | None, Field(strict=True, ge=0, le=MAX_WARMUP), _must_be("policy.warmup", most=MAX_WARMUP)
    ] = None
    critical_metrics: Metrics = ("requests_per_sec", "latency_p95", "error_rate", "memory_usage")
    left_out: Annotated[Metrics, AfterValidator(_something_left)] = ()
    shadow: Flag = False

    def tolerance(self, metric: str) -> float:
        """Share (0..1) of POST samples that may lie beyond the metric's own limit."""
        share: float = getattr(self.tolerances, metric)
        return share


class Limit(_Model):
    """limit in the metric's unit; tolerance: share 0..1 of POST samples that may lie above the secured limit."""

    limit: PositiveNumber
    tolerance: Ratio


class LatencyLimit(Limit):
    limit: PositiveNumber = 300.0
    tolerance: Ratio = 0.20


class ErrorLimit(Limit):
    limit: PositiveRatio = 0.01
    tolerance: Ratio = 0.05


class CpuLimit(Limit):
    limit: PositiveRatio = 0.80
    tolerance: Ratio = 0.20


class MemoryLimit(Limit):
    limit: PositiveRatio = 0.80
    tolerance: Ratio = 0.10


class TrafficRule(_Model):
    """drop: how far (0..1) below the PRE mean a POST sample counts as lost traffic; tolerance: share of such samples
    that is allowed; min_pre_mean: requests per second below which traffic is too thin to compare."""

    drop: PositiveRatio = 0.20
    tolerance: Ratio = 0.20
    min_pre_mean: Number = 0.5


class FixedPolicy(_Judging):
    """The same limits for every service; the defaults are the product's published ones.

    secured_factor × limit is the line that samples are compared with; min_quality is the data quality score (0..1)
    from which a verdict is conclusive.
    """

    model_config = ConfigDict(json_schema_extra={"required": ["kind"]})

    kind: Literal["fixed"] = "fixed"
    latency_p95: LatencyLimit = Field(default_factory=LatencyLimit)
    error_rate: ErrorLimit = Field(default_factory=ErrorLimit)
    cpu_usage: CpuLimit = Field(default_factory=CpuLimit)
    memory_usage: MemoryLimit = Field(default_factory=MemoryLimit)
    requests_per_sec: TrafficRule = Field(default_factory=TrafficRule)
    secured_factor: PositiveRatio = 0.9
    critical_metrics: Metrics = ("requests_per_sec", "error_rate")
    min_quality: Ratio = 0.6

    def limit_of(self, metric: str) -> Limit:
        """The limit and tolerance of one of LIMITED_METRICS."""
        found: Limit = getattr(self, metric)
        return found


Policy: TypeAlias = AdaptivePolicy | FixedPolicy

KINDS: Mapping[str, type[Policy]] = {"adaptive": AdaptivePolicy, "fixed": FixedPolicy}


class InvalidPolicy(ValueError):
    """Not a policy. errors: what is wrong, by the path of the field ("policy" for the whole). str() is for logs."""

    def __init__(self, errors: Mapping[str, Fact]) -> None:
        super().__init__("; ".join(f"{field}: {fact.code} {fact.params}" for field, fact in errors.items()))
        self.errors = errors


def policy_from_dict(data: Any) -> Policy:
    """Read a policy; keys that are missing mean their defaults.

    Raises:
        InvalidPolicy: also for unknown fields, because a misspelt limit must not be replaced by its default.
    """
    if not isinstance(data, Mapping):
        raise InvalidPolicy({"policy": Fact("policy.object")})
    kind = data.get("kind", DEFAULT_KIND)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidPolicy({"kind": Fact("policy.choice", {"known": ", ".join(KINDS)})})
    try:
        return KINDS[kind].model_validate(data)
    except ValidationError as error:
        raise InvalidPolicy(dict(_wrong(found, KINDS[kind]) for found in error.errors()[:MOST_ERRORS])) from None


def policy_schema() -> dict[str, Any]:
    """The JSON schema of a policy, and of a seqpulse.toml, which may add a table per environment, and sources."""
    schema: dict[str, Any] = TypeAdapter(Policy).json_schema()
    for model in KINDS.values():
        tables = {"type": "object", "additionalProperties": {"type": "object"}}
        schema["$defs"][model.__name__]["properties"]["environments"] = tables
        schema["$defs"][model.__name__]["properties"]["sources"] = {"type": "array", "items": {"type": "object"}}
    return schema


# Facts by the types of pydantic's errors, where they say all.
_PLAIN = {
    "missing": "policy.missing",
    "tuple_type": "policy.list",
    "string_unicode": "policy.not_text",
    "invalid_key": "policy.not_text",
    "model_type": "policy.object",
    "dict_type": "policy.object",
}


def _fields_at(section: list[str], model: type[Policy]) -> Iterable[str]:
    """The names of the fields of a section of the policy."""
    if section[:1] == ["custom_metrics"]:
        return (CustomMetric if len(section) == 2 else Margin).model_fields
    # The own limits are the one section that is no model.
    return getattr(model.model_fields[section[0]].annotation if section else model, "model_fields", METRICS)


def _wrong(found: ErrorDetails, model: type[Policy]) -> tuple[str, Fact]:
    """The path of the field that an error of pydantic is about, and what is wrong there."""
    path = [str(part) for part in found["loc"]]
    # The name of an unknown field may be of any length, and hold characters that cannot be encoded.
    field = ".".join(path)[:LONGEST_PATH].encode("utf-8", "backslashreplace").decode() or "policy"
    match found["type"]:
        case "extra_forbidden":
            return field, Fact("policy.unknown_field", {"known": ", ".join(_fields_at(path[:-1], model))})
        case "too_long":
            return field, Fact("policy.too_many", {"most": MAX_CUSTOM_METRICS})
        case other:
            return field, Fact(_PLAIN.get(other, other), found.get("ctx", {}) if other not in _PLAIN else {})
