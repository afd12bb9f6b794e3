"""Names and units of metrics, and reasons of missing samples."""

from explain import units
from explain.catalogue import Plural, Unit
from explain.catalogue import gettext_noop as _
from explain.languages import Language

LABELS = {
    "requests_per_sec": _("traffic"),
    "latency_p95": _("p95 latency"),
    "error_rate": _("error rate"),
    "cpu_usage": _("CPU usage"),
    "memory_usage": _("memory usage"),
}

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
    "proxy": _("outbound proxy failed"),
    "blocked_by_ops": _("blocked by the operators"),
    "no_endpoint": _("no endpoint configured"),
    "source_failed": _("a source failed"),
    "nothing_measured": _("no metric in the answer"),
    "poller_lost": _("the poller died"),
    "http_4xx": _("HTTP 4xx"),
    "http_5xx": _("HTTP 5xx"),
    "expired": _("expired before it could run"),
    "cancelled": _("cancelled"),
}

TEXTS: dict[str, str | Plural] = {
    **{f"metric.{metric}": text for metric, text in LABELS.items()},
    **{f"reason.{code}": text for code, text in REASONS.items()},
    "reason_counted": _("{reason:reason} ({n})"),
    "reason_only": _("{reason:reason}"),
}


def latency(value: float, language: Language) -> str:
    """ "342 ms", "4.21 ms"."""
    digits = f"{value:.3g}" if value >= 1e7 or value < 10 else f"{value:.0f}"
    return units.with_unit(units.MS, digits, language)


def error_rate(value: float, language: Language) -> str:
    """ "0.90 %", "12 %"."""
    return units.with_unit(units.PERCENT, f"{value * 100:.{2 if value < 0.1 else 0}f}", language)


def usage(value: float, language: Language) -> str:
    """ "81.0 %"."""
    return units.with_unit(units.PERCENT, f"{value * 100:.1f}", language)


# Units of levels by metric, for sentences and pages.
UNITS: dict[str, Unit] = {
    "requests_per_sec": units.rate,
    "latency_p95": latency,
    "error_rate": error_rate,
    "cpu_usage": usage,
    "memory_usage": usage,
}
