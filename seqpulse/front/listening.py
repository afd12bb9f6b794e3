"""Tells the topics of a process what has changed in the database: one connection, however many wait.

By LISTEN where notifications arrive. Behind a connection pooler that gives each statement another session they do not:
then one query per interval looks for all.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
import structlog

from deployments.changes import CHANNEL, EVERYTHING, FINGERPRINTS
from seqpulse.front.topics import Topics

logger = structlog.get_logger(__name__)

Link = psycopg.AsyncConnection[Any]

RECONNECT_AFTER_S = 1.0
# How long a notification may take that tells whether they arrive at all.
ARRIVES_WITHIN_S = 2.0
# How often a silent connection is tried.
TRY_EVERY_S = 30.0
# Without notifications: how often to look, as long as the query takes no more than a tenth of that, and for how long,
# until LISTEN is tried again.
LOOK_EVERY_S = 0.15
LOOK_FOR_S = 60.0
SHARE_OF_TIME = 0.1
# Pages that show everything are not looked up: they are woken.
WAKE_ALL_EVERY_S = 15.0


class Listener:
    """Announces to `topics` what is announced in the database. parameters: of psycopg's connection."""

    def __init__(self, topics: Topics, parameters: Callable[[], dict[str, Any]]) -> None:
        self.topics = topics
        self.parameters = parameters
        # What it lives on at the moment: "listen", "look" or "" (no connection).
        self.mode = ""
        self.queries = 0

    async def run(self) -> None:
        """Listen until cancelled; connect again whenever the connection is lost."""
        while True:
            try:
                async with await self._connect() as link:
                    if await self._arrive(link):
                        await self._listen(link)
                    await self._look(link)
            except (psycopg.Error, OSError) as error:
                logger.warning("change_listener_lost", error=str(error).strip(), next_try_s=RECONNECT_AFTER_S)
            finally:
                self.mode = ""
            # Not all processes at once, after the server was away.
            await asyncio.sleep(RECONNECT_AFTER_S * random.uniform(0.5, 1.5))  # noqa: S311  (no secret)

    async def _connect(self) -> Link:
        parameters = {**self.parameters(), "prepare_threshold": None}
        return await psycopg.AsyncConnection.connect(**parameters, autocommit=True)

    async def _execute(self, link: Link, statement: Any, *values: Any) -> psycopg.AsyncCursor[Any]:
        self.queries += 1
        return await link.execute(statement, *values)

    async def _arrive(self, link: Link) -> bool:
        """Listen; return whether a notification of another connection arrives."""
        try:
            await self._execute(link, f"LISTEN {CHANNEL}")
            async with await self._connect() as other:
                await self._execute(other, "SELECT pg_notify(%s, '')", [CHANNEL])
        except (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.FeatureNotSupported):
            # A standby, for example while it is about to take over.
            return False
        arrived = False
        async for notification in link.notifies(timeout=ARRIVES_WITHIN_S, stop_after=1):
            arrived = True
            self._announce(notification.payload)
        return arrived

    async def _listen(self, link: Link) -> None:
        """Announce each notification. Raises psycopg.Error once the connection is lost."""
        self.mode = "listen"
        # What was committed while nobody listened.
        self.topics.announce_all()
        while True:
            async for notification in link.notifies(timeout=TRY_EVERY_S):
                self._announce(notification.payload)
            await self._execute(link, "SELECT 1")

    def _announce(self, payload: str) -> None:
        self.topics.announce(payload.split())

    async def _look(self, link: Link) -> None:
        """Look for changes of all watched topics by one query per interval, for LOOK_FOR_S."""
        logger.warning("change_listener_polls", advice="connect web servers to PostgreSQL itself, not a pooler")
        self.mode = "look"
        loop = asyncio.get_running_loop()
        until, wake_all_at = loop.time() + LOOK_FOR_S, 0.0
        known: dict[str, str] = {}
        while loop.time() < until:
            began = loop.time()
            found = await self._fingerprints(link, self.topics.watched())
            # One that was not looked up before may have changed since its subscriber looked.
            self.topics.announce([topic for topic, value in found.items() if known.get(topic) != value])
            known = found
            if began >= wake_all_at:
                wake_all_at = began + WAKE_ALL_EVERY_S
                self.topics.announce([EVERYTHING] if EVERYTHING in self.topics.watched() else [])
            await asyncio.sleep(max(LOOK_EVERY_S, (loop.time() - began) / SHARE_OF_TIME))

    async def _fingerprints(self, link: Link, topics: Iterable[str]) -> dict[str, str]:
        ids: dict[str, list[int]] = defaultdict(list)
        for topic in topics:
            if topic[1:].isdigit():
                ids[topic[0]].append(int(topic[1:]))
        if not ids:
            return {}
        cursor = await self._execute(link, FINGERPRINTS, {kind: ids.get(kind, []) for kind in "sdet"})
        return dict(await cursor.fetchall())
