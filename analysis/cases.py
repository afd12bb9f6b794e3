"""Backtest cases: one JSON object per line in, one per line out. Pure: no Django, no files, no clock.

A case is `{"id", "pre": [sample…], "post": [sample…], "observation_minutes", "evaluated_at"}`; a sample has
`collected_at` and at least one of the five metrics or of `custom`, an object of numbers by name; `instances` is how
many instances it covers. What is null or absent was not measured. Times are ISO 8601 (without an offset: UTC) or epoch
seconds. Unknown keys are ignored. Values must be what a source may report, so that a case and a stored deployment are
judged alike.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from analysis.judge import judge
from analysis.judge.hints import hints
from analysis.judge.types import METRICS, Hint, Origin, Sample, Verdict, Window
from projects.policy import Policy

INTERVAL_S = 60.0
DEFAULT_MINUTES = 5
MAX_MINUTES = 1440

# Numbers outside these years are not times of samples: milliseconds, or another field.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


class CaseError(ValueError):
    """An invalid case. field: "post[2].latency_p95", or "line" for the whole; case_id: if known."""

    def __init__(self, field: str, problem: str, case_id: str | int | None = None) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.case_id = case_id


@dataclass(frozen=True, slots=True)
class Case:
    """One deployment to judge; samples in the order of time."""

    id: str | int
    pre: tuple[Sample, ...]
    post: tuple[Sample, ...]
    window: Window


def parse_case(line: str | bytes) -> Case:
    """Parse a line.

    `evaluated_at` defaults to one interval after the last sample, so that a backtest is reproducible. The number of
    expected POST samples is `observation_minutes` (default 5).

    Raises: CaseError with the field and the problem.
    """
    case = _read(_load(line))
    pre, post = _samples(case.pre, "pre"), _samples(case.post, "post")
    expected = int(case.observation_minutes or DEFAULT_MINUTES)
    evaluated_at = case.evaluated_at or _default_time(pre, post, expected)
    window = Window(expected=expected, interval_s=INTERVAL_S, evaluated_at=evaluated_at)
    return Case(id=case.id, pre=pre, post=post, window=window)


def judge_case(case: Case, policy: Policy) -> dict[str, Any]:
    """Judge a case with a policy; return the result of the backtest (JSON values)."""
    verdict = judge(case.pre, case.post, policy, case.window)
    return result_of(case.id, verdict, hints(verdict, case.pre, case.post, case.window))


def result_of(case_id: str | int, verdict: Verdict, found: Sequence[Hint]) -> dict[str, Any]:
    """Return one result; score: 0 = healthy … 1 = roll back."""
    return {
        "id": case_id,
        "verdict": verdict.verdict,
        "confidence": verdict.confidence,
        "conclusive": verdict.conclusive,
        "score": verdict.score,
        "failed_metrics": list(verdict.failed_metrics),
        "hints": [
            {"code": hint.code, "metric": hint.metric, "severity": hint.severity, "confidence": hint.confidence}
            for hint in found
        ],
    }


def error_result(error: Exception, case_id: str | int | None) -> dict[str, Any]:
    """Return the result of a line that could not be judged; it has no verdict, so that it cannot be mistaken."""
    return {"id": case_id, "error": str(error)}


def to_line(result: Mapping[str, Any]) -> str:
    """Return one line of JSON in ASCII, so that any id can be written to any output."""
    return json.dumps(result, ensure_ascii=True, allow_nan=False)


# --- reading ------------------------------------------------------------------------------------------------------


def _as_id(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise PydanticCustomError("case_id", "must be a text or a whole number")
    return value


def _as_time(value: Any) -> datetime:
    """Parse an aware time. Unlike pydantic, refuse milliseconds."""
    try:
        if isinstance(value, bool):
            raise TypeError
        time = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        if not EARLIEST <= time < LATEST:
            raise ValueError
    except (ValueError, TypeError, OverflowError, OSError):
        wanted = "ISO 8601 such as 2026-02-13T10:00:00Z, or epoch seconds"
        raise PydanticCustomError(
            "case_time", "must be a time between 1970 and 2200: {wanted}", {"wanted": wanted}
        ) from None
    return time


Time = Annotated[datetime, BeforeValidator(_as_time)]
Level = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class _Sample(BaseModel):
    collected_at: Time
    requests_per_sec: Level | None = None
    latency_p95: Level | None = None
    error_rate: Ratio | None = None
    cpu_usage: Ratio | None = None
    memory_usage: Ratio | None = None
    custom: dict[str, Annotated[float, Field(strict=True, allow_inf_nan=False)]] = {}
    instances: Annotated[int, Field(strict=True, ge=1)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.custom and all(getattr(self, metric) is None for metric in METRICS):
            raise PydanticCustomError("case_empty", "must have at least one metric")
        return self


class _Case(BaseModel):
    id: Annotated[str | int, BeforeValidator(_as_id)]
    pre: list[_Sample] | None = None
    post: list[_Sample] | None = None
    observation_minutes: Annotated[float, Field(strict=True, ge=1, le=MAX_MINUTES, multiple_of=1)] | None = None
    evaluated_at: Time | None = None


def _load(line: str | bytes) -> dict[str, Any]:
    try:
        data = json.loads(line.decode("utf-8-sig") if isinstance(line, bytes) else line)
    except UnicodeDecodeError as error:
        raise CaseError("line", f"not UTF-8 (byte {error.start + 1})") from None
    except RecursionError:
        raise CaseError("line", "nested too deeply") from None
    except ValueError as error:
        raise CaseError("line", f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise CaseError("line", "must be a JSON object")
    return data


def _read(data: dict[str, Any]) -> _Case:
    try:
        return _Case.model_validate(data)
    except ValidationError as invalid:
        errors = invalid.errors()
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in errors[0]["loc"])
        problem = "must be an object" if errors[0]["type"] == "model_type" else errors[0]["msg"]
        known = all(error["loc"][0] != "id" for error in errors)
        raise CaseError(path.lstrip("."), problem, data["id"] if known else None) from None


def _samples(rows: Sequence[_Sample] | None, origin: Origin) -> tuple[Sample, ...]:
    samples = [Sample(**row.model_dump(), origin=origin) for row in rows or ()]
    return tuple(sorted(samples, key=lambda sample: sample.collected_at))


def _default_time(pre: Sequence[Sample], post: Sequence[Sample], expected: int) -> datetime | None:
    if post:
        return post[-1].collected_at + timedelta(seconds=INTERVAL_S)
    return pre[-1].collected_at + timedelta(seconds=INTERVAL_S * (expected + 1)) if pre else None
