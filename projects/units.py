"""The units in which a metrics endpoint answers. Pure."""

from dataclasses import dataclass, fields
from typing import Final

MS: Final = "ms"
SECONDS: Final = "s"
RATIO: Final = "ratio"
PERCENT: Final = "percent"


@dataclass(frozen=True, slots=True)
class Units:
    """The unit of each metric that has a choice: ms or s, ratio or percent. Default: as samples are stored."""

    latency_p95: str = MS
    error_rate: str = RATIO
    cpu_usage: str = RATIO
    memory_usage: str = RATIO

    def of(self, metric: str) -> str:
        """Return the unit of a metric; "" where there is no choice."""
        return str(getattr(self, metric, ""))


OUR_UNITS = Units()
METRICS_WITH_UNITS = tuple(one.name for one in fields(Units))


def other_unit(metric: str, unit: str) -> str:
    """Return the unit that a metric could have instead."""
    pair = (MS, SECONDS) if metric == "latency_p95" else (RATIO, PERCENT)
    return pair[unit == pair[0]]
