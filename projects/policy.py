"""The policy model: reads policies, names each invalid field, and provides the schema.

Pure values, read from and written to plain JSON objects. Overrides are partial: a key that is missing means its
default. Errors are facts; projects/texts.py has their sentences.
"""

from collections.abc import Mapping
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


Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), _must_be("policy.number")]
PositiveNumber = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False), _must_be("policy.positive_number")]
Ratio = Annotated[float, Field(strict=True, ge=0, le=1), _must_be("policy.ratio")]
PositiveRatio = Annotated[float, Field(strict=True, gt=0, le=1), _must_be("policy.positive_ratio")]
Flag = Annotated[bool, Field(strict=True), _must_be("policy.flag")]
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


class AdaptivePolicy(_Model):
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


class FixedPolicy(_Model):
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
    """The JSON schema of a policy, and of a seqpulse.toml, which may add a table per environment."""
    schema: dict[str, Any] = TypeAdapter(Policy).json_schema()
    for model in KINDS.values():
        tables = {"type": "object", "additionalProperties": {"type": "object"}}
        schema["$defs"][model.__name__]["properties"]["environments"] = tables
    return schema


def _wrong(found: ErrorDetails, model: type[Policy]) -> tuple[str, Fact]:
    """The path of the field that an error of pydantic is about, and what is wrong there."""
    path = [str(part) for part in found["loc"] if isinstance(part, str)]
    # The name of an unknown field may be of any length, and hold characters that cannot be encoded.
    field = ".".join(path)[:LONGEST_PATH].encode("utf-8", "backslashreplace").decode() or "policy"
    match found["type"]:
        case "extra_forbidden":
            # The own limits are the one section that is no model.
            section = model if len(path) == 1 else model.model_fields[path[0]].annotation
            return field, Fact("policy.unknown_field", {"known": ", ".join(getattr(section, "model_fields", METRICS))})
        case "string_unicode" | "invalid_key":
            return field, Fact("policy.not_text")
        case "model_type" | "dict_type":
            return field, Fact("policy.object")
        case ours:
            return field, Fact(ours, found.get("ctx", {}))
