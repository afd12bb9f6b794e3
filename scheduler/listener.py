"""Hearing of new work: LISTEN on a connection of its own, watched by the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import structlog
from django.db import connection

from scheduler.queue import CHANNEL

logger = structlog.get_logger(__name__)


class Listener:
    """Calls `wake` on the loop whenever work is announced. Without it the poller still looks now and then."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self.loop = loop
        self.wake = wake
        self.link: psycopg.Connection | None = None
        self.watched: int | None = None

    def connect(self) -> None:
        """Opens the connection and listens; called on the database thread. Raises psycopg.OperationalError."""
        parameters = connection.get_connection_params()
        for name in ("context", "cursor_factory", "prepare_threshold", "client_encoding"):
            parameters.pop(name, None)
        self.link = psycopg.connect(**parameters, autocommit=True)
        self.link.execute(f"LISTEN {CHANNEL}")

    def watch(self) -> None:
        """Starts hearing; called on the loop's thread."""
        if self.link is not None:
            self.watched = self.link.fileno()
            self.loop.add_reader(self.watched, self._readable)

    @property
    def connected(self) -> bool:
        return self.link is not None

    def _readable(self) -> None:
        if self.link is None:
            return
        try:
            for _ in self.link.notifies(timeout=0):
                pass
        except psycopg.OperationalError as error:
            logger.warning("listener_lost", error=str(error))
            self.close()
        self.wake()

    def close(self) -> None:
        if self.watched is not None:
            self.loop.remove_reader(self.watched)
            self.watched = None
        if self.link is not None:
            self.link.close()
            self.link = None
