"""How numbers and metric names are written for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from analysis.types import Miss

LABELS = {
    "requests_per_sec": "traffic",
    "latency_p95": "p95 latency",
    "error_rate": "error rate",
    "cpu_usage": "CPU usage",
    "memory_usage": "memory usage",
}

# Reason codes of misses, in words. An unknown code is shown as it is.
REASONS = {
    "timeout": "no answer in time",
    "refused": "connection refused",
    "unauthorized": "not authorized",
    "unauthorized_unsigned": "credentials asked for",
    "invalid_payload": "invalid metrics payload",
    "invalid_json": "no valid JSON",
    "too_large": "answer too large",
    "redirect": "redirected",
    "dns": "host name not found",
    "tls": "TLS failed",
    "protocol": "connection broken off",
    "blocked": "address not allowed",
    "no_endpoint": "no endpoint configured",
    "poller_lost": "the poller died",
    "http_4xx": "HTTP 4xx",
    "http_5xx": "HTTP 5xx",
    "expired": "expired before it could run",
    "cancelled": "cancelled",
}


def label(metric: str) -> str:
    """The metric's name for people; an unknown metric is shown as it is."""
    return LABELS.get(metric, metric)


def percent(ratio: float, digits: int = 0) -> str:
    """A ratio 0..1 as "12 %"."""
    return f"{ratio * 100:.{digits}f} %"


def level(metric: str, value: float | None) -> str:
    """A metric's value with its unit: "342 ms", "0.90 %", "81.0 %", "12.3 req/s"; None reads "unknown"."""
    if value is None:
        return "unknown"
    if metric == "latency_p95":
        return f"{value:.3g} ms" if value >= 1e7 or value < 10 else f"{value:.0f} ms"
    if metric == "error_rate":
        return percent(value, 2 if value < 0.1 else 0)
    if metric in ("cpu_usage", "memory_usage"):
        return percent(value, 1)
    shown = f"{value:.0f}" if 100 <= value < 1e7 else f"{value:.3g}" if value < 1 or value >= 1e7 else f"{value:.1f}"
    return f"{shown} req/s" if metric == "requests_per_sec" else shown


def duration(seconds: float) -> str:
    """Seconds as "0.2 s", "45 s", "12 min" or "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def plural(count: int, noun: str) -> str:
    """ "1 sample", "2 samples"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def joined(words: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def reasons(misses: Iterable[Miss]) -> str:
    """Why collections brought nothing, most frequent first: "connection refused (3), HTTP 5xx (1)"."""
    counted = Counter(miss.reason for miss in misses)
    return ", ".join(f"{REASONS.get(code, code)} ({count})" for code, count in counted.most_common())
