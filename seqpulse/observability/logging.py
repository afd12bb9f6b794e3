"""Log to standard output, one event per line."""

import logging.config
import sys
from typing import Any

import structlog

from security.redaction import redact


def redact_event(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Mask secrets in a log event; a structlog processor."""
    return {key: redact(value, key) for key, value in event.items()}


SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
    structlog.processors.UnicodeDecoder(),
]


def configure_logging(log_format: str, level: str) -> dict[str, Any]:
    """Set up structlog and the standard library's logging alike; returns the latter's dictionary.

    log_format: json (one object per line) or console; level: a standard level name.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_event, renderer],
                "foreign_pre_chain": SHARED,
            }
        },
        "handlers": {
            "stream": {
                "class": "logging.StreamHandler",
                "stream": sys.stdout,
                "formatter": "structured",
            }
        },
        "root": {"handlers": ["stream"], "level": level.upper()},
        "loggers": {
            # django_structlog logs each request; Django's line would repeat it.
            "django.server": {"handlers": [], "propagate": False},
            "django.request": {"level": "ERROR"},
        },
    }
    logging.config.dictConfig(config)
    # Python's warnings, which would otherwise be plain text.
    logging.captureWarnings(True)
    return config
