"""A separate connection, watched by the event loop, that receives notifications and holds the poller's lock."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import psycopg
import structlog
from django.db import connection

from scheduler.queue import CHANNEL
from scheduler.store import JobStore

logger = structlog.get_logger(__name__)

RECONNECT_AFTER_S = 5.0
# Other pollers take the lock of our name only briefly, to check whether we are gone.
LOCK_TIMEOUT = "2s"


def connection_parameters() -> dict[str, Any]:
    """Return the parameters of Django's connection for psycopg, without those that are Django's own."""
    parameters: dict[str, Any] = connection.get_connection_params()
    for name in ("context", "cursor_factory", "prepare_threshold", "client_encoding"):
        parameters.pop(name, None)
    return parameters


class Listener:
    """Call `wake` on the loop when new jobs are announced, or the connection is lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop, store: JobStore, wake: Callable[[], None]) -> None:
        self.loop = loop
        self.store = store
        self.wake = wake
        self.link: psycopg.Connection | None = None
        self.watched: int | None = None
        self.since = self.retry_at = 0.0
        self.lock_is_trusted = True

    @property
    def connected(self) -> bool:
        return self.link is not None

    @property
    def wanted(self) -> bool:
        """Return whether it is time to connect."""
        return self.link is None and self.loop.time() >= self.retry_at

    def connect(self) -> None:
        """Open the connection, listen, take the lock and publish that; called on the database thread.

        Without a connection the poller works on and polls more often.
        """
        try:
            self.link = psycopg.connect(**connection_parameters(), autocommit=True)
            self.link.execute(f"LISTEN {CHANNEL}")
            self.link.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
            self.link.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [self.store.owner])
            if self.lock_is_trusted and not self.store.prove_session_lock():
                self.lock_is_trusted = False
                logger.warning("session_lock_unusable", advice="connect pollers to PostgreSQL itself, not a pooler")
        except psycopg.Error as error:
            logger.warning("listener_refused", error=str(error).strip(), next_try_s=RECONNECT_AFTER_S)
            self._drop()
        except Exception:
            self._drop()
            raise

    def watch(self) -> None:
        """Watch the connection; called on the loop's thread."""
        if self.link is not None:
            self.since = time.monotonic()
            self.watched = self.link.fileno()
            self.loop.add_reader(self.watched, self._readable)
        else:
            self.retry_at = self.loop.time() + RECONNECT_AFTER_S

    def _readable(self) -> None:
        if self.link is None:
            return
        try:
            for _ in self.link.notifies(timeout=0):
                pass
        except psycopg.Error as error:
            logger.warning("listener_lost", error=str(error).strip())
            self.close()
        self.wake()

    def close(self) -> None:
        """Close the connection, and release the lock with it."""
        if self.watched is not None:
            self.loop.remove_reader(self.watched)
            self.watched = None
        self._drop()

    def _drop(self) -> None:
        if self.link is not None:
            self.link.close()
            self.link = None
