"""How numbers and metric names are told to people, in any language (analysis/told.py). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from analysis.judge.types import Miss
from analysis.told import Told, counted, in_a_row, number, told
from analysis.told import noop as _

LABELS = {
    "requests_per_sec": _("traffic"),
    "latency_p95": _("p95 latency"),
    "error_rate": _("error rate"),
    "cpu_usage": _("CPU usage"),
    "memory_usage": _("memory usage"),
}

# Reason codes of misses, in words. An unknown code is shown as it is.
REASONS = {
    "timeout": _("no answer in time"),
    "refused": _("connection refused"),
    "unauthorized": _("not authorized"),
    "unauthorized_unsigned": _("credentials asked for"),
    "invalid_payload": _("invalid metrics payload"),
    "invalid_json": _("no valid JSON"),
    "too_large": _("answer too large"),
    "redirect": _("redirected"),
    "dns": _("host name not found"),
    "tls": _("TLS failed"),
    "protocol": _("connection broken off"),
    "blocked": _("address not allowed"),
    "blocked_by_ops": _("blocked by the operators"),
    "no_endpoint": _("no endpoint configured"),
    "poller_lost": _("the poller died"),
    "http_4xx": _("HTTP 4xx"),
    "http_5xx": _("HTTP 5xx"),
    "expired": _("expired before it could run"),
    "cancelled": _("cancelled"),
}


def label(metric: str) -> str:
    """The metric's name for people; an unknown metric is shown as it is."""
    return told(LABELS[metric]) if metric in LABELS else metric


def percent(ratio: float, digits: int = 0) -> Told:
    """A ratio 0..1 as "12 %"."""
    return per_cent(f"{ratio * 100:.{digits}f}")


def per_cent(digits: str) -> Told:
    """A number of per cent with its sign."""
    return told("{n} %", n=number(digits))


def level(metric: str, value: float | None) -> Told:
    """A metric's value with its unit: "342 ms", "0.90 %", "81.0 %", "12.3 req/s"; None reads "unknown"."""
    if value is None:
        return told("unknown")
    if metric == "latency_p95":
        return told("{n} ms", n=number(f"{value:.3g}" if value >= 1e7 or value < 10 else f"{value:.0f}"))
    if metric == "error_rate":
        return percent(value, 2 if value < 0.1 else 0)
    if metric in ("cpu_usage", "memory_usage"):
        return percent(value, 1)
    shown = f"{value:.0f}" if 100 <= value < 1e7 else f"{value:.3g}" if value < 1 or value >= 1e7 else f"{value:.1f}"
    return told("{n} req/s", n=number(shown)) if metric == "requests_per_sec" else number(shown)


def duration(seconds: float) -> Told:
    """Seconds as "0.2 s", "45 s", "12 min" or "3.5 h"."""
    if seconds < 120:
        return told("{n} s", n=number(f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"))
    if seconds < 7200:
        return told("{n} min", n=number(f"{seconds / 60:.0f}"))
    return told("{n} h", n=number(f"{seconds / 3600:.1f}"))


def samples(count: int) -> Told:
    """ "1 sample", "2 samples"."""
    return counted(count, "{n} sample", "{n} samples")


def collections(count: int) -> Told:
    """ "1 collection", "2 collections"."""
    return counted(count, "{n} collection", "{n} collections")


def samples_over(over: int, count: int) -> Told:
    """ "1 of 1 sample", "1 of 5 samples"; some languages bend the word by the first number, and not by the second."""
    if count == 1:
        return counted(over, "{n} of {count} sample", "{n} of {count} sample", count=count)
    return counted(over, "{n} of {count} samples", "{n} of {count} samples", count=count)


def reasons(misses: Iterable[Miss]) -> str:
    """Why collections brought nothing, most frequent first: "connection refused (3), HTTP 5xx (1)"."""
    by_code = Counter(miss.reason for miss in misses)
    return in_a_row(told("{reason} ({n})", reason=reason(code), n=count) for code, count in by_code.most_common())


def reason(code: str) -> str:
    """Why a collection brought nothing, in words; an unknown code as it is."""
    return told(REASONS[code]) if code in REASONS else code
