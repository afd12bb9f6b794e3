"""Backtest cases: one JSON object per line in, one per line out. Pure: no Django, no files, no clock.

A case is `{"id", "pre": [sample…], "post": [sample…], "observation_minutes", "evaluated_at"}`; a sample has
`collected_at` and the five metrics. Times are ISO 8601 (without an offset: UTC) or epoch seconds. Unknown keys are
ignored. Values must be what a metrics endpoint may report, so that a case and a stored deployment are judged alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from analysis.hints import hints
from analysis.judge import judge
from analysis.types import METRICS, Hint, Origin, Sample, Verdict, Window
from projects.policy import Policy

INTERVAL_S = 60.0
DEFAULT_MINUTES = 5
MAX_MINUTES = 1440
RATIOS = ("error_rate", "cpu_usage", "memory_usage")

# Outside of these years a number is not the time of a sample: milliseconds, or another field.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


class CaseError(ValueError):
    """A line that is no case. field: where ("post[2].latency_p95"; "line" for the whole); case_id where it is known."""

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
    """The case that a line describes. Raises CaseError with the field and what is wrong.

    Without `evaluated_at` it is one interval after the last sample, not the present: a backtest gives the same result
    on every run. As many POST samples are expected as `observation_minutes` says (default 5).
    """
    data = _load(line)
    case_id = _read_id(data)
    try:
        pre = _read_samples(data, "pre", "pre")
        post = _read_samples(data, "post", "post")
        expected = _read_minutes(data.get("observation_minutes"))
        evaluated_at = data.get("evaluated_at")
        window = Window(
            expected=expected,
            interval_s=INTERVAL_S,
            evaluated_at=_default_time(pre, post, expected)
            if evaluated_at is None
            else _read_time(evaluated_at, "evaluated_at"),
        )
    except CaseError as error:
        error.case_id = case_id
        raise
    return Case(id=case_id, pre=pre, post=post, window=window)


def judge_case(case: Case, policy: Policy) -> dict[str, Any]:
    """The result of a case under a policy, as the backtest writes it (JSON values)."""
    verdict = judge(case.pre, case.post, policy, case.window)
    return result_of(case.id, verdict, hints(verdict, case.pre, case.post, case.window))


def result_of(case_id: str | int, verdict: Verdict, found: Sequence[Hint]) -> dict[str, Any]:
    """One result; score: 0 = surely healthy … 1 = surely to roll back."""
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
    """What stands for a line that could not be judged: it has no verdict, so nothing can mistake it for one."""
    return {"id": case_id, "error": str(error)}


def to_line(result: Mapping[str, Any]) -> str:
    """One line of JSON without a line break; plain ASCII, so that any id can be written to any output."""
    return json.dumps(result, ensure_ascii=True, allow_nan=False)


# --- reading ------------------------------------------------------------------------------------------------------


def _load(line: str | bytes) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig") if isinstance(line, bytes) else line
        data = json.loads(text)
    except UnicodeDecodeError as error:
        raise CaseError("line", f"not UTF-8 (byte {error.start + 1})") from None
    except RecursionError:
        raise CaseError("line", "nested too deeply") from None
    except ValueError as error:
        raise CaseError("line", f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise CaseError("line", f"must be a JSON object, not {_kind(data)}")
    return data


def _read_id(data: Mapping[str, Any]) -> str | int:
    if "id" not in data:
        raise CaseError("id", "is missing; every case needs one")
    value = data["id"]
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise CaseError("id", f"must be a text or a whole number, not {_shown(value)}")
    return value


def _read_samples(data: Mapping[str, Any], name: str, origin: Origin) -> tuple[Sample, ...]:
    value = data.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise CaseError(name, f"must be a list of samples, not {_kind(value)}")
    samples = [_read_sample(item, f"{name}[{index}]", origin) for index, item in enumerate(value)]
    return tuple(sorted(samples, key=lambda sample: sample.collected_at))


def _read_sample(item: Any, path: str, origin: Origin) -> Sample:
    if not isinstance(item, dict):
        raise CaseError(path, f"must be an object, not {_kind(item)}")
    if "collected_at" not in item:
        raise CaseError(f"{path}.collected_at", "is missing")
    collected_at = _read_time(item["collected_at"], f"{path}.collected_at")
    levels: dict[str, Any] = {metric: _read_metric(item, metric, path) for metric in METRICS}
    return Sample(collected_at=collected_at, origin=origin, **levels)


def _read_metric(item: Mapping[str, Any], metric: str, path: str) -> float:
    field = f"{path}.{metric}"
    if metric not in item:
        raise CaseError(field, "is missing")
    value = item[metric]
    most = 1.0 if metric in RATIOS else math.inf
    allowed = "0..1" if metric in RATIOS else "0 or more"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CaseError(field, f"must be a number, not {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise CaseError(field, "is too large a number") from None
    if not math.isfinite(number):
        raise CaseError(field, f"is {number}, must be a finite number")
    if not 0 <= number <= most:
        raise CaseError(field, f"is {value}, allowed {allowed}")
    return number


def _read_minutes(value: Any) -> int:
    if value is None:
        return DEFAULT_MINUTES
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not 1 <= value <= MAX_MINUTES:
        raise CaseError("observation_minutes", f"must be a whole number from 1 to {MAX_MINUTES}, not {_shown(value)}")
    return int(value)


def _read_time(value: Any, field: str) -> datetime:
    wanted = "ISO 8601 such as 2026-02-13T10:00:00Z, or epoch seconds"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise CaseError(field, f"must be a time ({wanted}), not {_shown(value)}")
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        else:
            time = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise CaseError(field, f"{_shown(value)} is no time; use {wanted}") from None
    if not EARLIEST <= time < LATEST:
        raise CaseError(field, f"{_shown(value)} is not between 1970 and 2200; use {wanted}")
    return time


def _default_time(pre: Sequence[Sample], post: Sequence[Sample], expected: int) -> datetime | None:
    if post:
        return post[-1].collected_at + timedelta(seconds=INTERVAL_S)
    return pre[-1].collected_at + timedelta(seconds=INTERVAL_S * (expected + 1)) if pre else None


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _shown(value: Any) -> str:
    # Long hostile values stay out of messages and logs.
    if isinstance(value, (str, bool, float)) or value is None:
        return json.dumps(value)[:60]
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else "a huge number"
    return _kind(value)
