"""Answers and pages that wait in the event loop, without a thread and without a database connection."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections, connection
from django.http import HttpResponse
from prometheus_client import Gauge

from common.holding import Answer, Stream
from seqpulse.front.topics import Subscription, Topics

logger = structlog.get_logger(__name__)

WAITING = Gauge("seqpulse_http_waiting", "Calls and open pages that wait.", multiprocess_mode="livesum")

# Answers after a change have threads of their own, so that a hundred at once delay no other request.
THREADS = 2
# Proxies and browsers drop a silent connection after a minute or less.
ALIVE_EVERY_S = 20.0
# Changes within that time are one event: a page does not load faster than that anyway.
EVENT_EVERY_S = 1.0
# A stream ends after about that time: the browser opens it again.
STREAM_FOR_S = 600.0
# How long an event may still be sent after a look that found that the page may be seen.
ALLOWED_FOR_S = 10.0
ALIVE, CHANGED = (b"event: %b\ndata: 1\n\n" % name for name in (b"alive", b"changed"))
# How long a browser waits before it opens a stream again, in ms: not all at once after the server was away.
RETRY_AFTER_MS = (2000, 6000)


class Places:
    """Places of a process, shared fairly: an owner may take one while more than it has are free.

    So one alone gets half of them, two a third each, and there is always a place for another one.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken: Counter[str] = Counter()

    @contextmanager
    def one_for(self, owner: str) -> Iterator[bool]:
        """Take a place during the block. Yields False if there is none for this owner."""
        if self.taken[owner] >= self.most - self.taken.total():
            yield False
            return
        self.taken[owner] += 1
        WAITING.inc()
        try:
            yield True
        finally:
            WAITING.dec()
            self.taken[owner] -= 1
            if not self.taken[owner]:
                del self.taken[owner]


class Waiting:
    """Holds the answers of one process. Belongs to one event loop."""

    def __init__(self, topics: Topics, places: int) -> None:
        self.topics = topics
        self.places = Places(places)
        self.ending = False
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="held")
        # A thousand pages at once leave a thread to the calls.
        self.one_check = asyncio.Semaphore(1)
        # Looks under way, by key, time being up, and number of the announcement before them.
        self._looks: dict[Hashable, asyncio.Future[HttpResponse | None]] = {}

    def end(self) -> None:
        """Answer all that wait now, and hold no further ones: the server ends."""
        self.ending = True
        self.topics.wake_all(changed=False)

    @contextmanager
    def _subscribed(self, topics: tuple[str, ...], since: float) -> Iterator[Subscription]:
        subscription = self.topics.subscribe(topics, since)
        try:
            yield subscription
        finally:
            self.topics.unsubscribe(subscription)

    async def answer(self, held: Answer, since: float) -> HttpResponse | None:
        """Wait for the change; return the response, None for the one that the view gave.

        Cancel it if the client goes away. since: when the view began to look, by the loop's clock.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + held.seconds
        with self.places.one_for(held.owner) as is_place, self._subscribed(held.topics, since) as subscription:
            while is_place and not self.ending:
                changed, last = await subscription.wait(until), loop.time() >= until
                if not changed and not last:
                    continue  # the server ends
                response = await self._look(held, last=last)
                if response is not None:
                    waited_s = round(held.seconds - (until - loop.time()), 3)
                    held.context.run(logger.info, "held_answer", code=response.status_code, waited_s=waited_s)
                if response is not None or last:
                    return response
        return None

    async def _look(self, held: Answer, *, last: bool) -> HttpResponse | None:
        """Look on a thread, once for all with the same key that were woken by the same announcement."""
        key = held.key and (held.key, last, self.topics.announced)
        look = self._looks.get(key)
        if look is None:
            loop = asyncio.get_running_loop()
            look = loop.run_in_executor(self.threads, held.context.run, looked, held.look, last)
            if key:
                self._looks[key] = look
                look.add_done_callback(lambda _: self._looks.pop(key))
        # The others go on if this client goes away.
        return await asyncio.shield(look)

    async def events(self, stream: Stream) -> AsyncGenerator[bytes]:
        """Yield the bytes of server-sent events; nothing where there is no place for this page.

        Close it if the client goes away.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + STREAM_FOR_S * random.uniform(0.8, 1.2)  # noqa: S311  (no secret)
        since = loop.time() - stream.missed_s
        with self.places.one_for(stream.owner) as is_place, self._subscribed(stream.topics, since) as subscription:
            if not is_place or self.ending:
                return
            allowed_at = loop.time()
            yield b"retry: %d\n%b" % (random.randint(*RETRY_AFTER_MS), ALIVE)  # noqa: S311  (no secret)
            while not self.ending and loop.time() < ends_at:
                changed = await subscription.wait(min(ends_at, loop.time() + ALIVE_EVERY_S))
                if changed and loop.time() - allowed_at > ALLOWED_FOR_S:
                    # The browser opens it again, and is told where to sign in, or that there is nothing.
                    async with self.one_check:
                        if not await loop.run_in_executor(self.threads, may_go_on, stream):
                            return
                    allowed_at = loop.time()
                yield CHANGED if changed else ALIVE
                if changed:
                    await asyncio.sleep(EVENT_EVERY_S)


def may_go_on(stream: Stream) -> bool:
    """Ask on this thread whether the page may still be seen; while the database is away it may: nothing changes."""
    close_old_connections()
    try:
        return stream.may_go_on()
    except (DatabaseError, InterfaceError) as error:
        connection.close()
        logger.warning("stream_not_checked", error=str(error).strip())
        return True


def looked(look: Callable[[bool], HttpResponse | None], last: bool) -> HttpResponse | None:
    """Call `look` on this thread, once more on a new connection if the old one is lost; None if it fails."""
    for attempt in (1, 2):
        try:
            close_old_connections()
            return look(last)
        except (OperationalError, InterfaceError) as error:
            connection.close()
            logger.warning("held_answer_failed", attempt=attempt, error=str(error).strip())
        except Exception:
            logger.exception("held_answer_failed")
            return None
    return None
