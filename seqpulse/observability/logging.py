"""Log to standard output, one event per line."""

import json
import logging
import logging.config
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import structlog

from security.redaction import redact

ENCODER = json.JSONEncoder()


def redact_event(logger: Any, method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Mask secrets in a log event; a structlog processor."""
    return {key: redact(value, key) for key, value in event.items()}


def render_json(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """Return a redacted event, which has nothing but JSON in it, as one line."""
    return ENCODER.encode(event)


def without_traceback(record: logging.LogRecord) -> bool:
    """Make a warning of one line of what is wrong with a client, such as a foreign Host; a filter, passes everything.

    Django logs these as errors with their traceback: any scanner would fill the log with them.
    """
    if record.name.startswith("django.security.") and record.levelno > logging.WARNING:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
    return True


class StreamLogger(structlog.WriteLogger):
    """Writes lines to a stream. A stream that takes none (a closed pipe) must not fail what is logged."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream)
        self.name = name

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
    structlog.processors.UnicodeDecoder(),
]


def configure_logging(log_format: str, level: str) -> dict[str, Any]:
    """Set up structlog and the standard library's logging alike; returns the latter's dictionary.

    log_format: json (one object per line) or console; level: a standard level name. Our own lines go straight to
    standard output: through the standard library, each took ten times as long.
    """
    renderer: Any = render_json if log_format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    stream = sys.stdout
    structlog.configure(
        processors=[*SHARED, redact_event, renderer],
        logger_factory=lambda *names: StreamLogger(stream, names[0] if names else ""),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_event, renderer],
                "foreign_pre_chain": [*SHARED, structlog.stdlib.ExtraAdder()],
            }
        },
        "handlers": {
            "stream": {
                "class": "logging.StreamHandler",
                "stream": stream,
                "formatter": "structured",
                "filters": [without_traceback],
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
