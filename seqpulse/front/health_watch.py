"""Tells open status pages that the health of SeqPulse has changed: one look for all of them."""

import asyncio

from django.db import close_old_connections

from deployments.changes import HEALTH
from scheduler.health import health
from seqpulse.front.waiting import Waiting

LOOK_EVERY_S = 5.0


async def watch_health(waiting: Waiting) -> None:
    """Announce changes of the health until cancelled. Looks only while a page waits for them."""
    last: list[str] | None = None
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        if HEALTH not in waiting.topics.watched():
            last = None
            continue
        found = await asyncio.get_running_loop().run_in_executor(waiting.threads, problems)
        # What the page was made of may be older than the first look.
        if found != last:
            waiting.topics.announce([HEALTH])
        last = found


def problems() -> list[str]:
    """Return what is wrong, on a thread that serves no requests: each of those would begin with this."""
    close_old_connections()
    return list(health.get().problems)
