"""Configuration of gunicorn: `gunicorn -c python:seqpulse.gunicorn_config seqpulse.wsgi`. The names are gunicorn's.

Variables: PORT, WEB_CONCURRENCY (worker processes), SEQPULSE_BIND (address to listen at), LOG_FORMAT, LOG_LEVEL.
"""

import os
import sys
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

from seqpulse import environment
from seqpulse.environment import Environment
from seqpulse.observability.logging import configure_logging

ENVIRONMENT = Environment()
DATA_DIR = ENVIRONMENT.directory("SEQPULSE_DATA_DIR", Path(__file__).resolve().parent.parent / "var")
MULTIPROC = "PROMETHEUS_MULTIPROC_DIR"


class StructuredLogger(Logger):
    """Log gunicorn's lines in the common format. Requests are logged by django-structlog, with their ids."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        log_format = ENVIRONMENT.typed("LOG_FORMAT", "json", environment.LogFormat)
        configure_logging(log_format, ENVIRONMENT.typed("LOG_LEVEL", "info", environment.LogLevel))
        self.error_log.propagate = True


bind = f"{ENVIRONMENT.text('SEQPULSE_BIND', '127.0.0.1')}:{ENVIRONMENT.typed('PORT', 8000, environment.Port)}"
workers = ENVIRONMENT.typed("WEB_CONCURRENCY", 2, environment.Workers)
worker_class = "seqpulse.front.worker.FrontWorker"
# Requests at work at the same time in a worker, half of them calls of the API; those that wait occupy none.
threads = 24
# Of the event loop, which turns at least once per second. Requests may take longer.
timeout = 30
graceful_timeout = 10
keepalive = 5
preload_app = False
control_socket_disable = True
accesslog = None
logger_class = StructuredLogger


def post_worker_init(worker: Any) -> None:
    """Start sharing the counts of the worker (seqpulse/observability/own_requests.py)."""
    from seqpulse.observability.own_requests import start_flushing  # noqa: PLC0415  (needs the settings)

    start_flushing()


def on_starting(server: Any) -> None:
    """Provide an empty directory in which workers count requests.

    Before workers start: prometheus_client decides on import whether it counts in files. A master that replaces another
    one (USR2, it has GUNICORN_PID) keeps the directory, because the old workers still write there.
    """
    if "GUNICORN_PID" in os.environ:
        return
    directory = Path(os.environ.get(MULTIPROC) or DATA_DIR / "run" / f"http-metrics-{bind.rpartition(':')[2]}")
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    for left in directory.glob("*.db"):
        left.unlink(missing_ok=True)
    os.environ[MULTIPROC] = str(directory)


def worker_exit(server: Any, worker: Any) -> None:
    """Announce what the last calls have changed, if the application was loaded at all."""
    if loaded := sys.modules.get("deployments.announcer"):
        loaded.announcer.flush(2.0)


def child_exit(server: Any, worker: Any) -> None:
    """Drop the gauges of an ended worker; its counters stay in the sum."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  (not before on_starting)

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
