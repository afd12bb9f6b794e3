"""Waiting as it was: a call occupies a thread, which looks every 250 ms. `gunicorn benchmarks.waiting.before`.

At most 16 calls of a process wait; the others are answered at once.
"""

import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from django.db import connection

from seqpulse.wsgi import application as seqpulse

PLACES = threading.BoundedSemaphore(16)
POLL_INTERVAL_S = 0.25


def is_judged(uuid: str) -> bool:
    from deployments.models import Deployment  # noqa: PLC0415  (needs the settings)

    try:
        return Deployment.objects.filter(uuid=uuid, verdict__isnull=False).exists()
    finally:
        # Waiting calls keep no connection: there may be more of them than the database allows.
        connection.close()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    wait_s = float(dict(parse_qsl(environ["QUERY_STRING"])).get("wait", 0))
    if wait_s and PLACES.acquire(blocking=False):
        try:
            deadline, uuid = time.monotonic() + wait_s, environ["PATH_INFO"].split("/")[2]
            while not is_judged(uuid) and time.monotonic() < deadline:
                time.sleep(POLL_INTERVAL_S)
        finally:
            PLACES.release()
    environ["QUERY_STRING"] = ""
    answer: Iterable[bytes] = seqpulse(environ, start_response)
    return answer
