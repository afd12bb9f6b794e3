"""How gunicorn serves SeqPulse: `gunicorn -c python:seqpulse.gunicorn_config seqpulse.wsgi`. The names are gunicorn's.

Variables: PORT, WEB_CONCURRENCY (worker processes), SEQPULSE_BIND (address to listen at), LOG_FORMAT, LOG_LEVEL.
"""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from seqpulse.environment import Environment
from seqpulse.logging import configure_logging

ENVIRONMENT = Environment()


class StructuredLogger(Logger):
    """gunicorn's own lines in the form of all others. Requests are logged by django-structlog, with their ids."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        log_format = ENVIRONMENT.choice("LOG_FORMAT", "json", ("json", "console"))
        level = ENVIRONMENT.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error", "critical"))
        configure_logging(log_format, level)
        self.error_log.propagate = True


bind = f"{ENVIRONMENT.text('SEQPULSE_BIND', '127.0.0.1')}:{ENVIRONMENT.integer('PORT', 8000, low=1, high=65535)}"
workers = ENVIRONMENT.integer("WEB_CONCURRENCY", 2, low=1, high=64)
worker_class = "gthread"
# A pipeline that waits for its verdict holds a thread (at most 16 do, analysis/api.py); others want to be served.
threads = 24
# Longer than the longest held answer (60 s).
timeout = 90
graceful_timeout = 10
keepalive = 5
preload_app = False
control_socket_disable = True
accesslog = None
logger_class = StructuredLogger


def post_worker_init(worker: Any) -> None:
    """From its first second each worker shares what it counts (seqpulse/own_requests.py)."""
    from seqpulse.own_requests import start_flushing  # noqa: PLC0415  (needs the settings)

    start_flushing()
