"""Pollers at work in this process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from scheduler.models import Poller as PollerRow
from scheduler.poller import Poller, PollerOptions
from scheduler.tests.kinds import wait_until
from tests.concurrency import in_background


@contextmanager
def running_poller(**options: float) -> Iterator[Poller]:
    """A poller at work in a thread of its own; stopped, and its thread joined, at the end."""
    poller = Poller(PollerOptions(**{"poll_s": 0.2, **options}))  # type: ignore[arg-type]
    loops: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        loops.append(asyncio.get_running_loop())
        await poller.run()

    running = in_background(lambda: asyncio.run(work()))
    wait_until(lambda: PollerRow.objects.filter(name=poller.name).exists())
    try:
        yield poller
    finally:
        loops[0].call_soon_threadsafe(poller.stop)
        running.result(30)
