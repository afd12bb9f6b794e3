"""Ask a Prometheus-compatible query API: one expression per metric."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from django.utils.translation import gettext_lazy as _
from pydantic import Field

from metrics.payload import Metrics, metrics_of
from metrics.sources.base import Asking, Past, Secret, SourceConfig, SourceKind
from scheduler.registry import JobError

MAX_BYTES = 1024 * 1024
Expression = Annotated[str, Field(min_length=1, max_length=4096)]


class PrometheusConfig(SourceConfig):
    """url: of the server, without /api/v1; expressions: PromQL by metric; headers: sent with every request."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    expressions: Annotated[dict[str, Expression], Field(min_length=1, max_length=35)]
    headers: dict[str, Secret] = {}


class PrometheusKind(SourceKind[PrometheusConfig]):
    name = "prometheus"
    label = _("Prometheus")
    config = PrometheusConfig
    ranged = True

    async def read(self, config: PrometheusConfig, asking: Asking) -> Metrics:
        found: dict[str, float | None] = {}
        for name, expression in config.expressions.items():
            asked = {"query": expression, "time": str(asking.instant.timestamp())}
            for series in await result(config, asking, "query", asked):
                found[name] = number(series["value"][1])
        return metrics_of(found)

    async def history(
        self, config: PrometheusConfig, asking: Asking, *, since: datetime, until: datetime, step_s: float
    ) -> Past:
        times: dict[float, dict[str, float | None]] = {}
        span = {"start": str(since.timestamp()), "end": str(until.timestamp()), "step": str(step_s)}
        for name, expression in config.expressions.items():
            for series in await result(config, asking, "query_range", {"query": expression, **span}):
                for at, text in series["values"]:
                    value = number(text)
                    if value is not None:
                        times.setdefault(at, {})[name] = value
        return [(datetime.fromtimestamp(at, UTC), metrics_of(times[at])) for at in sorted(times)]


def number(text: str) -> float | None:
    """Return a value of the API; None for NaN and infinities, which say that there is no value."""
    value = float(text)
    return value if math.isfinite(value) else None


async def result(config: PrometheusConfig, asking: Asking, call: str, asked: Mapping[str, str]) -> list[Any]:
    """Return the series of an answer of the API. Raises JobError, OutboundError."""
    url = f"{config.url.rstrip('/')}/api/v1/{call}?{urlencode(asked)}"
    answer = await asking.fetcher.get(url, config.headers, timeout_s=config.timeout_s, max_bytes=MAX_BYTES)
    if answer.status != 200:
        raise JobError("http_4xx" if answer.status < 500 else "http_5xx", status=answer.status, url=config.url)
    found: list[Any] = json.loads(answer.body)["data"]["result"]
    return found
