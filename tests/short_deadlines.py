"""gunicorn's configuration with deadlines of a test: `gunicorn -c python:tests.short_deadlines seqpulse.wsgi`."""

from seqpulse.front.bounds import Bounds
from seqpulse.front.worker import FrontWorker
from seqpulse.gunicorn_config import *  # noqa: F403  (gunicorn reads the names of this module)


class ShortDeadlines(FrontWorker):
    bounds = Bounds(head_s=2.0, body_s=3.0, answer_s=6.0)


worker_class = ShortDeadlines  # type: ignore[assignment]
workers = 1
