"""Announce changes after their commit, many at once, from a thread of the process.

PostgreSQL lets transactions that notify commit one after another, each waiting for the disk. So the statements of which
there are many (deployments/statements.py) do not notify: their transactions share the waits for the disk, and what they
changed is announced some milliseconds later. A process that dies in between announces nothing: pollers look for jobs
every ten seconds in any case, and a page that has lost its server asks another one.
"""

import os
import threading
import time
from collections.abc import Callable
from queue import Queue
from typing import Any

import psycopg
import structlog
from django.db import connection

from scheduler.queue import CHANNEL

logger = structlog.get_logger(__name__)

GATHER_S = 0.01
RETRY_AFTER_S = 1.0
# Failures in a row that are logged: that the database is away for longer is logged elsewhere.
LOGGED_FAILURES = 2
# Changes that wait while the database is away; older ones are forgotten, because whoever reconnects looks again.
MOST_WAITING = 10_000
# Nothing is lost if the server crashes, so nothing waits for the disk.
ANNOUNCE = f"""
SELECT set_config('synchronous_commit', 'off', true), announce_changes(%(deployments)s::bigint[], NULL, true),
    CASE WHEN %(jobs_due)s THEN pg_notify('{CHANNEL}', '') END
"""


class Announcer:
    """Announces changes of deployments.

    Args:
        parameters: of psycopg's connection.
    """

    def __init__(self, parameters: Callable[[], dict[str, Any]]) -> None:
        self.parameters = parameters
        self.changes: Queue[tuple[int, bool]] = Queue()
        self.started_in = 0
        self.starting = threading.Lock()

    def announce(self, deployment_id: int, *, jobs_due: bool) -> None:
        """Announce a committed change of a deployment, and with `jobs_due` that pollers have something to do."""
        self.changes.put((deployment_id, jobs_due))
        if self.started_in != os.getpid():
            with self.starting:
                if self.started_in != os.getpid():
                    self.started_in = os.getpid()
                    threading.Thread(target=self._run, name="announcer", daemon=True).start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is announced; return False where that takes longer."""
        with self.changes.all_tasks_done:
            return self.changes.all_tasks_done.wait_for(lambda: not self.changes.unfinished_tasks, timeout_s)

    def _run(self) -> None:
        link: psycopg.Connection[Any] | None = None
        failures = 0
        while True:
            waiting = self._next()
            while waiting:
                try:
                    link = link or psycopg.connect(**self.parameters(), autocommit=True)
                    self._send(link, waiting)
                    self._done(waiting)
                    waiting, failures = [], 0
                except Exception as error:
                    if failures < LOGGED_FAILURES:
                        logger.warning("announcer_lost", error=str(error).strip())
                    if link is not None:
                        link.close()
                    link = None
                    # Not for a connection that only ended while there was nothing to announce.
                    time.sleep(RETRY_AFTER_S if failures else 0)
                    failures += 1
                    waiting += self._rest()
                    self._done(waiting[:-MOST_WAITING])
                    waiting = waiting[-MOST_WAITING:]

    def _next(self) -> list[tuple[int, bool]]:
        """Wait for a change; return it with those that follow at once."""
        first = self.changes.get()
        time.sleep(GATHER_S)
        return [first, *self._rest()]

    def _rest(self) -> list[tuple[int, bool]]:
        return [self.changes.get_nowait() for _ in range(self.changes.qsize())]

    def _done(self, changes: list[tuple[int, bool]]) -> None:
        for _ in changes:
            self.changes.task_done()

    def _send(self, link: psycopg.Connection[Any], waiting: list[tuple[int, bool]]) -> None:
        ids, due = zip(*waiting, strict=True)
        link.execute(ANNOUNCE, {"deployments": sorted(set(ids)), "jobs_due": any(due)})


def parameters() -> dict[str, Any]:
    """Return how this process connects, from the thread that asks: Django has connections by thread."""
    return connection.get_connection_params()


announcer = Announcer(parameters)
