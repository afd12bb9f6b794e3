"""Plain helpers that build samples, for tests of everything that judges them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from analysis.judge.types import METRICS, Miss, Origin, Sample, Window

FINISH = datetime(2026, 2, 13, 10, 0, tzinfo=UTC)

HEALTHY: dict[str, float] = {
    "requests_per_sec": 50.0,
    "latency_p95": 120.0,
    "error_rate": 0.001,
    "cpu_usage": 0.35,
    "memory_usage": 0.50,
}


def make_sample(seconds: float = 0, *, origin: Origin = "post", **levels: Any) -> Sample:
    """A healthy sample, `seconds` after FINISH; levels replace its metrics."""
    known: dict[str, Any] = {**HEALTHY, **levels}
    return Sample(collected_at=FINISH + timedelta(seconds=seconds), origin=origin, **known)


def make_pre(count: int = 1, **levels: Any) -> list[Sample]:
    """Samples of one minute's distance, the last one 120 s before FINISH."""
    return [make_sample(-120 - 60 * back, origin="pre", **levels) for back in reversed(range(count))]


def make_post(count: int = 5, **levels: Any) -> list[Sample]:
    """Samples at FINISH, FINISH + 60 s, …; a level may be a list with one value per sample."""
    values: list[dict[str, Any]] = [
        {metric: value if isinstance(value, (int, float)) else value[index] for metric, value in levels.items()}
        for index in range(count)
    ]
    return [make_sample(60 * index, **row) for index, row in enumerate(values)]


def make_window(**kwargs: Any) -> Window:
    """A window of five samples that was analyzed right after its last one."""
    known: dict[str, Any] = {
        "evaluated_at": FINISH + timedelta(seconds=242),
        "started_at": FINISH - timedelta(seconds=90),
        "finished_at": FINISH,
    }
    return Window(**{**known, **kwargs})


def make_miss(index: int, reason: str, **kwargs: Any) -> Miss:
    """A collection after FINISH that brought nothing."""
    return Miss(scheduled_at=FINISH + timedelta(seconds=60 * index), reason=reason, sequence_index=index, **kwargs)


def as_row(sample: Sample) -> dict[str, Any]:
    """The sample as a backtest case has it."""
    return {
        "collected_at": sample.collected_at.isoformat().replace("+00:00", "Z"),
        **{metric: getattr(sample, metric) for metric in METRICS},
    }


def make_case(case_id: str | int = "a", **changes: Any) -> dict[str, Any]:
    """A healthy backtest case as a JSON object; changes replace its keys."""
    case: dict[str, Any] = {
        "id": case_id,
        "pre": [as_row(sample) for sample in make_pre(3)],
        "post": [as_row(sample) for sample in make_post()],
        "observation_minutes": 5,
        "evaluated_at": "2026-02-13T10:05:00Z",
    }
    return {**case, **changes}


def rows(samples: Sequence[Sample]) -> list[Mapping[str, Any]]:
    """Samples as backtest cases have them."""
    return [as_row(sample) for sample in samples]
