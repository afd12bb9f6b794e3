"""How a poller shares its threads between receivers: one that hangs delays its own messages only.

Each channel has a lane. A few attempts of it are under way at once; after one that failed slowly, none for a while and
then one at a time: deliveries that come meanwhile are put off without waiting for a thread.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from weakref import WeakKeyDictionary

from notifications.delivering import Outcome, PutOff, Sending, send

AT_ONCE = 2
# Attempts of all channels in one process: each may wait for its receiver until the deadline of a post.
SENDERS = ThreadPoolExecutor(32, thread_name_prefix="send")
# A failure that took so long keeps a thread from others.
SLOW_S = 2.0
# After the first, second, … slow failure in a row.
PAUSES_S = (5.0, 15.0, 30.0, 60.0)
# Until the attempt that is under way has ended.
WHILE_TRYING_S = 10.0


class Lane:
    """The attempts of one channel on one event loop."""

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(AT_ONCE)
        self.users = 0
        self.trying = 0
        self.failures = 0
        self.closed_until = 0.0
        self.last: Outcome | None = None

    async def attempt(self, sending: Sending) -> Outcome | PutOff:
        async with self.places:
            if monotonic() >= sending.until:
                return PutOff(0.0, None)  # to be marked as expired
            wait_s = self.closed_until - monotonic()
            if wait_s <= 0 and self.failures and self.trying:
                wait_s = WHILE_TRYING_S
            if wait_s > 0:
                return PutOff(wait_s, self.last.why if self.last else None)
            self.trying += 1
            began = monotonic()
            try:
                outcome = await asyncio.get_running_loop().run_in_executor(SENDERS, send, sending)
            finally:
                self.trying -= 1
            self.learn(outcome, monotonic() - began)
            return outcome

    def learn(self, outcome: Outcome, took_s: float) -> None:
        """Close the lane after a slow failure, or for as long as the receiver asks; open it after success."""
        pause_s = outcome.after_s or 0.0
        if outcome.why is None:
            self.failures, self.closed_until = 0, 0.0
        elif took_s >= SLOW_S:
            pause_s = max(pause_s, PAUSES_S[min(self.failures, len(PAUSES_S) - 1)])
            self.failures += 1
        if pause_s:
            self.closed_until, self.last = monotonic() + pause_s, outcome

    @property
    def idle(self) -> bool:
        return not self.users and not self.failures and self.closed_until < monotonic()


_lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Lane]] = WeakKeyDictionary()


async def attempt(sending: Sending) -> Outcome | PutOff:
    """Try a delivery once, when its channel has a place for it, or put it off."""
    channel = sending.delivery.channel_id
    lanes = _lanes.setdefault(asyncio.get_running_loop(), {})
    lane = lanes.setdefault(channel, Lane())
    lane.users += 1
    try:
        return await lane.attempt(sending)
    finally:
        lane.users -= 1
        if lane.idle:
            del lanes[channel]
